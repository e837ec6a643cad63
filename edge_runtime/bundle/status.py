"""What a manifest's `status` means, in the words every tool uses for it."""

from __future__ import annotations

PROVEN = ("verified", "stages_verified")  # what was measured of these was held; of the second no accuracy was measured

_STAMPS = {
    "verified": "",
    "stages_verified": "accuracy not measured",
    "unverified": "UNVERIFIED",
    "not_run": "NEVER RUN",
}
_WHY = {
    "verified": "",
    "stages_verified": "the stages were held to the float model on real samples, but no accuracy was measured when it "
    "was packed, so no gate was held",
    "unverified": "it missed a stage or its accuracy gate when packed, or was made of random samples",
    "not_run": "it was lowered for hardware that its maker did not have, so that its model file was never run",
}


def stamp_of(status: str) -> str:
    """What is written beside a bundle's name: "" for a verified one."""
    return _STAMPS.get(status, "UNVERIFIED")


def why_of(status: str) -> str:
    """What is not proven of a bundle, as the end of a sentence that names it; "" for a verified one."""
    return _WHY.get(status, f"its status {status!r} is not known here")
