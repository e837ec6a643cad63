"""From a model's answers to a verdict: which metric is gated, and what each sample adds to it.

The metric is the registry's own (`BookModel.gated`), or the task's; a user's `evaluate` gives its own numbers. Which
samples belong together (a patient's, a scan's, a day's) is in `DeployModel.groups`. Runs no model; `gate.py` judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.verdict import Verdict
from edgekit.edge_runtime.errors import unknown
from edgekit.edge_runtime.statistics.sum_metrics import (
    DICE,
    F1,
    IOU,
    PRECISION,
    RECALL,
    SumMetric,
    detection_rows,
    mean_of,
    mean_rows,
)
from edgekit.edge_runtime.tasks.average_precision import AveragePrecision50, MeanAveragePrecision, matched
from edgekit.edge_runtime.tasks.detection import same_found
from edgekit.edge_runtime.tasks.metrics import right_and_counted
from edgekit.edge_runtime.tasks.multi_label import label_f1
from edgekit.edge_runtime.tasks.registry import task
from edgekit.edge_runtime.tasks.variation import same_to_all, varies, varying_sqnr_db

from .gate import (
    Budget,
    judge_answers,
    judge_auc,
    judge_found,
    judge_hits,
    judge_lossless,
    judge_metric,
    judge_value,
)

FLAGGED = 0.5  # a probability from which a pixel belongs to the object, as in `tasks.segmentation`


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The float model's and an artifact's answers to the same samples, by output name, with what is known of them."""

    float_outputs: Arrays
    """(N, …) each, in the order of the model's outputs."""
    outputs: Arrays
    """The artifact's, of the same names and shapes."""
    targets: np.ndarray | None
    """(N, …) true answers; None where nobody knows them."""
    answers: tuple[np.ndarray, np.ndarray] | None = None
    """What is judged by the metric, (N, …) of both, as the task takes it; None: the first output as it is."""
    groups: np.ndarray | None = None
    """(N,) what each sample belongs to; None where each is on its own."""
    unlabelled: tuple[np.ndarray, np.ndarray] | None = None
    """The same of both, (U, …), for samples of the same kind without truth."""
    scores: tuple[np.ndarray, np.ndarray] | None = None
    """What a user's `evaluate` gave for both: one number each, or one for each sample; more is better."""

    @property
    def first(self) -> tuple[np.ndarray, np.ndarray]:
        if self.answers is not None:
            return self.answers
        name = next(iter(self.float_outputs))
        return self.float_outputs[name], self.outputs[name]


def judge(
    compared: Compared,
    *,
    task_name: str,
    metric: str = "",
    max_drop: float,
    agreement_floor: float,
    float_recipe: bool,
    error: float,
) -> Verdict:
    """Whether the artifact keeps what the float model can do.

    Args:
        metric: one of `GATED`; empty for the task's own.
        max_drop: how much of the float model's value may be lost, relative.
        agreement_floor: the least share of equal answers where no truth is known.
        float_recipe: whether nothing was quantized; only then an artifact can be lossless.
        error: how often a verified artifact may be beyond its budget.
    Raises:
        UsageError: no such metric.
    """
    before, after = compared.first
    moved = varies(before)
    budget = Budget(max_drop=max_drop, error=error)
    if compared.scores is not None:
        verdict = _judge_scores(metric or "score", compared, budget)
    elif compared.targets is None:
        differ = task(task_name).differ(before, after)
        verdict = judge_answers(differ, budget, agreement_floor=agreement_floor, varies=moved)
    else:
        name = metric or task(task_name).metric().name
        if name not in GATED:
            raise unknown("metric to gate by", name, GATED)
        verdict = GATED[name](compared, task_name, budget)
    answered_alike = not _differ_anywhere(compared, task_name)
    noise = {
        name: varying_sqnr_db(rows, compared.outputs[name])
        for name, rows in compared.float_outputs.items()
        if rows.size
    }
    return judge_lossless(
        verdict, noise, flips=0 if answered_alike else max(1, verdict.flips), float_recipe=float_recipe, varies=moved
    )


def _differ_anywhere(compared: Compared, task_name: str) -> bool:
    pairs = [compared.first, *([compared.unlabelled] if compared.unlabelled is not None else [])]
    return any(bool(task(task_name).differ(one, other).any()) for one, other in pairs)


def _judge_scores(name: str, compared: Compared, budget: Budget) -> Verdict:
    assert compared.scores is not None
    before, after = compared.scores
    if before.ndim == 0:
        return judge_value(name, float(before), float(after), budget, samples=len(compared.first[0]))
    metric = mean_of(name, higher_is_better=True)
    return judge_metric(metric, mean_rows(before), mean_rows(after), budget, groups=compared.groups)


def _judge_accuracy(compared: Compared, task_name: str, budget: Budget) -> Verdict:
    before, after = compared.first
    truth = compared.targets
    same = same_to_all(before, logarithms=task_name == "next_character")

    def right(outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=1) == truth

    differ = task(task_name).differ
    if before.ndim > 2:  # an answer for each place, some of which do not count
        assert truth is not None
        metric = mean_of("accuracy", higher_is_better=True, is_share=True)
        alike, first, second = (right_and_counted(outputs, truth) for outputs in (same, before, after))
        flips = int(differ(before, after).reshape(len(before), -1).any(axis=1).sum())
        budget = _with_same(budget, float(metric.value(alike.sum(axis=0))))
        return judge_metric(metric, first, second, budget, groups=compared.groups, flips=flips)
    return judge_hits(
        right(before),
        right(after),
        _with_same(budget, float(right(same).mean())),
        flipped=differ(before, after),
        unlabelled_flipped=None if compared.unlabelled is None else differ(*compared.unlabelled),
        groups=compared.groups,
    )


def _judge_detections(metric: SumMetric, called: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Verdict]:
    def judged(compared: Compared, task_name: str, budget: Budget) -> Verdict:
        before, after = compared.first
        assert compared.targets is not None
        truth = compared.targets >= FLAGGED if compared.targets.dtype.kind == "f" else compared.targets == 1

        def rows(outputs: np.ndarray) -> np.ndarray:
            return detection_rows(called(outputs).reshape(truth.shape), truth)

        same = float(metric.value(rows(same_to_all(before)).sum(axis=0)))
        flips = int(task(task_name).differ(before, after).reshape(len(before), -1).any(axis=1).sum())
        budget = _with_same(budget, same)
        return judge_metric(metric, rows(before), rows(after), budget, groups=compared.groups, flips=flips)

    return judged


def _judge_label_f1(compared: Compared, task_name: str, budget: Budget) -> Verdict:
    before, after = compared.first
    assert compared.targets is not None
    truth = compared.targets
    metric = mean_of("label_f1", higher_is_better=True, is_share=True)

    def rows(outputs: np.ndarray) -> np.ndarray:
        return mean_rows(label_f1(outputs, truth))

    budget = _with_same(budget, float(metric.value(rows(same_to_all(before)).sum(axis=0))))
    flips = int(task(task_name).differ(before, after).any(axis=1).sum())
    return judge_metric(metric, rows(before), rows(after), budget, groups=compared.groups, flips=flips)


def _judge_auc(compared: Compared, task_name: str, budget: Budget) -> Verdict:
    before, after = compared.first
    assert compared.targets is not None
    flips = int(task(task_name).differ(before, after).sum())
    truth = compared.targets == 1
    return judge_auc(before[:, 1], after[:, 1], truth, budget, groups=compared.groups, flips=flips)


def _judge_error(compared: Compared, task_name: str, budget: Budget) -> Verdict:
    before, after = compared.first
    truth = np.asarray(compared.targets, np.float64).reshape(before.shape)
    metric = mean_of("mean_absolute_error", higher_is_better=False)

    def rows(outputs: np.ndarray) -> np.ndarray:
        return mean_rows(np.abs(np.asarray(outputs, np.float64) - truth))

    budget = _with_same(budget, float(metric.value(rows(same_to_all(before)).sum(axis=0))))
    flips = int(task(task_name).differ(before, after).reshape(len(before), -1).any(axis=1).sum())
    return judge_metric(metric, rows(before), rows(after), budget, groups=compared.groups, flips=flips)


def _judge_bits(compared: Compared, task_name: str, budget: Budget) -> Verdict:
    before, after = compared.first
    truth = np.asarray(compared.targets)
    metric = mean_of("bits_per_character", higher_is_better=False)

    def rows(outputs: np.ndarray) -> np.ndarray:
        chosen = np.take_along_axis(np.asarray(outputs, np.float64), truth[..., np.newaxis], axis=-1)[..., 0]
        return mean_rows(-chosen / np.log(2))

    budget = _with_same(budget, float(metric.value(rows(same_to_all(before, logarithms=True)).sum(axis=0))))
    flips = int(task(task_name).differ(before, after).sum())
    return judge_metric(metric, rows(before), rows(after), budget, groups=compared.groups, flips=flips)


def _judge_precision(metric: type[MeanAveragePrecision]) -> Callable[..., Verdict]:
    def judged(compared: Compared, task_name: str, budget: Budget) -> Verdict:
        before, after = compared.first
        assert compared.targets is not None
        truth = compared.targets
        flips = int(task(task_name).differ(before, after).sum())
        first, same = (matched(rows, truth, metric.thresholds) for rows in (before, same_found(before)))
        second = None if np.isnan(after).any() else matched(after, truth, metric.thresholds)
        budget = _with_same(budget, same.value)
        return judge_found(metric.name, first, second, budget, groups=compared.groups, flips=flips)

    return judged


def _with_same(budget: Budget, value: float) -> Budget:
    return Budget(max_drop=budget.max_drop, same_to_all=value, error=budget.error)


def _second_class(outputs: np.ndarray) -> np.ndarray:
    return outputs.argmax(axis=-1) == 1


def _flagged(outputs: np.ndarray) -> np.ndarray:
    return outputs >= FLAGGED


def _by_kind(outputs: np.ndarray) -> np.ndarray:
    """Classes (N, C) as whether the second is the largest; masks (N, 1, H, W) by their pixels."""
    return _second_class(outputs) if outputs.ndim == 2 else _flagged(outputs)


# What can be gated, by name. Classes, detections, ranks and errors each have a judge of their own.
GATED: Mapping[str, Callable[[Compared, str, Budget], Verdict]] = {
    "accuracy": _judge_accuracy,
    "f1": _judge_detections(F1, _by_kind),
    "recall": _judge_detections(RECALL, _by_kind),
    "precision": _judge_detections(PRECISION, _by_kind),
    "dice": _judge_detections(DICE, _flagged),
    "iou": _judge_detections(IOU, _flagged),
    "label_f1": _judge_label_f1,
    "auc": _judge_auc,
    "mean_absolute_error": _judge_error,
    "bits_per_character": _judge_bits,
    "mean_average_precision": _judge_precision(MeanAveragePrecision),
    "average_precision_50": _judge_precision(AveragePrecision50),
}
