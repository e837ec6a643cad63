"""A small file in the form of the LIDC-IDRI slices."""

import numpy as np

from edgekit.train.data.lidc_malignancy import FILE


def write_nodules(root, count=40):
    """A file in LIDC's form: bright squares on lung, the malignant ones larger; two nodules a series."""
    random = np.random.default_rng(0)
    raw = random.normal(150, 20, (count, 71, 71)).astype(np.int16)
    rating = np.arange(count) % 5 + 1
    for picture, value in zip(raw, rating, strict=True):
        half = 4 if value < 4 else 12
        picture[35 - half : 36 + half, 35 - half : 36 + half] += 900
    path = root / FILE
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        raw=raw,
        rescale_intercept=np.full(count, -1024, np.int16),
        series_uid=np.array([f"1.2.{i // 2}" for i in range(count)]),
        malignancy=rating.astype(np.int8),
        pixel_spacing_mm=np.full(count, 0.7, np.float32),
        equiv_diameter_mm=random.uniform(3, 30, count).astype(np.float32),
    )
    return path
