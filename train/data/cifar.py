"""CIFAR-10's airplanes and birds (the book calls them CIFAR-2), read from the original files by torchvision.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The book, chapters 7 and 8, uses
the 10,000 birds and airplanes of the training part to train and the 2,000 of the test part to validate.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

import numpy as np

from edge_runtime.errors import MissingData
from train.data import data_root, ranked
from train.dataset import Dataset, Split

CLASSES = {0: 0, 2: 1}  # CIFAR-10's airplane and bird, and what the book calls them
LABELS = ("airplane", "bird")
CALIBRATION_SAMPLES, CALIBRATION_SEED = 512, 1
_STALLED_S = 20  # torchvision's download waits for ever on a silent network


def birds_and_airplanes() -> Dataset:
    """Inputs (N, 32, 32, 3) uint8, targets airplane 0 and bird 1: 10,000 train, 2,000 validation.

    Calibration is a fixed part of train, 256 of each class: the book validates on all that is not train.

    Raises:
        MissingData: the files are not there and could not be downloaded, or one is damaged.
    """
    root = data_root()
    train, validation = (_two_classes(*_read(root, train=train)) for train in (True, False))
    half = CALIBRATION_SAMPLES // 2
    chosen = np.sort(
        np.concatenate([ranked(np.flatnonzero(train.targets == c), CALIBRATION_SEED)[:half] for c in (0, 1)])
    )
    return Dataset(
        train=train,
        calibration=Split(inputs=train.inputs[chosen], targets=train.targets[chosen]),
        validation=validation,
        origin="CIFAR-10, airplanes and birds: 10,000 of the training batches, 2,000 of the test batch",
    )


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
        _fetch(root)
        part = CIFAR10(str(root), train=train)
    return np.asarray(part.data, dtype=np.uint8), np.asarray(part.targets, dtype=np.int64)


def _fetch(root: Path) -> None:
    """Downloads CIFAR-10 into `root`; a damaged file is reported, not overwritten: it may be the user's own."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    folder = root / CIFAR10.base_folder
    files = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    wrong = [folder / name for name, md5 in files if not check_integrity(folder / name, md5)]
    command = (
        f"EDGEKIT_DATA={root} python -c \"import torchvision; torchvision.datasets.CIFAR10('{root}', download=True)\""
    )
    damaged = [path for path in wrong if path.is_file()]
    if damaged:
        raise MissingData(
            f"{damaged[0]} is damaged: its MD5 is not CIFAR-10's. Delete it and fetch the data set again:\n  {command}"
        )
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALLED_S)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output may be somebody's JSON
            CIFAR10(str(root), download=True)
    except (
        Exception
    ) as error:  # URLError, RuntimeError, OSError, tarfile's own: each means that the files are not there
        raise MissingData(
            f"CIFAR-10 is not on disk: looked for {wrong[0].name} in {folder}, and the download from {CIFAR10.url} "
            f"failed ({error}). With a network, run:\n  {command}\nElsewhere on this machine? Set EDGEKIT_DATA to the "
            f"folder that holds {CIFAR10.base_folder}/"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
