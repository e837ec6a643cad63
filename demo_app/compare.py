"""Two bundles' answers to the same samples, compared. Draws nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.tasks.classification import Answer
from edgekit.edge_runtime.tasks.detection import Detections
from edgekit.edge_runtime.tasks.metrics import max_abs, sqnr_db
from edgekit.edge_runtime.tasks.registry import TASKS, Task, answers_to, read_outputs
from edgekit.edge_runtime.tasks.regression import Estimate


@dataclass(frozen=True, kw_only=True)
class SampleComparison:
    """One golden sample through both bundles."""

    index: int
    """Its place among the golden samples."""
    left: Answer
    """The left bundle's answer."""
    right: Answer
    """The right bundle's answer."""
    truth: str | None
    """The true label; None where it is unknown."""
    largest: float
    """The largest difference between two probabilities of the same label."""
    margin: float
    """How much more the left bundle believes its own answer than the right one's; 0 where they agree."""

    @property
    def agree(self) -> bool:
        return self.left.label == self.right.label


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All golden samples through both bundles."""

    samples: tuple[SampleComparison, ...]
    """One for each golden sample."""

    @property
    def agreeing(self) -> int:
        """How many samples get the same label from both."""
        return sum(sample.agree for sample in self.samples)

    @property
    def largest(self) -> float:
        """The largest difference of a probability in any sample."""
        return max(sample.largest for sample in self.samples)

    @property
    def disagreements(self) -> list[SampleComparison]:
        """The samples with different labels, the widest margin first."""
        return sorted((s for s in self.samples if not s.agree), key=lambda s: -s.margin)

    @property
    def most_moved(self) -> list[SampleComparison]:
        """All samples, the largest difference of a probability first."""
        return sorted(self.samples, key=lambda s: -s.largest)

    def correct(self, side: str) -> int | None:
        """How many samples the "left" or "right" bundle answers correctly; None where no true label is known."""
        known = [sample for sample in self.samples if sample.truth is not None]
        return sum(getattr(sample, side).label == sample.truth for sample in known) if known else None


def why_not_comparable(left: Bundle, right: Bundle) -> str | None:
    """Why two bundles cannot run the same samples, or None."""

    def takes(manifest: Manifest) -> list[str]:
        return [f"{spec.dtype} {list(spec.shape)}" for spec in manifest.inputs]

    first, second = left.manifest, right.manifest
    if takes(first) != takes(second):
        return f"{left.name} takes {', '.join(takes(first))}; {right.name} takes {', '.join(takes(second))}"
    if first.task != second.task or first.labels != second.labels:
        return f"{left.name} and {right.name} have different tasks or labels"
    return None


def same_golden(left: GoldenSet, right: GoldenSet) -> bool:
    """Whether both bundles carry the same inputs in the same order, whatever their names."""
    pairs = zip(left.inputs.values(), right.inputs.values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def renamed(arrays: Arrays, manifest: Manifest) -> Arrays:
    """The same arrays under the input names of another manifest, matched by position."""
    return {spec.name: array for spec, array in zip(manifest.inputs, arrays.values(), strict=True)}


def answers(manifest: Manifest, outputs: Arrays) -> list[Answer] | None:
    """The answers in the first output; None where this edgekit does not know the task, or it answers in plain numbers.

    Raises:
        BundleError, EngineError: the outputs do not belong to the labels, or are not probabilities.
    """
    task = TASKS.get(manifest.task)
    if task is None:
        return None
    rows = _read(manifest, outputs, task)
    return [row for row in rows if isinstance(row, Answer)] or None


def found(manifest: Manifest, outputs: Arrays) -> list[Detections] | None:
    """What a detector finds in each picture, in pixels of its input; None for any other task. Raises as `answers`."""
    task = TASKS.get(manifest.task)
    if task is None or not task.beside:
        return None
    return [row for row in _read(manifest, outputs, task) if isinstance(row, Detections)]


def differing(manifest: Manifest, left: Arrays, right: Arrays) -> np.ndarray:
    """(N,) bool: in which pictures two detectors of one task find something else. Raises as `answers`."""
    task = TASKS[manifest.task]
    pair = (read_outputs(side, manifest.holds, task=task, suppression=manifest.suppression) for side in (left, right))
    return task.differ(*pair)


def _read(manifest: Manifest, outputs: Arrays, task: Task) -> Sequence[Answer | Estimate | Detections]:
    return answers_to(outputs, manifest.holds, task=task, labels=manifest.labels, suppression=manifest.suppression)


def truth(manifest: Manifest, golden: GoldenSet, index: int) -> str | None:
    """A golden sample's true label; None unless the targets are indices of labels."""
    target = golden.targets[index]
    is_index = target.ndim == 0 and golden.targets.dtype.kind in "iu"
    if manifest.task not in TASKS or not is_index or not 0 <= target < len(manifest.labels):
        return None
    return manifest.labels[int(target)]


def compare(manifest: Manifest, golden: GoldenSet, left: Sequence[Answer], right: Sequence[Answer]) -> Comparison:
    """Compares both bundles' answers to all golden samples, one of each per sample."""
    if not len(left) == len(right) == golden.samples:
        raise BundleError(
            f"each bundle should answer {golden.samples} golden samples; found {len(left)} and {len(right)}"
        )
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
    """Largest absolute difference and SQNR (dB) over all outputs, for tasks without labels.

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
