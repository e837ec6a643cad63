"""What a manifest's `status` means: the one list that tables, reports, the demo, exit statuses and documents share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["verified", "undecided", "consistent", "unverified", "not_run"]
Tone = Literal["good", "fair", "bad"]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """One status. `means` is a sentence for documents; `why` the end of one that names a bundle, "" for a verified one.

    `stamp` stands beside a bundle's name, `tone` says how it is shown. `kept` ones may be called as good as the float
    model; of `held` ones nothing that was measured was missed; `strict` says that asking for proof makes it a failure.
    """

    means: str
    stamp: str
    why: str
    tone: Tone
    kept: bool
    held: bool
    strict: bool


STATUSES: dict[Status, Meaning] = {
    "verified": Meaning(
        means="It keeps the accuracy of the float model: the loss lies within the budget with 95 % certainty, or it is "
        "a float file that is lossless, with at least 60 dB in every output and no answer that differs.",
        stamp="",
        why="",
        tone="good",
        kept=True,
        held=True,
        strict=False,
    ),
    "undecided": Meaning(
        means="Every stage was held, and the samples were too few to say whether the loss lies within the budget; the "
        "verdict says about how many would decide.",
        stamp="UNDECIDED",
        why="its samples were too few to say whether it keeps the float model's accuracy",
        tone="fair",
        kept=False,
        held=True,
        strict=True,
    ),
    "consistent": Meaning(
        means="Every stage was held to the float model on real samples, and no accuracy was measured, because the true "
        "answers were not given.",
        stamp="accuracy not measured",
        why="the stages were held to the float model on real samples, but no accuracy was measured when it was packed, "
        "so no gate was held",
        tone="fair",
        kept=False,
        held=True,
        strict=True,
    ),
    "unverified": Meaning(
        means="It missed a stage or its accuracy gate and its maker wanted it all the same, or its samples were "
        "random.",
        stamp="UNVERIFIED",
        why="it missed a stage or its accuracy gate when packed, or was made of random samples",
        tone="bad",
        kept=False,
        held=False,
        strict=True,
    ),
    "not_run": Meaning(
        means="It was lowered for hardware that its maker did not have: the graph before that was held to the float "
        "model, the file itself never ran.",
        stamp="NEVER RUN",
        why="it was lowered for hardware that its maker did not have, so that its model file was never run",
        tone="bad",
        kept=False,
        held=False,
        strict=True,
    ),
}
PROVEN: tuple[Status, ...] = ("verified", "consistent")  # what was measured of these was held, and decided
_BEFORE_FORMAT_2: dict[str, Status] = {"stages_verified": "consistent"}


def canonical(status: str) -> Status:
    """A status by its name of today: files older than format 2 have "stages_verified". An unknown one is unverified."""
    name = _BEFORE_FORMAT_2.get(status, status)
    return name if name in STATUSES else "unverified"  # type: ignore[return-value]


def stamp_of(status: str) -> str:
    """What is written beside a bundle's name: "" for a verified one."""
    return STATUSES[canonical(status)].stamp


def why_of(status: str) -> str:
    """What is not proven of a bundle, as the end of a sentence that names it; "" for a verified one."""
    if status not in STATUSES and status not in _BEFORE_FORMAT_2:
        return f"its status {status!r} is not known here"
    return STATUSES[canonical(status)].why


def tone_of(status: str) -> Tone:
    """How a status is shown."""
    return STATUSES[canonical(status)].tone
