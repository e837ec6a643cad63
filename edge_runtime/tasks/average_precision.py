"""How well boxes are found: COCO's mean average precision, by COCO's own library, and picture by picture.

The library (pycocotools) decides which box finds what, and gives the value. What it decided is kept for each picture
(`Matches`), so that the interval, and the loss between two models, weigh pictures without asking it again:
`precision` adds up the same numbers with weights. Only who measures needs the library. Nothing here knows a model.

What is true is (N, M, 6): label, whether it is a crowd (1) or one thing (0), left, top, right, bottom; rows beyond have
the label -1. What is found is as in `detection.py`. A crowd counts neither as missed nor, where it is found, as wrong.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..command_line import install
from ..errors import InputError, MissingDependency
from .detection import COLUMNS

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # of intersection over union, COCO's
RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is read
DRAWS = 1000
_CHUNK = 4_000_000  # weights in memory at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranked:
    """The boxes of one label, the surest first."""

    pictures: np.ndarray
    """(D,) int64, where each was found."""
    thresholds: tuple[tuple[np.ndarray, np.ndarray, int], ...]
    """(D,) which are hits and (D,) which count, and at how many thresholds they are just these."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """What a model found in N pictures, held to the truth: D boxes, sorted by label, then picture, the surest first.

    Two of them are equal only if they are the same object.
    """

    labels: np.ndarray
    """(D,) int64, what each was taken for."""
    pictures: np.ndarray
    """(D,) int64, where each was found."""
    scores: np.ndarray
    """(D,) float64."""
    hits: np.ndarray
    """(T, D) bool, whether it finds a true one, at each threshold."""
    ignored: np.ndarray
    """(T, D) bool, whether it counts neither way."""
    truths: np.ndarray
    """(N, C) float64, how many things of each label there are in a picture, crowds aside."""
    values: np.ndarray
    """(T,) float64, the average precision at each threshold, as the library has it."""

    @functools.cached_property
    def value(self) -> float:
        """The mean over labels and thresholds."""
        return float(self.values.mean())

    @functools.cached_property
    def ranked(self) -> dict[int, _Ranked]:
        """By each label that is among the truth: its boxes, the surest first; of equals the earlier picture's."""
        by_label = {
            int(label): np.flatnonzero(self.labels == label) for label in np.flatnonzero(self.truths.sum(axis=0))
        }
        found = {}
        for label, rows in by_label.items():
            rows = rows[np.argsort(-self.scores[rows], kind="stable")]
            marks = self.hits[:, rows] + 2 * self.ignored[:, rows].astype(np.uint8)
            distinct, counts = np.unique(marks, axis=0, return_counts=True)
            thresholds = tuple((mark == 1, mark < 2, int(count)) for mark, count in zip(distinct, counts, strict=True))
            found[label] = _Ranked(pictures=self.pictures[rows], thresholds=thresholds)
        return found


def precision(matches: Matches, weights: np.ndarray, truth_weights: np.ndarray | None = None) -> np.ndarray:
    """(B, N) weights of the pictures to (B,): the mean average precision where each picture is there so many times.

    With weights of 1 it is `Matches.value`.

    Args:
        truth_weights: (B, N) of what is true there, where these differ from `weights`, those of what was found.
    """
    of_truth = (weights if truth_weights is None else truth_weights) @ matches.truths  # (B, C)
    total = np.zeros(len(weights))
    for label, ranked in matches.ranked.items():
        here = weights[:, ranked.pictures]
        every = np.cumsum(here, axis=1)
        for hits, counts, times in ranked.thresholds:
            true = np.cumsum(here[:, hits], axis=1)
            if not true.shape[1]:
                continue
            counted = (every if counts.all() else np.cumsum(here * counts, axis=1))[:, hits]
            # Precision at a place is the best at it or further down: nobody would stop where it is worse.
            best = np.maximum.accumulate((true / (counted + np.spacing(1)))[:, ::-1], axis=1)[:, ::-1]
            reached = np.searchsorted(RECALLS, true / of_truth[:, label, np.newaxis], side="right")
            total += times * (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    return total / max(1, len(matches.ranked) * len(matches.hits))


def matched(found: npt.ArrayLike, truth: npt.ArrayLike, thresholds: tuple[float, ...] = THRESHOLDS) -> Matches:
    """What was found, (N, K, 6), held to what is true, (N, M, 6). The last few are kept: a gate asks more than once.

    Raises:
        InputError: these are not such arrays of the same pictures, hold NaN, or nothing is true.
        MissingDependency: pycocotools is not installed.
    """
    rows, wanted = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    if not (rows.ndim == wanted.ndim == 3 and len(rows) == len(wanted) and rows.shape[2] == wanted.shape[2] == COLUMNS):
        raise InputError(
            f"average precision takes what was found, (N, K, {COLUMNS}), and what is true, (N, M, {COLUMNS}); found "
            f"{rows.shape} and {wanted.shape}. Give both for the same pictures"
        )
    if not (np.isfinite(rows).all() and np.isfinite(wanted).all()):
        raise InputError(
            "average precision of NaN or infinity is undefined. Run the model in PyTorch and mend it first"
        )
    if not ((wanted[..., 0] >= 0) & (wanted[..., 1] == 0)).any():
        raise InputError("nothing is true in any picture, so nothing can be found. Give pictures with boxes")
    digest = hashlib.sha256(repr((rows.shape, wanted.shape, thresholds)).encode())
    for array in (rows, wanted):
        digest.update(np.ascontiguousarray(array).data)
    return _matched(_Arrays(digest=digest.digest(), found=rows, truth=wanted), thresholds)


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    """Arrays by what they hold, so that a cache can tell them apart."""

    digest: bytes
    found: np.ndarray = field(compare=False)
    truth: np.ndarray = field(compare=False)


@functools.lru_cache(maxsize=6)
def _matched(arrays: _Arrays, thresholds: tuple[float, ...]) -> Matches:
    found, truth = arrays.found, arrays.truth
    count = int(max(found[..., 0].max(initial=0), truth[..., 0].max(initial=0))) + 1
    evaluation = _evaluated(found, truth, count, thresholds)
    held = [one for one in evaluation.evalImgs if one is not None]  # by label, then picture
    truths = np.zeros((len(found), count))
    for one in held:
        truths[one["image_id"], one["category_id"]] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)

    def column(name: str) -> np.ndarray:
        return np.repeat([one[name] for one in held], [len(one["dtScores"]) for one in held]).astype(np.int64)

    each = evaluation.eval["precision"][:, :, :, 0, 0]  # (T, R, C); -1 where a label is not among the truth
    there = each[0, 0] > -1
    return Matches(
        labels=column("category_id"),
        pictures=column("image_id"),
        scores=np.concatenate([np.asarray(one["dtScores"], np.float64) for one in held]),
        hits=np.concatenate([np.asarray(one["dtMatches"]) > 0 for one in held], axis=1),
        ignored=np.concatenate([np.asarray(one["dtIgnore"], bool) for one in held], axis=1),
        truths=truths,
        values=each[:, :, there].mean(axis=(1, 2)),
    )


def _evaluated(found: np.ndarray, truth: np.ndarray, count: int, thresholds: tuple[float, ...]) -> Any:
    """COCO's own evaluation of boxes of any size."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise MissingDependency(
            f"measuring a detector needs pycocotools, which is not installed. Run: {install('train')}"
        ) from None

    def boxes_of(rows: np.ndarray, *, found: bool) -> Any:
        one = COCO()
        listed: list[dict[str, Any]] = []
        for picture, label, second, *box in _listed(rows):
            left, top, right, bottom = box
            width, height = right - left, bottom - top
            entry = {"id": len(listed) + 1, "image_id": picture, "category_id": label, "area": width * height}
            more = {"score": second, "iscrowd": 0} if found else {"iscrowd": int(second)}
            listed.append(entry | {"bbox": [left, top, width, height]} | more)
        one.dataset = {
            "images": [{"id": i} for i in range(len(rows))],
            "categories": [{"id": i} for i in range(count)],
            "annotations": listed,
        }
        one.createIndex()
        return one

    with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
        evaluation = COCOeval(boxes_of(truth, found=False), boxes_of(found, found=True), "bbox")
        evaluation.params.iouThrs = np.array(thresholds)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max(1, found.shape[1])]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _listed(rows: np.ndarray) -> list[tuple[Any, ...]]:
    """(N, K, 6) to one tuple a box: picture, label, the second column, left, top, right, bottom."""
    picture, place = np.nonzero(rows[..., 0] >= 0)
    there = rows[picture, place]
    return [(p, int(row[0]), *row[1:]) for p, row in zip(picture.tolist(), there.tolist(), strict=True)]


class MeanAveragePrecision:
    """COCO's AP: the mean over labels, and over intersections over union from 0.50 to 0.95, of average precision.

    In [0, 1]. The interval is that of a Bayesian bootstrap over pictures, around the value: where pictures are drawn
    several times the best precision is a bit higher, in every draw.
    """

    name: ClassVar[str] = "mean_average_precision"
    higher_is_better: ClassVar[bool] = True
    is_share: ClassVar[bool] = True
    thresholds: ClassVar[tuple[float, ...]] = THRESHOLDS

    def __init__(self) -> None:
        self._found: list[np.ndarray] = []
        self._truth: list[np.ndarray] = []
        self._interval: tuple[float, float] | None = None

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Adds one batch: what was found, (N, K, 6), and what is true, (N, M, 6)."""
        self._found.append(np.asarray(outputs, np.float64))
        self._truth.append(np.asarray(targets, np.float64))
        self._interval = None

    @property
    def samples(self) -> int:
        return sum(map(len, self._found))

    @property
    def value(self) -> float:
        """0 to 1. Raises as `matched`; before the first picture `InputError`."""
        return self._matches().value

    @property
    def low(self) -> float:
        return self._ends()[0]

    @property
    def high(self) -> float:
        return self._ends()[1]

    def _matches(self) -> Matches:
        if not self._found:
            raise InputError("the average precision of 0 pictures is undefined. Evaluate on at least one")
        return matched(_joined(self._found), _joined(self._truth), self.thresholds)

    def _ends(self) -> tuple[float, float]:
        if self._interval is None:
            matches, draw = self._matches(), np.random.default_rng(0)
            size = max(1, _CHUNK // max(1, len(matches.scores), self.samples))
            drawn = np.concatenate([
                precision(matches, draw.standard_exponential((min(size, DRAWS - done), self.samples)))
                for done in range(0, DRAWS, size)
            ])  # fmt: skip
            low, high = (np.quantile(drawn, (0.025, 0.975)) - drawn.mean() + self.value).tolist()
            self._interval = max(0.0, min(low, self.value)), min(1.0, max(high, self.value))
        return self._interval


class AveragePrecision50(MeanAveragePrecision):
    """The same at an intersection over union of 0.50 alone."""

    name: ClassVar[str] = "average_precision_50"
    thresholds: ClassVar[tuple[float, ...]] = (0.5,)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Batches (N, K, 6) as one, the shorter ones filled up with rows that hold no box."""
    most = max(part.shape[1] for part in parts)
    return np.concatenate([
        np.pad(part, ((0, 0), (0, most - part.shape[1]), (0, 0)), constant_values=-1.0) for part in parts
    ])  # fmt: skip
