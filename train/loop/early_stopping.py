"""Whether a run stops early, and which of its epochs is best: from its curve alone, so that a resumed run agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.edge_runtime.tasks.registry import task
from edgekit.train.checkpoint import EpochRecord


def stop_reason(curve: Sequence[EpochRecord], patience: int | None, task_name: str) -> str | None:
    """Why training stops after the last epoch of `curve`, for a person; None if it continues.

    It stops when none of the last `patience` epochs had a better validation metric than the best before them.
    """
    if patience is None or len(curve) <= patience:
        return None
    metric = task(task_name).metric()
    sign = 1 if metric.higher_is_better else -1
    values = [sign * epoch.validation[metric.name] for epoch in curve]
    best = values.index(max(values))
    if len(values) - 1 - best < patience:
        return None
    return (
        f"stopped early at epoch {len(curve)}: the {patience} epochs after epoch {best + 1} did not improve on its "
        f"{metric.name} of {sign * values[best]:.4f} (patience {patience})"
    )


def is_best(validation: Mapping[str, float], curve: Sequence[EpochRecord], name: str) -> bool:
    """Whether the metric `name` is larger than in every epoch of `curve`; of equal epochs the first is the best."""
    return all(validation[name] > epoch.validation[name] for epoch in curve)


def kept_epoch(curve: Sequence[EpochRecord], best_by: str) -> EpochRecord:
    """The epoch whose weights a finished run keeps: the best by a metric, the first of equals; or the last."""
    return max(curve, key=lambda epoch: epoch.validation[best_by]) if best_by else curve[-1]
