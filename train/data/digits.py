"""UCI handwritten digits: 1,797 grey pictures of 8 x 8 that ship with scikit-learn, so nothing is downloaded.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
(its test half, by 13 writers; scikit-learn's copy does not say who wrote what, so each writer may be in every split).
"""

from __future__ import annotations

import numpy as np

from edgekit.train.data import ranked
from edgekit.train.dataset import Dataset, Split

SPLIT_SEED = 1
# Of 719 pictures two changed answers still show that less than 1 % is lost; of a fifth of them, 359, none could change.
VALIDATION_SHARE, CALIBRATION_SHARE = 0.4, 0.1
LABELS = tuple("0123456789")


def digits() -> Dataset:
    """Inputs (N, 8, 8, 1) uint8, bright strokes on black: 899 train, 179 calibration, 719 validation.

    Stratified: of each class's n pictures, ranked by a hash of their index, the first round(0.4 n) are validation, the
    next round(0.1 n) calibration, the rest train. scikit-learn's 0..16 become 0..255 by round(v * 255 / 16).
    """
    from sklearn.datasets import load_digits  # a second to import, and only this function needs it

    bunch = load_digits()
    pixels = np.floor(bunch.images * (255 / 16) + 0.5).astype(np.uint8)[..., np.newaxis]  # (N, 8, 8, 1)
    targets = bunch.target.astype(np.int64)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in range(10):
        order = ranked(np.flatnonzero(targets == label), SPLIT_SEED)
        validation = round(VALIDATION_SHARE * len(order))
        calibration = validation + round(CALIBRATION_SHARE * len(order))
        for part, chosen in zip(parts, np.split(order, [validation, calibration]), strict=True):
            part.extend(int(i) for i in chosen)
    validation_split, calibration_split, train_split = (
        Split(inputs=pixels[np.sort(part)], targets=targets[np.sort(part)]) for part in parts
    )
    return Dataset(
        train=train_split,
        calibration=calibration_split,
        validation=validation_split,
        origin="UCI Optical Recognition of Handwritten Digits, 1,797 pictures, as shipped with scikit-learn",
    )
