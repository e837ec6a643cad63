"""CIFAR-10, and its airplanes and birds alone (CIFAR-2 in the book), read from the original files by torchvision.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The book, chapters 7 and 8, uses
the 10,000 birds and airplanes of the training part to train and the 2,000 of the test part to validate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.train.data import data_root, ranked
from edgekit.train.data.download import Source, ensure
from edgekit.train.dataset import Dataset, Split

CLASSES = {0: 0, 2: 1}  # CIFAR-10's airplane and bird, and what the book calls them
LABELS = ("airplane", "bird")
TEN_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CALIBRATION_SAMPLES, CALIBRATION_SEED = 512, 1


def birds_and_airplanes() -> Dataset:
    """Inputs (N, 32, 32, 3) uint8, targets airplane 0 and bird 1: 10,000 train, 2,000 validation.

    Calibration is a fixed part of train, 256 of each class, because the book validates on everything else.

    Raises:
        MissingData: the files are not there and could not be downloaded, or one is damaged.
    """
    root = data_root()
    train, validation = (_two_classes(*_read(root, train=train)) for train in (True, False))
    return Dataset(
        train=train,
        calibration=_calibration(train, classes=2),
        validation=validation,
        origin="CIFAR-10, airplanes and birds: 10,000 of the training batches, 2,000 of the test batch",
    )


def ten_classes() -> Dataset:
    """Inputs (N, 32, 32, 3) uint8, targets 0 to 9 as `TEN_LABELS` names them: 50,000 train, 10,000 validation.

    Calibration is a fixed part of train, 51 of each class. Raises like `birds_and_airplanes`.
    """
    root = data_root()
    train, validation = (
        Split(inputs=images, targets=labels) for images, labels in (_read(root, train=True), _read(root, train=False))
    )
    return Dataset(
        train=train,
        calibration=_calibration(train, classes=10),
        validation=validation,
        origin="CIFAR-10: its 50,000 training pictures, and its 10,000 test pictures to validate",
    )


def _calibration(train: Split, *, classes: int) -> Split:
    each = CALIBRATION_SAMPLES // classes
    chosen = np.sort(
        np.concatenate([ranked(np.flatnonzero(train.targets == c), CALIBRATION_SEED)[:each] for c in range(classes)])
    )
    return Split(inputs=train.inputs[chosen], targets=train.targets[chosen])


def _two_classes(images: np.ndarray, labels: np.ndarray) -> Split:
    kept = np.isin(labels, list(CLASSES))
    targets = np.array([CLASSES[int(label)] for label in labels[kept]], dtype=np.int64)
    return Split(inputs=np.ascontiguousarray(images[kept]), targets=targets)


def _read(root: Path, *, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """All pictures (N, 32, 32, 3) uint8 and labels (N,) of one part; torchvision checks each file's MD5 first."""
    from torchvision.datasets import CIFAR10

    try:
        part = CIFAR10(str(root), train=train)
    except RuntimeError:
        ensure(_source(), root, lambda: CIFAR10(str(root), download=True))
        part = CIFAR10(str(root), train=train)
    return np.asarray(part.data, dtype=np.uint8), np.asarray(part.targets, dtype=np.int64)


def _source() -> Source:
    from torchvision.datasets import CIFAR10

    return Source(
        name="CIFAR10",
        title="CIFAR-10",
        folder=CIFAR10.base_folder,
        url=CIFAR10.url,
        md5=dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]),
    )
