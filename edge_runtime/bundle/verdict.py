"""The verdict on a model file's accuracy as a bundle keeps it: one record of plain values. Decides nothing itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MAX_SAMPLES = 1 << 40

# "refused" is of a file that is not delivered, or is delivered as unverified; the others are a manifest's statuses.
Status = Literal["verified", "refused", "undecided", "consistent", "unverified"]
Helps = Literal["", "labels", "pictures"]
Basis = Literal["lossless", "hits", "bootstrap", "value", "answers", "broken", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How much of the metric a model file loses against its float model, and whether that is within the budget.

    `status` is what follows for this file: "verified", "refused", "undecided", or where no loss could be measured
    "consistent" or "unverified". `basis` is what that rests on: "lossless" (60 dB in every output and no answer that
    differs), "hits" (counts, with exact bounds), "bootstrap", "value" (one number of each model, which has no bound),
    "answers" (of both models, without truth), "broken" (an answer is no number) or "nothing" (samples on which the
    float model says the same to all).

    `loss` is the paired difference in the metric's unit, positive where the file is worse; the true one lies above
    `high` in at most 5 % of cases, and below `low` in at most 5 %. `budget` is in the same unit. Where there is no
    bound it is ± 1.7976931348623157e+308, as JSON has no infinity.

    `flips` are the answers that differ among `samples` and `unlabelled` ones together, as far as answers were compared;
    `lost` and `won` those that became wrong and right. `groups`: patients, scans or days; 0 where samples are on their
    own. `needed`: samples with truth (or groups) in all that would decide; 0 where it is decided, or none would.
    `needed_unlabelled`: samples without truth that would decide instead; 0 where they would not. `helps` says which
    of the two needs fewer. `reason` is a sentence for a person.
    """

    status: Status
    basis: Basis
    metric: str
    higher_is_better: bool
    float_value: float
    value: float
    samples: int
    groups: int
    loss: float
    low: float
    high: float
    budget: float
    flips: int
    lost: int
    won: int
    unlabelled: int
    needed: int
    needed_unlabelled: int
    helps: Helps
    reason: str

    def __post_init__(self) -> None:
        numbers = (self.float_value, self.value, self.loss, self.low, self.high, self.budget)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a verdict holds finite numbers")
        counts = (self.samples, self.groups, self.flips, self.lost, self.won, self.unlabelled)
        if not all(0 <= count <= MAX_SAMPLES for count in (*counts, self.needed, self.needed_unlabelled)):
            raise ValueError(f"a verdict counts from 0 to {MAX_SAMPLES:,}")
        if self.budget < 0:
            raise ValueError(f"a budget of {self.budget:g} is none; it goes from 0 upwards")
        if self.lost + self.won > self.samples or self.flips > self.samples + self.unlabelled:
            raise ValueError(
                f"{self.flips} flips, {self.lost} lost and {self.won} won of {self.samples} samples and "
                f"{self.unlabelled} without truth are impossible"
            )
        if self.groups > self.samples:
            raise ValueError(f"{self.samples} samples cannot belong to {self.groups} groups")
        if not self.low <= self.loss <= self.high:
            raise ValueError(f"a loss of {self.loss:g} does not lie between its bounds {self.low:g} and {self.high:g}")
        if self.status == "verified" and not (self.basis == "lossless" or self.high <= self.budget):
            # So that no manifest claims what its own numbers do not show.
            raise ValueError(f"a loss of up to {self.high:g} is not within the budget of {self.budget:g}")
        if self.basis == "lossless" and (self.flips or self.status != "verified"):
            raise ValueError(f"a lossless file flips no answer and is verified, found {self.flips} flips")

    @property
    def lossless(self) -> bool:
        return self.basis == "lossless"

    @property
    def kept(self) -> bool:
        """Whether it may be said that the accuracy is kept."""
        return self.status == "verified"
