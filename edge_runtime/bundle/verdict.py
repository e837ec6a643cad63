"""The verdict on a model file's accuracy, as a bundle records it: plain values. Decides nothing itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MAX_SAMPLES = 1 << 40

# A "refused" file is not delivered, or is delivered as unverified; the others are statuses of a manifest too.
Status = Literal["verified", "refused", "undecided", "consistent", "unverified"]
Helps = Literal["", "labels", "pictures"]
Basis = Literal["lossless", "hits", "bootstrap", "value", "answers", "broken", "nothing"]
PROVE: tuple[Basis, ...] = ("lossless", "hits", "bootstrap")  # what "verified" can rest on


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How much of the metric a model file loses against its float model, and whether that is within the budget.

    A missing bound is ± 1.7976931348623157e+308, as JSON has no infinity.
    """

    status: Status
    """What follows for the file; "consistent" and "unverified" where no loss could be measured."""
    basis: Basis
    """What that rests on: "lossless" (60 dB in every output and no answer that differs), "hits" (counts, with exact
    bounds), "bootstrap", "value" (one number for each model, which has no bound), "answers" (of both models, without
    true ones), "broken" (an answer is not a number) or "nothing" (the float model's answers are all the same)."""
    metric: str
    """What was measured."""
    higher_is_better: bool
    """Which way it points."""
    float_value: float
    """The float model's value."""
    value: float
    """The model file's value."""
    samples: int
    """Samples with a true answer."""
    groups: int
    """Patients, scans or days that the samples belong to; 0 where each sample stands alone."""
    loss: float
    """The paired difference in the metric's unit, positive where the file is worse."""
    low: float
    """The true loss is below this in at most 5 % of cases."""
    high: float
    """The true loss is above this in at most 5 % of cases."""
    budget: float
    """How much may be lost, in the same unit."""
    flips: int
    """Answers that differ, with or without a true one."""
    lost: int
    """Answers that became wrong."""
    won: int
    """Answers that became right."""
    unlabelled: int
    """Samples without a true answer that were compared as well."""
    needed: int
    """How many samples (or groups) with a true answer would decide; 0 if it is decided, or no number would."""
    needed_unlabelled: int
    """How many samples without a true answer would decide instead; 0 if no number would."""
    helps: Helps
    """Which of the two needs fewer."""
    reason: str
    """A sentence for a person."""

    def __post_init__(self) -> None:
        numbers = (self.float_value, self.value, self.loss, self.low, self.high, self.budget)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("the numbers of a verdict should be finite")
        counts = (self.samples, self.groups, self.flips, self.lost, self.won, self.unlabelled)
        if not all(0 <= count <= MAX_SAMPLES for count in (*counts, self.needed, self.needed_unlabelled)):
            raise ValueError(f"the counts of a verdict should be 0 to {MAX_SAMPLES:,}")
        if self.budget < 0:
            raise ValueError(f"the budget should be 0 or more, found {self.budget:g}")
        if self.lost + self.won > self.samples or self.flips > self.samples + self.unlabelled:
            raise ValueError(
                f"{self.flips} flips, {self.lost} lost and {self.won} won of {self.samples} samples and "
                f"{self.unlabelled} without truth are impossible"
            )
        if self.lost + self.won > self.flips:
            raise ValueError(f"{self.lost} lost and {self.won} won are more than {self.flips} flips")
        if self.groups > self.samples:
            raise ValueError(f"{self.samples} samples cannot belong to {self.groups} groups")
        if not self.low <= self.loss <= self.high:
            raise ValueError(f"the loss {self.loss:g} is not between its bounds {self.low:g} and {self.high:g}")
        if self.status == "verified" and not (self.basis == "lossless" or self.high <= self.budget):
            # So that no manifest claims what its own numbers do not show.
            raise ValueError(f"a loss of up to {self.high:g} is not within the budget of {self.budget:g}")
        if self.status == "verified" and self.basis not in PROVE:
            raise ValueError(f"a verdict that rests on {self.basis!r} cannot be verified")
        if self.basis == "lossless" and (self.flips or self.status != "verified"):
            raise ValueError(f"a lossless file should be verified and flip no answer, found {self.flips} flips")

    @property
    def lossless(self) -> bool:
        return self.basis == "lossless"

    @property
    def kept(self) -> bool:
        """Whether the accuracy may be called kept."""
        return self.status == "verified"
