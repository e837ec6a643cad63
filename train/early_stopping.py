"""When a run ends before its last epoch, and why: a function of its curve alone, so that a resumed run agrees."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.tasks import task
from train.checkpoint import EpochRecord


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
