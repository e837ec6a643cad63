"""What a manifest's `status` means: one list, which the terminal, tables, report, demo and documents share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["verified", "undecided", "consistent", "unverified", "not_run"]
Tone = Literal["good", "fair", "bad"]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """One status."""

    means: str
    """What it says of a bundle, as a sentence for documents."""
    stamp: str
    """What is written beside a bundle's name; "" for a verified one."""
    why: str
    """What is not proven, as a sentence about "it"; "" for a verified one."""
    tone: Tone
    """How it is shown. A "bad" one is a warning wherever the bundle is named."""
    kept: bool
    """Whether it may be called as good as the float model."""
    held: bool
    """Whether every check that was made was passed."""
    strict: bool
    """Whether it fails where the user asks for proof."""


STATUSES: dict[Status, Meaning] = {
    "verified": Meaning(
        means="It keeps the accuracy of the float model: the loss is within the budget with 95 % confidence, or it is "
        "a lossless float file, with at least 60 dB in every output and no answer that differs.",
        stamp="",
        why="",
        tone="good",
        kept=True,
        held=True,
        strict=False,
    ),
    "undecided": Meaning(
        means="Every stage passed, but the samples did not decide whether the loss is within the budget. The "
        "verdict says about how many would.",
        stamp="UNDECIDED",
        why="when it was packed, its samples did not decide whether it keeps the float model's accuracy",
        tone="fair",
        kept=False,
        held=True,
        strict=True,
    ),
    "consistent": Meaning(
        means="Every stage was checked against the float model on real samples. The accuracy was not measured, because "
        "no true answers were given.",
        stamp="accuracy not measured",
        why="every stage was checked against the float model on real samples, but its accuracy was not measured when "
        "it was packed",
        tone="fair",
        kept=False,
        held=True,
        strict=True,
    ),
    "unverified": Meaning(
        means="It missed a stage or the accuracy gate and its maker packed it anyway, or its samples prove nothing: "
        "they are random, or the float model gives all of them one answer.",
        stamp="UNVERIFIED",
        why="it missed a stage or the accuracy gate when it was packed, or its samples prove nothing",
        tone="bad",
        kept=False,
        held=False,
        strict=True,
    ),
    "not_run": Meaning(
        means="It was made for hardware that its maker did not have. The graph before the last step was checked "
        "against the float model; the model file itself was never run.",
        stamp="NEVER RUN",
        why="it was made for hardware that its maker did not have, so its model file was never run",
        tone="bad",
        kept=False,
        held=False,
        strict=True,
    ),
}
PROVEN: tuple[Status, ...] = ("verified", "consistent")  # every check that was made was passed, and decided
_BEFORE_FORMAT_2: dict[str, Status] = {"stages_verified": "consistent"}


def present_name(status: str) -> str:
    """What a status is called now: files older than format 2 have "stages_verified" for "consistent"."""
    return _BEFORE_FORMAT_2.get(status, status)


def canonical(status: str) -> Status:
    """A status by its present name; an unknown one counts as unverified."""
    name = present_name(status)
    return name if name in STATUSES else "unverified"


def stamp_of(status: str) -> str:
    """What is written beside a bundle's name: "" for a verified one."""
    return STATUSES[canonical(status)].stamp


def why_of(status: str) -> str:
    """What is not proven of a bundle, as a sentence about "it"; "" for a verified one."""
    if present_name(status) not in STATUSES:
        return f"this edgekit does not know its status {status!r}"
    return STATUSES[canonical(status)].why


def tone_of(status: str) -> Tone:
    """How a status is shown."""
    return STATUSES[canonical(status)].tone
