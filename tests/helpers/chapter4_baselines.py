"""What chapter 4's models have to beat, measured on their own splits: a threshold, yesterday, and counts of pairs.

The targets in the registry are these figures. None of the baselines learns by gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.tasks.metrics import Accuracy
from edgekit.edge_runtime.tasks.next_character import BitsPerCharacter
from edgekit.edge_runtime.tasks.regression import MeanAbsoluteError
from edgekit.train.data import austen, bikes, wine
from edgekit.train.dataset import Dataset, Split

SULFUR_THRESHOLD = 141.83  # mg/l, the book's: the mean of its wines of middling score, 4 to 6 inclusive
_PAIR_SMOOTHING = 0.01  # added to every count, so that no pair is impossible


@dataclass(frozen=True, kw_only=True)
class GoodWines:
    """How well somebody told good wines from others. `predicted` and `actual` count good ones, `both` their overlap."""

    samples: int
    predicted: int
    actual: int
    both: int

    @property
    def precision(self) -> float:
        return self.both / self.predicted

    @property
    def recall(self) -> float:
        return self.both / self.actual

    @property
    def accuracy(self) -> float:
        return (self.samples - self.predicted - self.actual + 2 * self.both) / self.samples

    @classmethod
    def of(cls, predicted: np.ndarray, actual: np.ndarray) -> GoodWines:
        """From two (N,) arrays that are true (or 1) for a good wine."""
        said, good = predicted.astype(bool), actual.astype(bool)
        return cls(samples=len(good), predicted=int(said.sum()), actual=int(good.sum()), both=int((said & good).sum()))


def sulfur_threshold(split: Split) -> GoodWines:
    """The book's rule: a wine with less than 141.83 mg/l of total sulphur dioxide is good (section 4.3.6)."""
    return GoodWines.of(split.inputs[:, wine.TOTAL_SULFUR_DIOXIDE] < SULFUR_THRESHOLD, split.targets)


def always_good(split: Split) -> Accuracy:
    """Calling every wine good: what an accuracy is worth next to no knowledge at all."""
    metric = Accuracy()
    metric.update(np.tile([0.0, 1.0], (len(split), 1)), split.targets)
    return metric


def same_hour(split: Split, *, days_before: int = 1) -> MeanAbsoluteError:
    """Bike rentals as they were at the same hour yesterday, or `days_before`, up to the 7 days of the inputs."""
    metric = MeanAbsoluteError()
    metric.update(split.inputs[:, bikes.WINDOW_DAYS - days_before, :, bikes.COUNT], split.targets)
    return metric


def pair_counts(data: Dataset) -> BitsPerCharacter:
    """Bigrams: each character's probability by how often it followed the one before it in the training text."""
    counts = np.full((austen.ALPHABET, austen.ALPHABET), _PAIR_SMOOTHING)
    np.add.at(counts, (data.train.inputs[:, -1], data.train.targets), 1)
    logs = np.log(counts / counts.sum(axis=1, keepdims=True))
    metric = BitsPerCharacter()
    metric.update(logs[data.validation.inputs[:, -1]], data.validation.targets)
    return metric
