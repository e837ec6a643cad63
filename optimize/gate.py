"""The gate: does an artifact keep what its float model can do, on the model's own metric?

A paired test of non-inferiority. *Verified*: the one-sided 95 % bound of the loss lies within the budget. *Refused*: it
lies beyond, with the same confidence. Else *undecided*, with how many samples would decide. A float artifact that
follows the float model to 60 dB in every output and flips no answer is *lossless*, at any number of samples.

This module takes scores and answers; it runs no model and writes nothing. The statistics are in `edge_runtime`
(`paired.py` for hits, `resampled.py` for the rest), the rules in `ruling.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.edge_runtime.bundle.verdict import Status, Verdict
from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.format import limit_text, percent_text
from edgekit.edge_runtime.statistics.enough import enough_hits, enough_unlabelled
from edgekit.edge_runtime.statistics.paired import Loss, hits_loss, loss_high, share_high, split_error
from edgekit.edge_runtime.statistics.precision_loss import precision_loss
from edgekit.edge_runtime.statistics.resampled import auc_loss, sums_loss
from edgekit.edge_runtime.statistics.sum_metrics import SumMetric, hit_rows, mean_of
from edgekit.edge_runtime.tasks.average_precision import Matches
from edgekit.edge_runtime.tasks.detection_metrics import auc

from .ruling import Budget, Measured, broken, check_finite, nothing_proven, planned, ruled

__all__ = [
    "LOSSLESS_DB",
    "Budget",
    "judge_answers",
    "judge_auc",
    "judge_found",
    "judge_hits",
    "judge_lossless",
    "judge_metric",
    "judge_value",
]

LOSSLESS_DB = 60.0


def judge_hits(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    budget: Budget,
    *,
    metric: str = "accuracy",
    flipped: npt.ArrayLike | None = None,
    unlabelled_flipped: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> Verdict:
    """Whether an artifact keeps the share of samples that are answered rightly.

    Args:
        before, after: (N,) what the float model and the artifact answered rightly; (N, …) where a sample has several
            elements, such as tokens or pixels: then they are drawn sample by sample.
        flipped: (N,) where the two answers differ, right or wrong; None: only where one of them is right.
        unlabelled_flipped: (U,) where they differ on samples of the same kind without truth.
        groups: (N,) what each sample belongs to, such as a patient. Flips then prove nothing on their own.
    Raises:
        InputError: no samples, or arrays that do not fit.
    """
    right, still = np.asarray(before).astype(bool), np.asarray(after).astype(bool)
    differ = right != still if flipped is None else np.asarray(flipped).astype(bool)
    if not right.shape == still.shape == differ.shape or right.ndim == 0 or not right.size:
        raise InputError(
            f"hits of the same samples are compared, found {right.shape}, {still.shape} and flips {differ.shape}. "
            "Give one of each a sample"
        )
    differ = differ | (right != still)
    if right.ndim > 1 or groups is not None:
        shares = mean_of(metric, higher_is_better=True, is_share=True)
        flips = int(differ.reshape(len(differ), -1).any(axis=1).sum())
        return judge_metric(shares, hit_rows(right), hit_rows(still), budget, groups=groups, flips=flips)
    without = np.zeros(0, bool) if unlabelled_flipped is None else np.asarray(unlabelled_flipped).astype(bool)
    n, u, flips = len(right), len(without), int(differ.sum() + without.sum())
    lost, won = int((right & ~still).sum()), int((still & ~right).sum())
    loss = hits_loss(lost, won, n, error=budget.error)
    if u:
        by_truth, by_flips = split_error(n, u, budget.error)
        high = min(loss_high(lost, won, n, error=by_truth), share_high(flips, n + u, error=by_flips))
        loss = replace(loss, high=max(loss.value, high))
    values = float(right.mean()), float(still.mean())
    allowed = budget.of(values[0])
    return ruled(
        loss,
        budget,
        Measured(metric=metric, higher_is_better=True, is_share=True, values=values, samples=n, basis="hits"),
        flips=flips,
        lost=lost,
        won=won,
        unlabelled=u,
        needed=lambda: enough_hits(lost, won, n, allowed, error=budget.error),
        needed_unlabelled=lambda: enough_unlabelled(flips, n + u, n, allowed, error=budget.error),
    )


def judge_metric(
    metric: SumMetric,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    budget: Budget,
    *,
    groups: npt.ArrayLike | None = None,
    flips: int = 0,
) -> Verdict:
    """Whether an artifact keeps a metric of sums: F1, Dice, recall, a mean of errors or of bits.

    Args:
        before, after: rows (N, K) of the float model and of the artifact, as `statistics/sum_metrics.py` makes them.
        groups: (N,) what each sample belongs to, such as a patient, a scan or a day.
        flips: samples whose answers differ, where answers were compared.
    Raises:
        InputError: no samples, shapes that do not fit, or numbers of the float model that are none.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    check_finite(first)
    with np.errstate(over="ignore", invalid="ignore"):
        values = float(metric.value(first.sum(axis=0))), float(metric.value(second.sum(axis=0)))
    check_finite(np.array(values[:1]))
    measured = Measured(
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        is_share=metric.is_share,
        values=values,
        samples=len(first),
        groups=0 if groups is None else len(np.unique(np.asarray(groups))),
        basis="bootstrap",
    )
    if not np.isfinite(second).all() or not math.isfinite(values[1]):
        return broken(measured, budget)
    loss = sums_loss(first, second, metric, groups=groups, error=budget.error)
    return planned(loss, budget, measured, flips)


def judge_auc(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    truth: npt.ArrayLike,
    budget: Budget,
    *,
    groups: npt.ArrayLike | None = None,
    flips: int = 0,
) -> Verdict:
    """Whether an artifact keeps the area under the ROC curve of (N,) scores, larger for a positive; as `judge_metric`.

    Of one class alone there is no such area, and the samples prove nothing.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    positive = np.asarray(truth).astype(bool)
    check_finite(first)
    measured = Measured(
        metric="auc",
        higher_is_better=True,
        is_share=False,
        values=(0.0, 0.0),
        samples=len(first),
        groups=0 if groups is None else len(np.unique(np.asarray(groups))),
        basis="bootstrap",
    )
    if positive.all() or not positive.any():
        unknown = Loss(value=0, low=-math.inf, high=math.inf, standard_error=0, changed=0, units=len(first))
        return ruled(unknown, replace(budget, same_to_all=0.0), measured)
    area = auc(first, positive)
    if not np.isfinite(second).all():
        return broken(replace(measured, values=(area, math.nan)), budget)
    loss = auc_loss(first, second, positive, groups=groups, error=budget.error)
    # Who says the same to all ranks nothing: half.
    return planned(loss, replace(budget, same_to_all=0.5), replace(measured, values=(area, area - loss.value)), flips)


def judge_found(
    metric: str,
    before: Matches,
    after: Matches | None,
    budget: Budget,
    *,
    groups: npt.ArrayLike | None = None,
    flips: int = 0,
) -> Verdict:
    """Whether an artifact keeps the average precision of what it finds; as `judge_metric`.

    Args:
        before, after: what the float model and the artifact found in the same pictures; None where a number is none.
    """
    measured = Measured(
        metric=metric,
        higher_is_better=True,
        is_share=True,
        values=(before.value, math.nan if after is None else after.value),
        samples=len(before.truths),
        groups=0 if groups is None else len(np.unique(np.asarray(groups))),
        basis="bootstrap",
    )
    if after is None:
        return broken(measured, budget)
    loss = precision_loss(before, after, groups=groups, error=budget.error)
    return planned(loss, budget, measured, flips)


def judge_value(name: str, before: float, after: float, budget: Budget, *, samples: int) -> Verdict:
    """What one number of each model says, more being better. It has no bound: it can refuse, never verify.

    Raises:
        InputError: the float model's is no finite number.
    """
    check_finite(np.array([before]))
    measured = Measured(
        metric=name, higher_is_better=True, is_share=False, values=(before, after), samples=samples, basis="value"
    )
    if not math.isfinite(after):
        return broken(measured, budget)
    lost = before - after
    low = lost if lost > budget.of(before) else -math.inf
    loss = Loss(value=lost, low=low, high=math.inf, standard_error=0, changed=0, units=samples)
    return ruled(loss, budget, measured)


def judge_answers(differ: npt.ArrayLike, budget: Budget, *, agreement_floor: float, varies: bool = True) -> Verdict:
    """What the answers alone say where no truth was given: consistent, or refused below the floor of agreement.

    Args:
        differ: (N,) where the artifact's answer is another one; (N, …) where a sample has several elements, which are
            counted one by one.
        varies: whether the float model's answers differ between samples; else they prove nothing.
    Raises:
        InputError: no samples.
    """
    other = np.asarray(differ).astype(bool)
    if other.ndim == 0 or not other.size:
        raise InputError("no answers were compared. Give one for each sample")
    rows = other.reshape(len(other), -1)
    same = mean_of("agreement", higher_is_better=True, is_share=True)
    if rows.shape[1] == 1:
        loss = hits_loss(int(rows.sum()), 0, len(rows), error=budget.error)
    else:
        loss = sums_loss(hit_rows(np.ones_like(rows)), hit_rows(~rows), same, error=budget.error)
    allowed = 1 - agreement_floor
    nothing = not varies and loss.value <= allowed
    refused = loss.value > allowed
    status: Status = "refused" if refused else "unverified" if nothing else "consistent"
    return Verdict(
        status=status,
        basis="nothing" if nothing else "answers",
        metric="agreement",
        higher_is_better=True,
        float_value=1.0,
        value=1 - loss.value,
        samples=len(rows),
        groups=0,
        loss=loss.value,
        low=max(0.0, loss.low),
        high=loss.high,
        budget=allowed,
        flips=int(rows.any(axis=1).sum()),
        lost=0,
        won=0,
        unlabelled=0,
        needed=0,
        needed_unlabelled=0,
        helps="labels",
        reason=nothing_proven(len(rows), "the float model's answers to them hardly vary")
        if nothing
        else f"{percent_text(1 - loss.value, 2)} of the answers to {len(rows):,} samples are the float model's, "
        f"{limit_text(agreement_floor)} are due; true answers would show what is lost",
    )


def judge_lossless(
    measured: Verdict, sqnr_db: Mapping[str, float], *, flips: int, float_recipe: bool, varies: bool = True
) -> Verdict:
    """The verdict of what was measured, or *lossless* where a float artifact follows the float model in all outputs.

    Args:
        sqnr_db: by the name of each output, of what varies between samples (`varying_sqnr_db`).
        flips: answers that differ, of all samples that were run.
        float_recipe: whether nothing was quantized; of a lossy artifact the loss is measured.
        varies: whether the float model's answers differ between samples; of a single one nobody can say.
    """
    every = bool(sqnr_db) and min(sqnr_db.values()) >= LOSSLESS_DB
    seen = varies or measured.samples == 1
    if not (float_recipe and every and flips == 0 and seen) or measured.basis == "broken":
        return measured
    return replace(
        measured,
        status="verified",
        basis="lossless",
        needed=0,
        needed_unlabelled=0,
        helps="",
        reason=f"lossless: {min(sqnr_db.values()):.0f} dB in every output, and the same answer to all "
        f"{measured.samples:,} samples",
    )
