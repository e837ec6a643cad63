"""The tasks by name: each one's metric, when two of its models agree, and how outputs become an answer for a person.

A manifest names its task, and training and the device both look it up here. A task knows nothing about engines,
pictures or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..arrays import Arrays
from ..bundle.contract import Suppression
from ..errors import BundleError, unknown
from .average_precision import AveragePrecision50, MeanAveragePrecision
from .classification import Answer, classify_all, next_characters
from .detection import Detections, detections, found_agreement, found_differ, read_found
from .holds import read_as, readable
from .metrics import Accuracy, TaskMetric, top_agreement, top_differ
from .multi_label import LabelF1, label_probabilities, labels_agreement, labels_differ
from .next_character import BitsPerCharacter
from .plain_answers import plain_numbers
from .regression import Estimate, MeanAbsoluteError, estimate, near_agreement, near_differ
from .segmentation import Dice, IoU, flagged_share, pixel_agreement, pixel_differ


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of problem, as functions on numpy arrays."""

    name: str
    """The task's name, as in a manifest."""
    description: str
    """What the model answers, in a phrase."""
    metric: Callable[[], TaskMetric]
    """Makes a metric that measures answers against the truth."""
    agreement: Callable[[npt.ArrayLike, npt.ArrayLike], float]
    """The share of samples to which two models give the same answer, from the reference's outputs and the other's."""
    differ: Callable[[npt.ArrayLike, npt.ArrayLike], np.ndarray]
    """Where two models answer otherwise: (N,) bool, or (N, …) where a sample's elements are answers of their own."""
    answer: Callable[[npt.ArrayLike, Sequence[str]], list[Answer] | list[Estimate] | list[Detections]]
    """Outputs and labels to one answer per sample: an `Answer` where labels are alternatives, `Detections` where boxes
    are found, else an `Estimate`."""
    labels_are: str
    """What the labels stand for, in a word."""
    takes: str
    """What the outputs given to these functions hold, as in `holds.py`; "" for anything."""
    beside: str = ""
    """What a second output has to hold that is read together with the first, into one array; "" for none."""


TASKS: dict[str, Task] = {
    "classification": Task(
        name="classification",
        description="one of several classes, for a sample or each of its places; the model gives their probabilities",
        metric=Accuracy,
        agreement=top_agreement,
        differ=top_differ,
        answer=classify_all,
        labels_are="classes",
        takes="probabilities",
    ),
    "multi_label": Task(
        name="multi_label",
        description="which of several labels apply; the model gives each one's probability",
        metric=LabelF1,
        agreement=labels_agreement,
        differ=labels_differ,
        answer=label_probabilities,
        labels_are="labels",
        takes="independent_probabilities",
    ),
    "regression": Task(
        name="regression",
        description="one or more numbers, each with a unit that its label names",
        metric=MeanAbsoluteError,
        agreement=near_agreement,
        differ=near_differ,
        answer=estimate,
        labels_are="numbers",
        takes="values",
    ),
    "next_character": Task(
        name="next_character",
        description="which character comes next; the model gives each one's log-probability",
        metric=BitsPerCharacter,
        agreement=top_agreement,
        differ=top_differ,
        answer=next_characters,
        labels_are="characters",
        takes="log_probabilities",
    ),
    "segmentation": Task(
        name="segmentation",
        description="which pixels belong to the object; the model gives each one's probability",
        metric=Dice,
        agreement=pixel_agreement,
        differ=pixel_differ,
        answer=flagged_share,
        labels_are="masks",
        takes="mask",
    ),
    "detection": Task(
        name="detection",
        description="where things are, and what each is; the model gives scores of labels, and a box, for many places",
        metric=MeanAveragePrecision,
        agreement=found_agreement,
        differ=found_differ,
        answer=read_found,
        labels_are="labels",
        takes="scores",
        beside="boxes",
    ),
    "none": Task(
        name="none",
        description="arrays that only the application understands",
        metric=MeanAbsoluteError,  # where the true arrays are given
        agreement=near_agreement,
        differ=near_differ,
        answer=plain_numbers,
        labels_are="numbers",
        takes="",
    ),
}


def read_outputs(
    outputs: Arrays, holds: Mapping[str, str], *, task: Task, suppression: Suppression | None = None
) -> np.ndarray:
    """A model's outputs (N, …) by name as the one array that the task's functions take.

    That is the first output in the form that the task takes; of a detector what is found, (N, K, 6), as in
    `detection.py`.

    Args:
        holds: what each output holds, by name, in the model's order.
        suppression: which boxes count, for a task that finds some.
    Raises:
        BundleError: an output that the task needs is not there, or cannot be converted.
    """
    if not task.beside:
        first = next(iter(holds))
        return read_as(outputs[first], holds[first], task.takes)
    if wrong := unread(tuple(holds.values()), task):
        raise BundleError(f"the bundle has {wrong}. Pack it again, and say what its outputs hold")
    first, beside = (next(name for name, held in holds.items() if held == kind) for kind in (task.takes, task.beside))
    return detections(outputs[first], outputs[beside], suppression or Suppression())


def unread(holds: Sequence[str], task: Task) -> str:
    """Why outputs that hold this, in the model's order, cannot be read as the task's answer; "" where they can."""
    if not task.beside:
        takes, wrong = task.takes, "" if readable(holds[0], task.takes) else f"its first output holds {holds[0]}"
    else:
        takes = f"{task.takes} and {task.beside}"
        wrong = "" if {task.takes, task.beside} <= set(holds) else f"its outputs hold {', '.join(holds[:9])}"
    return wrong and f"the task {task.name}, which takes {takes}, but {wrong}"


def answers_to(
    outputs: Arrays,
    holds: Mapping[str, str],
    *,
    task: Task,
    labels: Sequence[str],
    suppression: Suppression | None = None,
) -> list[Answer] | list[Estimate] | list[Detections]:
    """One answer for each sample. Arguments as in `read_outputs`; raises as it and `Task.answer` do."""
    return task.answer(read_outputs(outputs, holds, task=task, suppression=suppression), labels)


# Metrics that a user can ask for instead of their task's own.
_OTHERS: tuple[Callable[[], TaskMetric], ...] = (IoU, AveragePrecision50)


def metric_named(name: str) -> TaskMetric | None:
    """A new metric by its name; None where no task has it, such as one of a newer edgekit."""
    made = (*(known.metric for known in TASKS.values()), *_OTHERS)
    return next((metric for make in made if (metric := make()).name == name), None)


def task(name: str) -> Task:
    """The task of this name. Raises `UsageError`, which lists the known ones."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
