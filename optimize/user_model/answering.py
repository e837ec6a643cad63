"""What a user's model answers: which task its first output and the true answers make, and how the truth is written.

Knows shapes and numbers; it runs no model and reads no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.contract import Holds
from edgekit.edge_runtime.bundle.manifest import DETECTION
from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.edge_runtime.tasks.detection import COLUMNS
from edgekit.edge_runtime.tasks.registry import metric_named

from ..heads import HEADS

TASKS = ("classification", "multi_label", "regression", "segmentation", "detection", "none")
# What a user can be asked to be held to, by task, beside the task's own.
METRICS = {
    "classification": ("accuracy", "f1", "recall", "precision", "auc"),
    "multi_label": ("label_f1",),
    "regression": ("mean_absolute_error",),
    "segmentation": ("dice", "iou", "f1", "recall", "precision"),
    "detection": ("mean_average_precision", "average_precision_50"),
    "none": ("mean_absolute_error",),
}


class Column(nn.Module):
    """(N,) numbers to (N, 1), then what follows."""

    def __init__(self, behind: nn.Module):
        super().__init__()
        self.behind = behind

    def forward(self, numbers: Tensor) -> Tensor:
        return self.behind(numbers.unsqueeze(-1))


@dataclass(frozen=True, kw_only=True)
class Answering:
    """One model's task, as its outputs and the truth have it."""

    task: str
    """One of `TASKS`."""
    output: str
    """The name of the first output."""
    head: nn.Module
    """Behind the model's first output."""
    shape: tuple[int, ...]
    """Of the first output behind the head, axis 0 of one sample."""
    count: int
    """How many labels there are to be; 0 where any number will do."""
    holds: Holds | None = None
    """What the first output holds, where the task alone does not say."""
    targets: np.ndarray | None = None
    """The truth in the task's own form."""
    says: tuple[str, ...] = ()
    """What the user should hear."""


def answering(
    first: Tensor,
    targets: np.ndarray | None,
    *,
    asked: str,
    classes_known: bool,
    labels: int,
    probe: Tensor | None,
    name: str,
) -> Answering:
    """Decides the task of a model whose first output to one sample is `first`.

    Args:
        targets: (N, …) the true answers; None where they are not known, or are labels that are not read yet.
        asked: the task that the user names; "" to let outputs and truth decide.
        classes_known: there are labels, or pictures, which are taken for something to be classified.
        labels: how many labels the user gives; 0 for none.
        probe: (M, …) the first output to several real samples, whose numbers tell probabilities from logits; None where
            there are none.
        name: of the first output, where the task does not name it.
    Raises:
        UsageError: the task that is asked for does not fit the output.
        InputError: the truth fits no task, or not the one that is asked for.
    """
    task = asked or _task_of(first, targets, classes_known)
    if not first.is_floating_point() and task != "none":
        raise UsageError(
            f"--task {task} needs numbers in float; the first output is {words_of(first)}. Use --task none, or give "
            "scores instead of the chosen class"
        )
    if task == "classification":
        found = _classification(first, targets, labels, probe)
    elif task == "multi_label":
        found = _multi_label(first, targets, probe)
    elif task == "segmentation":
        found = _segmentation(first, targets, probe)
    elif task == DETECTION:
        found = _detection(first, targets, probe)
    elif task == "regression":
        found = _regression(first, targets, asked=bool(asked))
    else:
        found = _none(first, targets)
    output = HEADS[task][0] if task in HEADS and found.task == task else name
    return replace(found, output=output)


def _task_of(first: Tensor, targets: np.ndarray | None, classes_known: bool) -> str:
    shape = tuple(first.shape)
    scores = first.is_floating_point() and len(shape) >= 2
    if targets is None:
        return "classification" if scores and len(shape) == 2 and shape[1] > 1 and classes_known else "none"
    whole, binary, one = targets.dtype.kind in "iub", _binary(targets), targets.shape[1:]
    if not first.is_floating_point():
        return "none"
    if whole and scores and _class_axis(shape, targets, 0) is not None:
        return "classification"
    if len(shape) == 4 and shape[1] == 1 and binary and one in (shape[1:], shape[2:]):
        return "segmentation"
    single = shape in ((1,), (1, 1))
    if binary and ((len(shape) == 2 and one == shape[1:]) or (single and whole and one == ())):
        if len(shape) == 2 and shape[1] > 1 and bool((targets.sum(axis=1) == 1).all()):
            return "classification"  # one label each: written as rows of 0 and a single 1
        return "multi_label"
    if len(shape) <= 2 and (one == shape[1:] or (single and one in ((), (1,)))):
        return "regression"
    if one == shape[1:]:
        return "none"
    raise InputError(
        f"the true answers are {targets.dtype} {list(one)} a sample and the model gives {words_of(first)}, which fit "
        f"no task. {_fitting(shape)}"
    )


def _fitting(shape: tuple[int, ...]) -> str:
    """Which truth would fit an output."""
    ways = [f"numbers (N, {', '.join(map(str, shape[1:]))})"]
    if len(shape) == 2:
        ways.insert(0, f"class indices (N,) from 0 to {shape[1] - 1}")
    if len(shape) > 2:
        places = [", ".join(map(str, one)) for one in dict.fromkeys((shape[1:-1], shape[2:]))]
        ways.insert(0, "class indices " + " or ".join(f"(N, {one})" for one in places))
    return f"Give {', or '.join(ways)}"


def _class_axis(shape: tuple[int, ...], targets: np.ndarray | None, labels: int) -> int | None:
    """Where the classes of an output (1, …) lie: 1, or the last axis; None where it fits no truth of classes.

    Of three axes, tokens, the last is likelier, of four, pixels, axis 1.
    """
    likelier = (len(shape) - 1, 1) if len(shape) == 3 else (1, len(shape) - 1)
    fits = []
    for axis in dict.fromkeys(likelier):
        places = shape[1:axis] + shape[axis + 1 :]
        most = targets.max(initial=0) if targets is not None else 0
        if shape[axis] > 1 and (targets is None or (targets.shape[1:] == places and most < shape[axis])):
            fits.append(axis)
    if labels:
        fits = [axis for axis in fits if shape[axis] == labels] or fits
    return fits[0] if fits else None


def _classification(first: Tensor, targets: np.ndarray | None, labels: int, probe: Tensor | None) -> Answering:
    shape, says = tuple(first.shape), list[str]()
    if targets is not None and len(shape) == 2 and targets.shape[1:] == shape[1:] and shape[1] > 1 and _binary(targets):
        if not (targets.sum(axis=1) == 1).all():
            raise InputError(
                "--task classification needs one true class a sample; some rows of the targets hold none or several. "
                "Use --task multi_label"
            )
        targets = targets.argmax(axis=1).astype(np.int64)
        says.append("targets: rows of 0 and one 1 were read as the index of the 1")
    if len(shape) < 2 or shape[0] != 1:
        raise UsageError(
            f"--task classification needs a score for each class, (1, C), (1, T, C) or (1, C, H, W); the model gives "
            f"{words_of(first)}. Use --task none, or wrap the model"
        )
    if len(shape) == 2 and shape[1] < 2:
        raise UsageError(
            "--task classification needs 2 or more outputs, found 1. Use --task multi_label for a single yes or no, "
            "--task none, or give two outputs"
        )
    axis = _class_axis(shape, targets, labels)
    if axis is None:
        raise InputError(
            f"the true answers are {'' if targets is None else f'{targets.dtype} {list(targets.shape[1:])} a sample'} "
            f"and the model gives {words_of(first)}, which is no score of each class. {_fitting(shape)}"
        )
    if targets is not None and targets.dtype.kind == "f":
        if not (targets == targets.round()).all():
            raise InputError("--task classification needs whole numbers as targets, found fractions. Use regression")
        targets = targets.astype(np.int64)
    if probe is not None and bool((probe >= 0).all()) and bool(((probe.sum(axis) - 1).abs() < 1e-4).all()):
        says.append("the model gives probabilities itself, so no softmax was put behind it")
        head: nn.Module = nn.Identity()
    else:
        head = nn.Softmax(dim=-1 if axis == len(shape) - 1 else axis)
    tokens = axis == len(shape) - 1 and len(shape) > 2
    if tokens or len(shape) > 2:
        places = shape[1:axis] + shape[axis + 1 :]
        says.append(f"a class for each of {' x '.join(map(str, places))} places; classes lie along axis {axis}")
    return Answering(
        task="classification",
        output="",
        head=head,
        shape=shape,
        count=shape[axis],
        holds="token_probabilities" if tokens else None,
        targets=None if targets is None else targets.astype(np.int64),
        says=tuple(says),
    )


def _multi_label(first: Tensor, targets: np.ndarray | None, probe: Tensor | None) -> Answering:
    head, shape = _column(first, "multi_label")
    if targets is not None:
        targets = targets.reshape(len(targets), 1) if targets.ndim == 1 and shape == (1, 1) else targets
        if targets.shape[1:] != shape[1:] or not _binary(targets):
            raise InputError(
                f"--task multi_label needs targets of 0 and 1, (N, {shape[1]}), found {targets.dtype} "
                f"{list(targets.shape)}. Give a 0 or 1 for each label"
            )
        targets = targets.astype(np.float32)
    head, says = _sigmoid(head, probe)
    return Answering(task="multi_label", output="", head=head, shape=shape, count=shape[1], targets=targets, says=says)


def _segmentation(first: Tensor, targets: np.ndarray | None, probe: Tensor | None) -> Answering:
    shape = tuple(first.shape)
    if len(shape) != 4 or shape[:2] != (1, 1):
        raise UsageError(
            f"--task segmentation needs one mask, (1, 1, H, W); the model gives {words_of(first)}. For a class for "
            "each pixel, (1, C, H, W), use --task classification"
        )
    if targets is not None:
        targets = targets[:, np.newaxis] if targets.ndim == 3 else targets
        if targets.shape[1:] != shape[1:] or not _binary(targets):
            raise InputError(
                f"--task segmentation needs masks of 0 and 1, (N, 1, {shape[2]}, {shape[3]}), found {targets.dtype} "
                f"{list(targets.shape)}. Give one for each sample"
            )
        targets = targets.astype(np.float32)
    head, says = _sigmoid(nn.Identity(), probe)
    return Answering(task="segmentation", output="", head=head, shape=shape, count=1, targets=targets, says=says)


def _detection(first: Tensor, targets: np.ndarray | None, probe: Tensor | None) -> Answering:
    """Of the scores, which `scores_and_boxes` has put first."""
    single = first.ndim == 2
    shape = (*first.shape, 1) if single else tuple(first.shape)
    if targets is not None:
        if targets.ndim != 3 or targets.shape[2] != COLUMNS or not (targets[..., 0] < shape[2]).all():
            raise InputError(
                f"--task detection needs true boxes (N, M, {COLUMNS}) in pixels of the input: label from 0 to "
                f"{shape[2] - 1}, 1 for a crowd, left, top, right, bottom, with a label of -1 in rows that are not "
                f"used; found {targets.dtype} {list(targets.shape)}. Or give a file in COCO's format"
            )
        targets = targets.astype(np.float32)
    head, says = _sigmoid(Column(nn.Identity()) if single else nn.Identity(), probe)
    return Answering(task=DETECTION, output="", head=head, shape=shape, count=shape[2], targets=targets, says=says)


def _regression(first: Tensor, targets: np.ndarray | None, *, asked: bool) -> Answering:
    if first.ndim > 2:
        if targets is not None and targets.shape[1:] != tuple(first.shape[1:]):
            raise InputError(f"the targets are {list(targets.shape[1:])} a sample, the model gives {words_of(first)}")
        says = ("numbers for each place go by the task none: held to their mean absolute error",)
        return replace(_none(first, targets), says=says)
    head, shape = _column(first, "regression")
    if targets is not None:
        targets = targets.reshape(len(targets), 1) if targets.ndim == 1 and shape == (1, 1) else targets
        if targets.shape[1:] != shape[1:]:
            raise InputError(
                f"--task regression needs {shape[1]} true numbers a sample, found {list(targets.shape[1:])}. "
                f"Give targets (N, {shape[1]})"
            )
        targets = targets.astype(np.float32)
    return Answering(task="regression", output="", head=head, shape=shape, count=shape[1], targets=targets)


def _none(first: Tensor, targets: np.ndarray | None) -> Answering:
    if targets is not None and targets.shape[1:] != tuple(first.shape[1:]):
        raise InputError(
            f"the true answers are {targets.dtype} {list(targets.shape[1:])} a sample and the model gives "
            f"{words_of(first)}. With --task none both are compared number by number. {_fitting(tuple(first.shape))}"
        )
    return Answering(task="none", output="", head=nn.Identity(), shape=tuple(first.shape), count=0, targets=targets)


def _column(first: Tensor, task: str) -> tuple[nn.Module, tuple[int, ...]]:
    """What makes (N, C) of the first output, and that shape for one sample."""
    shape = tuple(first.shape)
    if shape == (1,):
        return Column(nn.Identity()), (1, 1)
    if len(shape) != 2 or shape[0] != 1:
        raise UsageError(
            f"--task {task} needs one row of numbers for each sample, (1, N) float; the model gives {words_of(first)}. "
            "Use --task none, or wrap the model"
        )
    return nn.Identity(), shape


def _sigmoid(head: nn.Module, probe: Tensor | None) -> tuple[nn.Module, tuple[str, ...]]:
    if probe is not None and bool(((probe >= 0) & (probe <= 1)).all()):
        return head, ("the model gives probabilities itself, so no sigmoid was put behind it",)
    return (Column(nn.Sigmoid()) if isinstance(head, Column) else nn.Sigmoid()), ()


def _binary(targets: np.ndarray) -> bool:
    return bool(np.isin(targets, (0, 1)).all())


def words_of(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def checked_metric(metric: str, found: Answering) -> str:
    """A metric that the user asks for, where it is one of the task's.

    Raises:
        UsageError: it is none.
    """
    known: Sequence[str] = METRICS[found.task]
    if found.task == "classification" and (found.count != 2 or len(found.shape) > 2):
        known = known[:1]  # the others are of one class among two
    if metric and metric not in known:
        raise UsageError(
            f"--metric {metric} does not fit this model, whose task is {found.task}. Known: {', '.join(known)}"
        )
    return metric


def shown_metric(metric: str) -> str:
    """The metric that is reported: the one asked for, where it is measured sample by sample; "" for the task's own."""
    return metric if metric and metric_named(metric) is not None else ""
