"""Boxes as answers: from a detector's dense scores and boxes to what is found, when two models agree, and what is read.

A model gives a score for each label of each place, (N, A, C), and a box for each place, (N, A, 4): left, top, right and
bottom in pixels of the input. Which of them count is decided here, outside the graph, as `Suppression` says. What is
found is one array, (N, K, 6): label, score, left, top, right, bottom, the surest first; rows beyond have the label -1.
Everything is numpy in float64. This module knows no model and no picture; `average_precision.py` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..bundle.contract import Suppression
from ..command_line import EDGEKIT
from ..errors import BundleError, EngineError, InputError

CERTAIN = 0.5  # from this score on a box is shown to a person, and counts where two answers are compared
SAME_BOX = 0.5  # two boxes that overlap by this much or more are of the same thing
NOTHING = -1.0  # the label of a row that holds no box
COLUMNS = 6
_SLACK = 0.01  # an int8 sigmoid may miss 0 and 1 by a step of 1/256


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that was found."""

    label: str
    """What it is."""
    index: int
    """The label's place among the labels."""
    score: float
    """How sure that is, 0 to 1."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """One picture's answer."""

    found: tuple[Found, ...]
    """Everything that was found, the surest first."""

    @property
    def certain(self) -> tuple[Found, ...]:
        """What a person is shown: all with a score of 0.5 or more."""
        return tuple(one for one in self.found if one.score >= CERTAIN)

    def placed(
        self, area: tuple[float, float, float, float], size: tuple[int, int], picture: tuple[int, int]
    ) -> Detections:
        """The same in pixels of a picture, cut to it.

        Args:
            area: what of the picture the input shows, from `preprocess.image.seen_area`.
            size: width and height of the input.
            picture: width and height of the picture.
        """
        first, end = np.array(area[:2]), np.array(area[2:])
        step, most = (end - first) / size, np.array(picture)
        moved = []
        for one in self.found:
            corners = [first + np.array(corner) * step for corner in (one.box[:2], one.box[2:])]
            left, top, right, bottom = np.concatenate([corner.clip(0, most) for corner in corners]).tolist()
            moved.append(Found(label=one.label, index=one.index, score=one.score, box=(left, top, right, bottom)))
        return Detections(found=tuple(moved))


def detections(scores: npt.ArrayLike, boxes: npt.ArrayLike, suppression: Suppression) -> np.ndarray:
    """(N, A, C) or (N, A) scores and (N, A, 4) boxes to (N, K, 6) float64, what is found.

    K is `max_detections`, or A · C where that is less. Of equal scores the box at the earlier place counts first, at
    one place the earlier label. A picture with a NaN or an infinity among its scores, or in the box of a score that
    reaches the threshold, has nothing but NaN.

    Raises:
        BundleError: the shapes do not fit each other.
    """
    sure, edges = np.asarray(scores, np.float64), np.asarray(boxes, np.float64)
    sure = sure[..., np.newaxis] if sure.ndim == 2 else sure
    if sure.ndim != 3 or edges.shape != (*sure.shape[:2], 4):
        raise BundleError(
            f"a detector gives scores (N, A, C) and boxes (N, A, 4); found {sure.shape} and {edges.shape}. "
            "Pack the bundle again, and say what its outputs hold"
        )
    most = min(suppression.max_detections, sure.shape[1] * sure.shape[2])
    found = np.zeros((len(sure), most, COLUMNS))
    found[:, :, 0] = NOTHING
    for rows, one, places in zip(found, sure, edges, strict=True):
        place, label = np.nonzero(~(one < suppression.score_threshold))  # a NaN is among them
        taken = np.column_stack([label, one[place, label], places[place]])
        if not (np.isfinite(taken).all() and np.isfinite(one).all()):
            rows[:] = np.nan
            continue
        kept = _kept(taken, suppression)
        rows[: len(kept)] = taken[kept]
    return found


def _kept(rows: np.ndarray, suppression: Suppression) -> list[int]:
    """Which of (D, 6) rows, in the order of places and labels, are kept, the surest first."""
    left = np.argsort(-rows[:, 1], kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < suppression.max_detections:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        same = rows[left, 0] == rows[best, 0]
        left = left[~(same & (overlaps(rows[best, 2:], rows[left, 2:]) > suppression.iou_threshold))]
    return kept


def same_found(found: npt.ArrayLike) -> np.ndarray:
    """What is found in N pictures, (N, K, 6), of a model that finds the same in all: whatever it finds in any of them.

    Of boxes of one label that overlap by half or more the surest is kept, K in all, as in one picture.
    """
    rows = np.asarray(found, np.float64)
    every = rows[rows[..., 0] >= 0]
    kept = every[_kept(every, Suppression(score_threshold=0.0, iou_threshold=SAME_BOX, max_detections=rows.shape[1]))]
    one = np.zeros(rows.shape[1:])
    one[:, 0] = NOTHING
    one[: len(kept)] = kept
    return np.broadcast_to(one, rows.shape).copy()


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(4,) and (D, 4) to (D,): intersection over union of the boxes; 0 where they do not meet.

    A box whose right is not beyond its left, or whose bottom is not below its top, has no area.
    """
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = sides.clip(0).prod(axis=1)
    either = _area(box[np.newaxis]) + _area(others) - both
    return np.where(both > 0, both / np.where(either > 0, either, 1.0), 0.0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)


def found_differ(reference: npt.ArrayLike, answer: npt.ArrayLike) -> np.ndarray:
    """(N,) bool: in which pictures two models find something else, from what each found, (N, K, 6).

    They find the same where each box with a score of 0.5 or more has a partner among those of the other model: of its
    label, with an intersection over union of 0.5 or more, and no box twice. A NaN agrees with nothing.

    Raises:
        InputError: these are not two arrays (N, K, 6) of the same pictures, at least one.
    """
    wanted, got = np.asarray(reference, np.float64), np.asarray(answer, np.float64)
    if wanted.ndim != 3 or got.ndim != 3 or len(wanted) != len(got) or not len(wanted):
        raise InputError(
            f"agreement takes two arrays (N, K, {COLUMNS}) of what was found; found {wanted.shape} and {got.shape}. "
            "Give the answers to the same pictures"
        )
    return np.array([not _same(one, other) for one, other in zip(wanted, got, strict=True)])


def found_agreement(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Share of the pictures in which both find the same; definition and errors as `found_differ`."""
    return float(1 - found_differ(reference, answer).mean())


def _same(wanted: np.ndarray, got: np.ndarray) -> bool:
    if np.isnan(wanted).any() or np.isnan(got).any():
        return False
    first, second = (rows[(rows[:, 0] >= 0) & (rows[:, 1] >= CERTAIN)] for rows in (wanted, got))
    if len(first) != len(second):
        return False
    free = np.ones(len(second), bool)
    for row in first:
        near = np.where(free & (second[:, 0] == row[0]), overlaps(row[2:], second[:, 2:]), 0.0)
        best = int(near.argmax())
        if near[best] < SAME_BOX:
            return False
        free[best] = False
    return True


def read_found(found: npt.ArrayLike, labels: Sequence[str]) -> list[Detections]:
    """What is found, (N, K, 6), and C labels to N answers, in pixels of the input.

    Raises:
        BundleError: a label that is not among them, so manifest and model do not belong together.
        EngineError: a number that is none, or a score beyond 1 that rounding does not explain.
    """
    rows = np.asarray(found, np.float64)
    if np.isnan(rows).any():
        raise EngineError(
            f"the model answered NaN or infinity in its scores or boxes. Run `{EDGEKIT} verify` on the bundle"
        )
    if rows.size and rows[..., 0].max() >= len(labels):
        raise BundleError(
            f"the model gives scores for {int(rows[..., 0].max()) + 1} labels or more, but its manifest lists "
            f"{len(labels)}. Pack the bundle again with one label for each score"
        )
    if rows.size and rows[..., 1].max() > 1 + _SLACK:
        raise EngineError(
            f"the model answered a score of {rows[..., 1].max():.6g} where 0 to 1 was expected. "
            f"Export it with its sigmoid in the graph, and run `{EDGEKIT} verify` on the bundle"
        )
    return [Detections(found=tuple(_found(row, labels) for row in one if row[0] >= 0)) for one in rows]


def _found(row: np.ndarray, labels: Sequence[str]) -> Found:
    index, (left, top, right, bottom) = int(row[0]), row[2:].tolist()
    score = min(1.0, float(row[1]))
    return Found(label=labels[index], index=index, score=score, box=(left, top, right, bottom))
