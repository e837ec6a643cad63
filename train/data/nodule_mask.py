"""Which voxels belong to a nodule, by the book's rule: denser than lung, in a box grown from the middle. Chapter 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

THRESHOLD_HU = -700
_FIRST_RADIUS = 2


def nodule_box(hu: np.ndarray, center: Sequence[int]) -> tuple[slice, slice, slice]:
    """The box around voxel `center` of `hu` (D, H, W); along each axis it grows while both ends are above -700 HU.

    The radius is at least 2, and stays inside the scan. The book's code lets the lower end re-enter at the other side
    of the scan, and ends columns at the rows' radius; both are slips, and not repeated.
    """
    i, r, c = center
    lines = (hu[:, r, c], hu[i, :, c], hu[i, r, :])
    slices = []
    for line, middle in zip(lines, center, strict=True):
        radius, last = _FIRST_RADIUS, min(middle, len(line) - 1 - middle)
        while radius <= last and line[middle - radius] > THRESHOLD_HU and line[middle + radius] > THRESHOLD_HU:
            radius += 1
        radius = min(radius, last)
        slices.append(slice(middle - radius, middle + radius + 1))
    across, down, along = slices
    return across, down, along


def nodule_mask(hu: np.ndarray, centers: Sequence[Sequence[int]]) -> np.ndarray:
    """(D, H, W) bool: the voxels above -700 HU within the boxes around `centers`."""
    mask = np.zeros(hu.shape, bool)
    for center in centers:
        box = nodule_box(hu, center)
        mask[box] |= hu[box] > THRESHOLD_HU
    return mask
