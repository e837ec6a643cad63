"""What a manifest's `status` means, in the words that every tool uses for it: terminal, tables, report and demo."""

from __future__ import annotations

PROVEN = ("verified", "stages_verified")  # every check that was made was passed; the second had no accuracy to check

_STAMPS = {
    "verified": "",
    "stages_verified": "accuracy not measured",
    "unverified": "UNVERIFIED",
    "not_run": "NEVER RUN",
}
_WHY = {
    "verified": "",
    "stages_verified": "every stage was checked against the float model on real samples, but its accuracy was not "
    "measured when it was packed",
    "unverified": "it missed a stage or the accuracy gate when it was packed, or was made from random samples",
    "not_run": "it was made for hardware that its maker did not have, so its model file was never run",
}


def stamp_of(status: str) -> str:
    """What is written beside a bundle's name: "" for a verified one."""
    return _STAMPS.get(status, "UNVERIFIED")


def why_of(status: str) -> str:
    """What is not proven of a bundle, as a sentence about "it"; "" for a verified one."""
    return _WHY.get(status, f"this edgekit does not know its status {status!r}")
