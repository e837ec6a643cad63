"""The digits of `digits.py` described by hand, as people did before nets learned to: edges by direction, and holes.

Chapter 1, section 1.1, names both: the distribution of the directions of edges, and the number of enclosed holes, as in
a zero, an eight or a loopy two. Plain arithmetic on raw pixels: nothing here learns, or knows a model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.train.data import digits
from edgekit.train.dataset import Dataset, Split

# The direction in which an edge gets brighter, with the row axis pointing down; and the part of the picture.
DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
FEATURES = (
    *(f"edges {direction}, {quarter}" for quarter in QUARTERS for direction in DIRECTIONS),
    *("holes", "hole area", "hole height", "ink"),
)
LABELS = digits.LABELS
_ZOOM = 4  # at 8 x 8 pixels, thin strokes leak or fill the holes of eights and nines; enlarged, fewer do
_INK = 0.4  # of the brightest pixel: at 0.5 half of the zeros are open, at 0.2 a third of the eights have no holes


def digit_features() -> Dataset:
    """Inputs (N, 36) float32, one column for each of `FEATURES`; the same split of the same pictures as `digits()`."""
    pictures = digits.digits()
    train, calibration, validation = (
        Split(inputs=features(split.inputs), targets=split.targets)
        for split in (pictures.train, pictures.calibration, pictures.validation)
    )
    return replace(
        pictures,
        train=train,
        calibration=calibration,
        validation=validation,
        origin=f"{pictures.origin}; {len(FEATURES)} features computed from each",
    )


def features(pictures: np.ndarray) -> np.ndarray:
    """(N, H, W, 1) uint8, bright strokes on black, to (N, 36) float32: the columns are `FEATURES`."""
    gray = pictures[..., 0].astype(np.float64) / 255  # (N, H, W)
    return np.column_stack([edge_shares(gray), *holes(gray), gray.mean(axis=(1, 2))]).astype(np.float32)


def edge_shares(gray: np.ndarray) -> np.ndarray:
    """(N, H, W) in 0..1 to (N, 32): the share of all edges that has each direction, quarter by quarter.

    The shares of a picture add up to 1; a flat picture has none, all 0.
    """
    strength, direction = edges(gray)
    middle, centre = gray.shape[1] // 2, gray.shape[2] // 2
    quarters = [
        np.s_[:, rows, columns]
        for rows in (np.s_[:middle], np.s_[middle:])
        for columns in (np.s_[:centre], np.s_[centre:])
    ]
    sums = [
        np.where(direction[quarter] == k, strength[quarter], 0).sum(axis=(1, 2))
        for quarter in quarters
        for k in range(len(DIRECTIONS))
    ]
    totals = np.stack(sums, axis=1)
    return totals / np.maximum(totals.sum(axis=1, keepdims=True), 1e-9)


def edges(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W) to strength (N, H, W) and direction (N, H, W), an index of `DIRECTIONS`; outside is black.

    By the filters of I. Sobel and G. Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.
    """
    p = np.pad(gray, ((0, 0), (1, 1), (1, 1)))
    across, along = p[:, :, 2:] - p[:, :, :-2], p[:, 2:, :] - p[:, :-2, :]
    x = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]  # (N, H, W)
    y = along[:, :, :-2] + 2 * along[:, :, 1:-1] + along[:, :, 2:]
    return np.hypot(x, y), np.round(np.arctan2(y, x) / (np.pi / 4)).astype(int) % len(DIRECTIONS)


def holes(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, H, W) in 0..1 to three times (N,): how many holes, their share of the picture, their mean height in it.

    Height is 0 at the top and 1 at the bottom, 0.5 where there is no hole.
    """
    enclosed = hole_labels(gray)  # (N, H', W')
    picture, hole = np.nonzero(enclosed)[0], enclosed[enclosed > 0]
    count = np.bincount(picture[np.unique(hole, return_index=True)[1]], minlength=len(gray))
    area = (enclosed > 0).sum(axis=(1, 2))
    rows = np.linspace(0, 1, enclosed.shape[1])[:, np.newaxis]
    height = np.where(area > 0, ((enclosed > 0) * rows).sum(axis=(1, 2)) / np.maximum(area, 1), 0.5)
    return count, area / enclosed[0].size, height


def hole_labels(gray: np.ndarray) -> np.ndarray:
    """(N, H, W) in 0..1 to (N, 4 H, 4 W) int: a number of its own in the pixels of each hole, 0 elsewhere.

    A hole is paper that no path of paper, from pixel side to pixel side, connects to the outside. Ink is brighter than
    0.4 of the brightest pixel of the enlarged picture; a black picture is all paper.
    """
    from scipy import ndimage  # only this function needs it

    big = _enlarged(gray)
    paper = big <= _INK * big.max(axis=(1, 2), keepdims=True)
    paper = np.pad(paper, ((0, 0), (1, 1), (1, 1)), constant_values=True)  # the outside, which has the corner's number
    within = np.zeros((3, 3, 3), dtype=int)
    within[1] = ((0, 1, 0), (1, 1, 1), (0, 1, 0))  # neighbours in the same picture, never in the next one
    numbers = ndimage.label(paper, structure=within)[0]
    return np.where(numbers == numbers[:, :1, :1], 0, numbers)[:, 1:-1, 1:-1]


def _enlarged(gray: np.ndarray) -> np.ndarray:
    """(N, H, W) to (N, 4 H, 4 W), linear between the centres of pixels."""
    for axis in (1, 2):
        size = gray.shape[axis]
        place = np.clip((np.arange(_ZOOM * size) + 0.5) / _ZOOM - 0.5, 0, size - 1)
        low = np.minimum(place.astype(int), size - 2)
        share = (place - low).reshape([-1 if k == axis else 1 for k in range(3)])
        gray = np.take(gray, low, axis) * (1 - share) + np.take(gray, low + 1, axis) * share
    return gray
