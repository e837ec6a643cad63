"""Handwritten digits scattered over a dim canvas, with the boxes of their ink: a data set for a detector.

The digits are those of `digits.py`, split by split, so that no digit is in two of them; made here, nothing downloaded.
In training a digit comes again, elsewhere and in another size; in the other splits each is there once, so that pictures
have nothing in common.
"""

from __future__ import annotations

import numpy as np

from edgekit.train.data.digits import LABELS, digits
from edgekit.train.dataset import Dataset, Split

SIDE = 64  # of a picture, in pixels
MOST = 5  # digits in a picture, one at least
SIZES = 14, 26  # of a digit with its margins, in pixels
TRAINING_PICTURES = 2000
_DIM = 48  # the brightest that the canvas gets
_INK = 64  # from this brightness on a pixel belongs to the digit
_GAP = 1  # pixels between two digits
_TRIES = 100
_SEEDS = {"train": 1, "calibration": 2, "validation": 3}

__all__ = ["LABELS", "digit_scenes"]


def digit_scenes() -> Dataset:
    """Inputs (N, 64, 64, 1) uint8, targets (N, 5, 6) float32 as in `Split`: 2,000 to train on, and one for each three
    digits of the two other splits of `digits`.
    """
    source = digits()
    return Dataset(
        train=_scenes(source.train, "train", TRAINING_PICTURES),
        calibration=_scenes(source.calibration, "calibration"),
        validation=_scenes(source.validation, "validation"),
        origin=f"scattered over {SIDE} x {SIDE} pixels by edgekit: {source.origin}",
    )


def _scenes(split: Split, name: str, pictures: int | None = None) -> Split:
    """So many pictures of digits drawn anew each time; without a number, until each digit was there once."""
    draw = np.random.default_rng(_SEEDS[name])
    left = np.argsort(draw.random(len(split)), kind="stable").tolist()
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    while len(inputs) < pictures if pictures else left:
        count = 1 + int(draw.random() * MOST)
        if pictures:
            chosen = [int(draw.random() * len(split)) for _ in range(count)]
        else:
            chosen, left = left[:count], left[count:]
        pixels, boxes = _scene([(split.inputs[i, :, :, 0], int(split.targets[i])) for i in chosen], draw)
        inputs.append(pixels)
        targets.append(boxes)
    return Split(inputs=np.stack(inputs), targets=np.stack(targets))


def _scene(shown: list[tuple[np.ndarray, int]], draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture (64, 64, 1) uint8 and its boxes (5, 6); a digit for which no room is found is left out."""
    canvas = draw.random((SIDE, SIDE)) * _DIM
    boxes = np.zeros((MOST, 6), np.float32)
    boxes[:, 0] = -1
    taken = np.zeros((SIDE, SIDE), bool)
    placed = 0
    for pixels, label in shown:
        size = SIZES[0] + int(draw.random() * (SIZES[1] - SIZES[0] + 1))
        ink = enlarged(pixels, size) * (0.6 + 0.4 * draw.random())
        rows, columns = (np.flatnonzero((ink >= _INK).any(axis=axis)) for axis in (1, 0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = ink.shape
        for _ in range(_TRIES):
            top, left = (int(draw.random() * (SIDE - side + 1)) for side in ink.shape)
            around = slice(max(0, top - _GAP), top + height + _GAP), slice(max(0, left - _GAP), left + width + _GAP)
            if not taken[around].any():
                here = slice(top, top + height), slice(left, left + width)
                canvas[here] = np.maximum(canvas[here], ink)
                taken[here] = True
                boxes[placed] = label, 0, left, top, left + width, top + height
                placed += 1
                break
    return np.floor(canvas + 0.5).astype(np.uint8)[..., np.newaxis], boxes


def enlarged(pixels: np.ndarray, size: int) -> np.ndarray:
    """(n, n) uint8 to (size, size) float64, linearly between the middles of pixels: the same on every machine."""
    places = ((np.arange(size) + 0.5) * len(pixels) / size - 0.5).clip(0, len(pixels) - 1)
    first = np.minimum(places.astype(np.int64), len(pixels) - 2)
    share = (places - first)[:, np.newaxis]
    rows = pixels[first] * (1 - share) + pixels[first + 1] * share
    return rows[:, first] * (1 - share.T) + rows[:, first + 1] * share.T
