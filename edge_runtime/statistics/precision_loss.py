"""How much average precision a detector loses against another one that saw the same pictures, with bounds.

Average precision is no sum over pictures, but a function of how often each picture is there, so that pictures can be
drawn by weighing them (`tasks/average_precision.py`). The bounds are those of `resampled.py`: quantiles over draws that
weigh all pictures anew, with one more that is like the worst of those seen; where fewer than ten carry the change, with
one that has as much as the picture that counts most, all of it found by the first model and none by the second.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..tasks.average_precision import Matches, precision
from .paired import ERROR, Loss
from .resampled import FEW, carriers

DRAWS = 1000  # chance moves the share of misses by less than one percent
LOOKED_AT = 1000  # pictures or groups, evenly spaced, among which the worst is looked for
_CHUNK = 4_000_000  # weights in memory at a time
_ROUNDING = 1e-12  # what the order of additions changes

# (B, G + 2) weights to (B,) losses; the last two columns are a picture that speaks for the second model as much as one
# can, and one that speaks against it.
_LossOf = Callable[[np.ndarray], np.ndarray]


def precision_loss(
    before: Matches,
    after: Matches,
    *,
    groups: npt.ArrayLike | None = None,
    error: float = ERROR,
    draws: int = DRAWS,
    seed: int = 0,
) -> Loss:
    """The loss of mean average precision from `before` to `after`.

    Args:
        groups: (N,) what each picture belongs to; None: each is on its own.
    Raises:
        InputError: these are not of the same pictures and thresholds.
    """
    if before.truths.shape[0] != after.truths.shape[0] or before.hits.shape[0] != after.hits.shape[0]:
        raise InputError(
            f"only answers to the same pictures can be compared, found {len(before.truths)} and {len(after.truths)} of "
            f"them at {len(before.hits)} and {len(after.hits)} thresholds"
        )
    pictures = len(before.truths)
    if groups is not None and len(np.asarray(groups)) != pictures:
        raise InputError(f"{len(np.asarray(groups))} groups do not fit {pictures} pictures. Name one for each picture")
    belongs = np.arange(pictures) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    drawn = _drawn(before, after, tuple(belongs.tolist()), draws, seed)
    return replace(
        drawn.seen,
        low=min(float(np.quantile(drawn.lows, error)), drawn.seen.value),
        high=max(float(np.quantile(drawn.highs, 1 - error)), drawn.seen.value),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Draws:
    """The loss, and what it is in each draw: with the best picture once more, and with the worst."""

    seen: Loss
    lows: np.ndarray
    highs: np.ndarray


@functools.lru_cache(maxsize=4)  # a gate asks for the same loss with more than one error
def _drawn(before: Matches, after: Matches, belongs: tuple[int, ...], draws: int, seed: int) -> _Draws:
    units = max(belongs) + 1
    columns = np.array([*belongs, units, units + 1])  # of weights, for each picture and the two besides
    first, second = _with_ends(before, after, belongs)

    def loss(weights: np.ndarray) -> np.ndarray:
        spread = weights[:, columns]
        return precision(first, spread) - precision(second, spread)

    plain = np.zeros((1, units + 2))
    plain[:, :units] = 1.0
    seen = float(loss(plain)[0])
    some = np.unique(np.linspace(0, units - 1, min(units, LOOKED_AT)).round().astype(np.int64))
    size = max(1, _CHUNK // max(1, len(first.scores), len(second.scores), units))
    alone = _alone(first, second, plain, columns, some, size)
    if carriers(alone) < FEW and len(some) < units:
        some = np.arange(units)
        alone = _alone(first, second, plain, columns, some, size)
    twice = _in_pieces(loss, _plus(plain, some), size) - seen
    to_the_end = carriers(alone) < FEW
    best, worst = (units, units + 1) if to_the_end else (int(some[twice.argmin()]), int(some[twice.argmax()]))
    draw = np.random.default_rng(seed)
    lows: list[np.ndarray] = []
    highs: list[np.ndarray] = []
    for start in range(0, draws, size):
        count = min(size, draws - start)
        weights = np.zeros((count, units + 2))
        weights[:, :units] = draw.standard_exponential((count, units))
        more = draw.standard_exponential(count)
        for column, found in ((best, lows), (worst, highs)):
            drawn = weights.copy()
            drawn[:, column] += more
            found.append(loss(drawn))
    influence = twice * (units + 1)
    loss_seen = Loss(
        value=seen,
        low=-math.inf,
        high=math.inf,
        standard_error=float(influence.std()) / max(1, units - 1) ** 0.5,
        changed=round(np.count_nonzero(alone) / len(some) * units),
        units=units,
    )
    return _Draws(seen=loss_seen, lows=np.concatenate(lows), highs=np.concatenate(highs))


def _plus(plain: np.ndarray, some: np.ndarray) -> np.ndarray:
    """(S, G + 2) weights: everything once, and each of some units once more."""
    weights = np.repeat(plain, len(some), axis=0)
    weights[np.arange(len(some)), some] += 1.0
    return weights


def _alone(
    first: Matches, second: Matches, plain: np.ndarray, columns: np.ndarray, some: np.ndarray, size: int
) -> np.ndarray:
    """(S,) what is lost where the second model's answers are taken for one unit alone."""
    both = _joined(first, second)
    kept = np.repeat(plain, len(some), axis=0)
    kept[np.arange(len(some)), some] = 0.0
    taken = np.repeat(plain, len(some), axis=0) - kept
    truth = np.concatenate([plain[:, columns], np.zeros((1, len(columns)))], axis=1)
    seen = precision(first, plain[:, columns])[0]

    def mixed(rows: np.ndarray) -> np.ndarray:
        weights = np.concatenate([kept[rows][:, columns], taken[rows][:, columns]], axis=1)
        return precision(both, weights, np.repeat(truth, len(rows), axis=0))

    lost = seen - np.concatenate([mixed(rows) for rows in np.split(np.arange(len(some)), range(size, len(some), size))])
    return np.where(np.abs(lost) < _ROUNDING, 0.0, lost)


def _joined(first: Matches, second: Matches) -> Matches:
    """The boxes of both models, the second one's as if found in N pictures more, in which nothing is true.

    Those of one picture stand together: of equal scores they take the place that either model's would.
    """
    shape, labels = first.truths.shape, np.concatenate([first.labels, second.labels])
    pictures = np.concatenate([first.pictures, second.pictures])
    order = np.lexsort((pictures, labels))
    pictures[len(first.pictures) :] += shape[0]
    return replace(
        first,
        labels=labels[order],
        pictures=pictures[order],
        scores=np.concatenate([first.scores, second.scores])[order],
        hits=np.concatenate([first.hits, second.hits], axis=1)[:, order],
        ignored=np.concatenate([first.ignored, second.ignored], axis=1)[:, order],
        truths=np.concatenate([first.truths, np.zeros(shape)]),
    )


def _with_ends(before: Matches, after: Matches, belongs: tuple[int, ...]) -> tuple[Matches, Matches]:
    """Both with two pictures more: one that only the second model gets right, and one that only the first does."""
    labels = max(before.truths.shape[1], after.truths.shape[1])
    widened = [np.pad(one.truths, ((0, 0), (0, labels - one.truths.shape[1]))) for one in (before, after)]
    of_units = np.zeros((max(belongs) + 1, labels))
    np.add.at(of_units, list(belongs), widened[0])
    # What missing all of a unit costs is about its share in each label.
    shares = of_units / np.maximum(of_units.sum(axis=0) + of_units, 1.0)
    most = of_units[int(shares.sum(axis=1).argmax())]
    surest = float(max(before.scores.max(initial=0.0), after.scores.max(initial=0.0))) + 1.0
    # As in the other pictures, boxes of a label that is never true count for nothing.
    found = np.repeat(np.arange(labels), most.astype(np.int64))
    ends = []
    for matches, truths, picture in ((before, widened[0], 1), (after, widened[1], 0)):
        shape = (len(matches.hits), len(found))
        ends.append(replace(
            matches,
            labels=np.concatenate([matches.labels, found]),
            pictures=np.concatenate([matches.pictures, np.full(len(found), len(truths) + picture)]),
            scores=np.concatenate([matches.scores, np.full(len(found), surest)]),
            hits=np.concatenate([matches.hits, np.ones(shape, bool)], axis=1),
            ignored=np.concatenate([matches.ignored, np.zeros(shape, bool)], axis=1),
            truths=np.concatenate([truths, [most, most]]),
        ))  # fmt: skip
    return ends[0], ends[1]


def _in_pieces(loss: _LossOf, weights: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([loss(weights[i : i + size]) for i in range(0, len(weights), size)])
