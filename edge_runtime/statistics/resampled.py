"""How much two models that answered the same samples differ in a metric that does not count hits, with bounds.

For metrics of sums (`sum_metrics.py`) and for the area under a ROC curve. Samples that belong together (a patient's, a
scan's, a day's) are one group and are drawn as one. Each draw weighs all groups anew; a bound is a quantile of the loss
over the draws, *with one group more than was seen, like the worst of them* (like the best, for the lower bound).
Without it a bootstrap takes what it has not seen for impossible: of 50 differences from a Laplace distribution its
bound misses the truth in 6.7 % of cases (BCa 6.5, Student's t 5.3), with it in 3.2; of exponential ones, whose large
losses are rare, in 8.3 % (6.3, 8.2) and 3.4. What it costs is a bound 20 % further off at 50, 5 % at 1,000.

Where fewer than ten groups carry the change, and where single samples are right or wrong, the one more is as bad as the
metric allows. Then the bound holds for any number of samples, and is Clopper and Pearson's where hits are counted.
Where fewer than ten carry it and a metric has no limit, there is no bound.

Source: Learned-Miller & Thomas, "A new confidence interval for the mean of a bounded random variable", arXiv 1905.06208
(2019); D. B. Rubin, "The Bayesian bootstrap", Annals of Statistics 9 (1981), 130-134.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..tasks.detection_metrics import auc
from .paired import ERROR, Loss, hits_loss
from .sum_metrics import SumMetric, mean_of, mean_rows

FEW = 10  # groups that carry the change; a bootstrap of fewer says little
DRAWS = 4000  # half of them where there are very many groups
_WEIGHTS = 20_000_000  # drawn in all, then
_CHUNK = 2_000_000  # weights in memory at a time


def scores_loss(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    higher_is_better: bool,
    is_share: bool = False,
    groups: npt.ArrayLike | None = None,
    error: float = ERROR,
) -> Loss:
    """The loss of a mean of one score a sample, (N,) of both models: exact where all are hits, 0 or 1.

    A NaN or infinity on one side alone makes that side infinitely worse; on both, nothing is known. Raises as
    `sums_loss`.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    good = bool(np.isfinite(first).all()), bool(np.isfinite(second).all())
    if not all(good):
        low, high = math.inf if good[0] else -math.inf, -math.inf if good[1] else math.inf
        value = low if low == high else 0.0
        return Loss(value=value, low=low, high=high, standard_error=math.inf, changed=len(first), units=len(first))
    hits = groups is None and first.shape == second.shape and bool(np.isin([first, second], (0.0, 1.0)).all())
    if hits and first.ndim == 1 and len(first):
        fell, rose = int((first > second).sum()), int((first < second).sum())
        return hits_loss(*((fell, rose) if higher_is_better else (rose, fell)), len(first), error=error)
    metric = mean_of("score", higher_is_better=higher_is_better, is_share=is_share)
    return sums_loss(mean_rows(first), mean_rows(second), metric, groups=groups, error=error)


def sums_loss(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    metric: SumMetric,
    *,
    groups: npt.ArrayLike | None = None,
    error: float = ERROR,
    draws: int = DRAWS,
    seed: int = 0,
) -> Loss:
    """The loss of a metric of sums; its bounds are infinite where there are none.

    Args:
        before, after: finite rows (N, K) of both models for the same samples.
        groups: (N,) what each sample belongs to; None: each is on its own.
        draws: from 2,000 on chance moves the share of misses by less than half a percent.
    Raises:
        InputError: no samples, or shapes that do not fit.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if first.shape != second.shape or first.ndim != 2 or not len(first):
        raise InputError(
            f"only rows (N, K) of the same samples can be compared, found {first.shape} and {second.shape}. "
            "Give at least one row for each model"
        )
    rows, k = _summed(np.concatenate([first, second], axis=1), groups), first.shape[1]

    def loss(sums: np.ndarray) -> np.ndarray:
        difference = metric.value(sums[..., :k]) - metric.value(sums[..., k:])
        return difference if metric.higher_is_better else -difference

    total = rows.sum(axis=0)
    moved = rows[:, k:] - rows[:, :k]
    alone = loss(np.concatenate([np.broadcast_to(total[:k], moved.shape), total[:k] + moved], axis=1))
    ends = None
    if metric.worst is not None:
        worst = np.array(metric.worst) * max(1.0, float(metric.size(rows.reshape(-1, k)).max()))
        ends = worst[::-1].ravel(), worst.ravel()
    single = bool(np.isin(rows, (0.0, 1.0)).all())
    to_the_end = carriers(alone) < FEW or (single and ends is not None)
    found = _bounded(rows, loss, ends, to_the_end, error, draws, seed)
    return replace(found, changed=int((moved != 0).any(axis=1).sum()))


def auc_loss(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    error: float = ERROR,
    draws: int = DRAWS,
    seed: int = 0,
) -> Loss:
    """The loss of area under the ROC curve of (N,) scores, larger for a positive, against (N,) truth.

    The sums are of placements: how many samples of the other kind each one is ranked rightly against. Where fewer than
    ten groups carry the change, one sample more of the rarer kind went from one end of the ranking to the other.

    Raises:
        InputError: the shapes differ, a score is NaN, or there is no positive or no negative.
    """
    positive = np.asarray(truth).astype(bool)
    seen = auc(before, positive) - auc(after, positive)
    moved = _placements(before, positive) - _placements(after, positive)
    # A column of what positives lose against all negatives with one that counts them, and two of negatives likewise.
    of_kind = np.stack([positive, positive, ~positive, ~positive], axis=1)
    rows = _summed(np.stack([moved, np.ones_like(moved)] * 2, axis=1) * of_kind, groups)

    def loss(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1] + sums[..., 2] / sums[..., 3] - seen

    rarer = 0 if positive.mean() <= 0.5 else 2
    end = np.zeros(4)
    end[rarer : rarer + 2] = float(rows[:, rarer + 1].max())
    alone = rows[:, 0] / positive.sum() + rows[:, 2] / (~positive).sum()
    ends = end * (-1, 1, -1, 1), end
    found = _bounded(rows, loss, ends, carriers(alone) < FEW, error, draws, seed)
    return replace(found, changed=int(np.count_nonzero(_summed((moved != 0)[:, None] * 1.0, groups))))


def carriers(effects: npt.ArrayLike) -> float:
    """How many of the groups carry a change, by what each changes on its own: 10 of equal size are 10, large ones less.

    Source: the participation ratio of physics, (sum |x|)² / sum x²; as the effective sample size of Kish (1965).
    """
    sizes = np.abs(np.asarray(effects, np.float64))
    most = float(sizes.max(initial=0.0))
    return float((sizes / most).sum() ** 2 / ((sizes / most) ** 2).sum()) if most > 0 else 0.0


def _summed(rows: np.ndarray, groups: npt.ArrayLike | None) -> np.ndarray:
    """(N, K) rows to one row a group."""
    if groups is None:
        return rows
    if len(np.asarray(groups)) != len(rows):
        raise InputError(f"{len(np.asarray(groups))} groups do not fit {len(rows)} samples. Name one for each sample")
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.stack([np.bincount(names, column) for column in rows.T], axis=1)


def _bounded(
    rows: np.ndarray,
    loss: Callable[[np.ndarray], np.ndarray],
    ends: tuple[np.ndarray, np.ndarray] | None,
    to_the_end: bool,
    error: float,
    draws: int,
    seed: int,
) -> Loss:
    """The loss of sums of rows (G, K). `ends` are the best and the worst row that one more group could have.

    `to_the_end` asks for them, where otherwise the best and the worst of those seen will do.
    """
    total = rows.sum(axis=0)
    seen = float(loss(total))
    twice = loss(total + rows) - seen
    influence = twice * (len(rows) + 1)  # by how much the loss grows as a group becomes all there is, for small steps
    scale = float(np.abs(influence).max()) or 1.0  # so that no square overflows
    found = Loss(
        value=seen,
        low=-math.inf,
        high=math.inf,
        standard_error=scale * float((influence / scale).std()) / math.sqrt(max(1, len(rows) - 1)),
        changed=0,
        units=len(rows),
    )
    if to_the_end and ends is None:
        return found
    best, worst = ends if to_the_end and ends is not None else (rows[twice.argmin()], rows[twice.argmax()])
    # Equal rows are drawn together: of ten thousand detections most are the same true negative.
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    if len(distinct) > len(rows) / 2:  # then one by one is faster
        distinct, counts = rows, np.ones(len(rows), np.int64)
    draw, lows, highs = np.random.default_rng(seed), [], []
    for size in _chunks(len(distinct), draws):
        shape = (size, len(distinct))
        weights = draw.standard_exponential(shape) if len(distinct) == len(rows) else draw.standard_gamma(counts, shape)
        sums, extra = weights @ distinct, draw.standard_exponential((size, 1))
        lows.append(loss(sums + extra * best))
        highs.append(loss(sums + extra * worst))
    low = float(np.quantile(np.concatenate(lows), error))
    high = float(np.quantile(np.concatenate(highs), 1 - error))
    return replace(found, low=min(low, seen), high=max(high, seen))


def _chunks(width: int, draws: int) -> Iterator[int]:
    """How many draws of `width` weights to make at a time."""
    left = min(draws, max(draws // 2, _WEIGHTS // width))
    while left > 0:
        size = min(left, max(1, _CHUNK // width))
        left -= size
        yield size


def _placements(scores: npt.ArrayLike, positive: np.ndarray) -> np.ndarray:
    """(N,) for a positive the share of negatives below it, for a negative that of positives above; ties are half.

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988), 837-845.
    """
    values = np.asarray(scores, np.float64)
    below, above = np.sort(values[~positive]), np.sort(values[positive])
    of_positive = np.searchsorted(below, values) + np.searchsorted(below, values, side="right")
    of_negative = np.searchsorted(above, values) + np.searchsorted(above, values, side="right")
    return np.where(positive, of_positive / 2 / len(below), 1 - of_negative / 2 / len(above))
