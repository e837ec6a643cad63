"""What a model's outputs mean: the task's metric, and how outputs become an answer for a person.

A manifest names its task; this table is where the name leads, in training and on the device alike. A task knows
nothing about engines, pictures or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, EngineError, unknown
from .holds import read_as
from .metrics import Accuracy, TaskMetric, top_agreement
from .next_character import BitsPerCharacter, probabilities
from .plain_answers import plain_numbers
from .regression import Estimate, MeanAbsoluteError, estimate, near_agreement
from .segmentation import Dice, flagged_share, pixel_agreement

# An int8 softmax may miss 0 and 1 by a step of 1/256; logits taken for probabilities miss them by far more.
_PROBABILITY_SLACK = 0.01


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sample's answer. `ranking` holds every (label, probability), the most probable first."""

    label: str
    index: int
    probability: float
    ranking: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of problem, as functions on numpy arrays.

    `metric` measures answers against the truth; `agreement(reference, found)` is the share of samples on which two
    models give the same answer; `answer` turns outputs and labels into one answer per sample: an `Answer` where the
    labels are alternatives, an `Estimate` where each is a number. `labels_are` says which, in a word.
    `takes` is what the outputs hold that these functions take (`holds.py`); "" is anything.
    """

    name: str
    describe: str
    metric: Callable[[], TaskMetric]
    agreement: Callable[[npt.ArrayLike, npt.ArrayLike], float]
    answer: Callable[[npt.ArrayLike, Sequence[str]], list[Answer] | list[Estimate]]
    labels_are: str
    takes: str


def classify(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Answer]:
    """Probabilities (N, C) and C labels to N answers; of equal probabilities the first label wins, as in `Accuracy`.

    Raises:
        BundleError: the outputs are not (N, C) for these labels, so manifest and model do not belong together.
        EngineError: an output is no probability: NaN, infinite, or further from [0, 1] than rounding explains.
    """
    scores = np.asarray(outputs, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(labels) or not labels:
        raise BundleError(
            f"the model's output has the shape {scores.shape}, its manifest lists {len(labels)} labels. "
            "Pack the bundle again with one label for each class"
        )
    # Written so that a NaN, which compares false with everything, lands among the bad ones.
    bad = scores[~((scores >= -_PROBABILITY_SLACK) & (scores <= 1 + _PROBABILITY_SLACK))]
    if bad.size:
        raise EngineError(
            f"the model answered {bad.flat[0]:.6g} where a probability from 0 to 1 was due. "
            "Export it with its softmax in the graph, and run `edgekit verify` on the bundle"
        )
    return [_answer(row, labels) for row in scores.clip(0.0, 1.0)]


def next_characters(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Answer]:
    """Log-probabilities (N, C) and C labels to N answers; raises as `classify` does."""
    return classify(probabilities(outputs), labels)


def _answer(row: np.ndarray, labels: Sequence[str]) -> Answer:
    order = np.argsort(-row, kind="stable")
    ranking = tuple((labels[i], float(row[i])) for i in order)
    return Answer(label=ranking[0][0], index=int(order[0]), probability=ranking[0][1], ranking=ranking)


TASKS: dict[str, Task] = {
    "classification": Task(
        name="classification",
        describe="one of several classes; the model gives each class's probability",
        metric=Accuracy,
        agreement=top_agreement,
        answer=classify,
        labels_are="classes",
        takes="probabilities",
    ),
    "regression": Task(
        name="regression",
        describe="one or more numbers, each with a unit that its label names",
        metric=MeanAbsoluteError,
        agreement=near_agreement,
        answer=estimate,
        labels_are="numbers",
        takes="values",
    ),
    "next_character": Task(
        name="next_character",
        describe="which character comes next; the model gives each one's log-probability",
        metric=BitsPerCharacter,
        agreement=top_agreement,
        answer=next_characters,
        labels_are="characters",
        takes="log_probabilities",
    ),
    "segmentation": Task(
        name="segmentation",
        describe="which pixels belong to what is looked for; the model gives each one's probability",
        metric=Dice,
        agreement=pixel_agreement,
        answer=flagged_share,
        labels_are="masks",
        takes="mask",
    ),
    "none": Task(
        name="none",
        describe="arrays that only the application understands",
        metric=MeanAbsoluteError,  # where the true arrays are given
        agreement=near_agreement,
        answer=plain_numbers,
        labels_are="numbers",
        takes="",
    ),
}


def answers_to(
    outputs: npt.ArrayLike, *, task: Task, holds: str, labels: Sequence[str]
) -> list[Answer] | list[Estimate]:
    """One answer a sample, of outputs (N, …) that hold what a manifest says. Raises as the task's `answer` does."""
    return task.answer(read_as(outputs, holds, task.takes), labels)


def metric_named(name: str) -> TaskMetric | None:
    """A new metric by its name; None for one that no task here has, such as one of a newer edgekit."""
    return next((metric for known in TASKS.values() if (metric := known.metric()).name == name), None)


def task(name: str) -> Task:
    """The registered task; raises `UsageError` listing the known ones."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
