"""What was proven of an artifact against its float model, as plain data that a manifest can hold.

`optimize/gate.py` comes to it; every tool that opens a bundle can say it. This module measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["verified", "refused", "undecided", "consistent", "unverified"]
Basis = Literal["lossless", "hits", "bootstrap", "value", "answers", "broken", "nothing"]
Helps = Literal["", "labels", "pictures"]

# The one list of what the statuses mean.
MEANS: dict[Status, str] = {
    "verified": "the loss lies within the budget, with 95 % confidence; or the artifact is lossless",
    "refused": "the loss lies beyond the budget, with 95 % confidence; or the answers are broken",
    "undecided": "too few samples to tell whether the loss lies within the budget",
    "consistent": "held to the float model's answers; no true answers were given, so no loss was measured",
    "unverified": "nothing is proven: the samples cannot show a loss, or a stage was missed",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How much of the metric an artifact loses, and whether that is within the budget.

    `basis` is what the status rests on: "lossless" (60 dB in every output and no answer flipped), "hits" (counts,
    exact), "bootstrap", "value" (a single number of each model, which has no bound), "answers" (of both models, without
    truth), "broken" (an answer is no number) or "nothing" (samples on which the float model says the same to all).

    `loss` is the paired difference in the metric's unit, positive where the artifact is worse; the true one lies above
    `high` in at most 5 % of cases, and below `low` in at most 5 %. `budget` is in the same unit. Where there is no
    bound it is ± 1.8e308, as JSON has no infinity.

    `flips` are the answers that differ among `samples` and `unlabelled` ones together, as far as answers were compared;
    `lost` and `won` those that became wrong and right. `groups`: patients, scans or days; 0 where samples are on their
    own. `needed`: samples with truth (or groups) in all that would decide; 0 where it is decided, or none would.
    `needed_unlabelled`: samples without truth that would decide instead; 0 where they would not. `helps` says which
    of the two needs fewer.
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
            raise ValueError(f"a verdict holds finite numbers, found {numbers}")
        counts = (self.samples, self.groups, self.flips, self.lost, self.won, self.unlabelled, self.needed)
        if min(*counts, self.needed_unlabelled) < 0 or self.budget < 0:
            raise ValueError(f"a verdict's counts and budget are 0 or more, found {counts} and {self.budget}")
        if self.lost + self.won > self.samples or self.flips > self.samples + self.unlabelled:
            raise ValueError(f"{self.flips} flips, {self.lost} lost and {self.won} won of {self.samples} samples")
        if not self.low <= self.loss <= self.high:
            raise ValueError(f"a loss of {self.loss} does not lie between its bounds {self.low} and {self.high}")
        if self.status == "verified" and not (self.lossless or self.high <= self.budget):
            # So that no manifest claims what its own numbers do not show.
            raise ValueError(f"a loss of up to {self.high} is not within the budget of {self.budget}")

    @property
    def lossless(self) -> bool:
        return self.basis == "lossless"

    @property
    def kept(self) -> bool:
        """Whether it may be said that the accuracy is kept."""
        return self.status == "verified"
