"""When a run ends before its last epoch, why, and its best epoch: by its curve, so that a resumed run agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.edge_runtime.tasks.registry import task
from edgekit.train.checkpoint import EpochRecord


def stop_reason(curve: Sequence[EpochRecord], patience: int | None, task_name: str) -> str | None:
    """Why training ends after the last epoch of `curve`, for a person; None where it goes on.

    It ends when the validation metric of the last `patience` epochs was never better than the best before them.
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
        f"stopped early at epoch {len(curve)}: {metric.name} {sign * values[best]:.4f} of epoch {best + 1} was not "
        f"bettered in the {patience} epochs after it (patience {patience})"
    )


def is_best(validation: Mapping[str, float], curve: Sequence[EpochRecord], name: str) -> bool:
    """Whether an epoch's figure `name` is larger than in every epoch of `curve` before it; of equals the first is."""
    return all(validation[name] > epoch.validation[name] for epoch in curve)


def kept_epoch(curve: Sequence[EpochRecord], best_by: str) -> EpochRecord:
    """The epoch whose weights a finished run keeps: the first of the best by a figure, or the last."""
    return max(curve, key=lambda epoch: epoch.validation[best_by]) if best_by else curve[-1]
