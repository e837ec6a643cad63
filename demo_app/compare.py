"""Two bundles' answers to the same samples, held against each other. Numbers and words; draws nothing, runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.tasks.metrics import max_abs, sqnr_db
from edgekit.edge_runtime.tasks.registry import TASKS, Answer, answers_to


@dataclass(frozen=True, kw_only=True)
class SampleComparison:
    """One golden sample. `largest` is its largest difference of a probability.

    `margin` is how far the right answer is from the left one's mind: the left probability of the left answer minus the
    left probability of the right answer. 0 where they agree.
    """

    index: int
    left: Answer
    right: Answer
    truth: str | None
    largest: float
    margin: float

    @property
    def agree(self) -> bool:
        return self.left.label == self.right.label


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All golden samples through both."""

    samples: tuple[SampleComparison, ...]

    @property
    def agreeing(self) -> int:
        return sum(sample.agree for sample in self.samples)

    @property
    def largest(self) -> float:
        return max(sample.largest for sample in self.samples)

    @property
    def disagreements(self) -> list[SampleComparison]:
        """The widest margin first."""
        return sorted((s for s in self.samples if not s.agree), key=lambda s: -s.margin)

    @property
    def most_moved(self) -> list[SampleComparison]:
        return sorted(self.samples, key=lambda s: -s.largest)

    def correct(self, side: str) -> int | None:
        """How many of the samples with a known truth the "left" or "right" answers right; None when none is known."""
        known = [sample for sample in self.samples if sample.truth is not None]
        return sum(getattr(sample, side).label == sample.truth for sample in known) if known else None


def why_not_comparable(left: Bundle, right: Bundle) -> str | None:
    """The reason two bundles cannot be fed the same samples, or None."""

    def takes(manifest: Manifest) -> list[str]:
        return [f"{spec.dtype} {list(spec.shape)}" for spec in manifest.inputs]

    first, second = left.manifest, right.manifest
    if takes(first) != takes(second):
        return f"{left.name} takes {', '.join(takes(first))}; {right.name} takes {', '.join(takes(second))}"
    if first.task != second.task or first.labels != second.labels:
        return f"{left.name} and {right.name} have different tasks or labels"
    return None


def same_golden(left: GoldenSet, right: GoldenSet) -> bool:
    """True where both bundles carry the same real inputs, in the same order, whatever they call them."""
    pairs = zip(left.inputs.values(), right.inputs.values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def renamed(arrays: Arrays, manifest: Manifest) -> Arrays:
    """The same arrays under another manifest's input names, matched by position."""
    return {spec.name: array for spec, array in zip(manifest.inputs, arrays.values(), strict=True)}


def answers(manifest: Manifest, outputs: Arrays) -> list[Answer] | None:
    """What a task makes of the first output; None where this edgekit does not know the task,
    or where it answers in plain numbers.

    Raises:
        BundleError, EngineError: outputs that do not belong to the labels, or are no probabilities.
    """
    task = TASKS.get(manifest.task)
    if task is None:
        return None
    first = manifest.outputs[0]
    found = answers_to(outputs[first.name], task=task, holds=first.holds, labels=manifest.labels)
    return [answer for answer in found if isinstance(answer, Answer)] or None


def truth(manifest: Manifest, golden: GoldenSet, index: int) -> str | None:
    """A golden sample's true label, where the targets are indices of labels."""
    target = golden.targets[index]
    is_index = target.ndim == 0 and golden.targets.dtype.kind in "iu"
    if manifest.task not in TASKS or not is_index or not 0 <= target < len(manifest.labels):
        return None
    return manifest.labels[int(target)]


def compare(manifest: Manifest, golden: GoldenSet, left: Sequence[Answer], right: Sequence[Answer]) -> Comparison:
    """Compares the answers to all golden samples of `manifest`, one each."""
    if not len(left) == len(right) == golden.samples:
        raise BundleError(f"found {len(left)} and {len(right)} answers to {golden.samples} golden samples")
    return Comparison(samples=tuple(_sample(manifest, golden, i, left[i], right[i]) for i in range(golden.samples)))


def _sample(manifest: Manifest, golden: GoldenSet, index: int, left: Answer, right: Answer) -> SampleComparison:
    before, after = dict(left.ranking), dict(right.ranking)
    return SampleComparison(
        index=index,
        left=left,
        right=right,
        truth=truth(manifest, golden, index),
        largest=max(abs(before[label] - after[label]) for label in before),
        margin=before[left.label] - before[right.label],
    )


def raw_difference(left: Arrays, right: Arrays) -> tuple[float, float]:
    """Largest absolute difference and SQNR (dB) over all outputs, for tasks that are not known here.

    Raises:
        BundleError: the outputs have different shapes.
    """
    pairs = list(zip(left.values(), right.values(), strict=False))
    if len(left) != len(right) or any(a.shape != b.shape for a, b in pairs):
        raise BundleError("the two bundles give outputs of different shapes; their numbers cannot be compared")
    first, second = (
        np.concatenate([array.ravel().astype(np.float64) for array in side]) for side in zip(*pairs, strict=True)
    )
    return max_abs(first, second), sqnr_db(first, second)


def times(before: float, after: float, *, less: str, more: str, same: str, within: float = 0.02) -> str:
    """A ratio in words: ("3.1× smaller", "1.4× larger", "the same size"); up to `within` it is the same."""
    if min(before, after) <= 0:
        return "not comparable"
    ratio = max(before / after, after / before)
    if ratio < 1 + within:
        return same
    digits = 2 if ratio < 2 else 1 if ratio < 9.95 else 0
    return f"{ratio:.{digits}f}× {less if after < before else more}"
