"""MNIST: 70,000 handwritten digits of 28 x 28 grey pixels, read from the original files by torchvision.

Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", 1998. Chapter 2's notebook trains
on the 60,000 of the training part; it never looks at the 10,000 of the test part, which are our validation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.train.data import data_root, ranked
from edgekit.train.data.download import Source, ensure
from edgekit.train.dataset import Dataset, Split

LABELS = tuple("0123456789")
CALIBRATION_PER_DIGIT, CALIBRATION_SEED = 50, 1
_SOURCE = Source(
    name="MNIST",
    title="MNIST",
    folder="MNIST/raw",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    # Of the unpacked files; torchvision knows only those of the archives, and does not check what it unpacked.
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)


def mnist() -> Dataset:
    """Inputs (N, 28, 28, 1) uint8, bright strokes on black: 60,000 train, 10,000 validation.

    Calibration is a fixed part of train, 50 of each digit.

    Raises:
        MissingData: the files are not there and could not be downloaded, or one is damaged.
    """
    from torchvision.datasets import MNIST

    root = data_root()
    ensure(_SOURCE, root, lambda: MNIST(str(root), download=True))
    train, validation = _read(root, train=True), _read(root, train=False)
    first = [ranked(np.flatnonzero(train.targets == c), CALIBRATION_SEED)[:CALIBRATION_PER_DIGIT] for c in range(10)]
    chosen = np.sort(np.concatenate(first))
    return Dataset(
        train=train,
        calibration=Split(inputs=train.inputs[chosen], targets=train.targets[chosen]),
        validation=validation,
        origin="MNIST, 60,000 training and 10,000 test pictures",
    )


def _read(root: Path, *, train: bool) -> Split:
    from torchvision.datasets import MNIST

    part = MNIST(str(root), train=train)
    return Split(inputs=part.data.numpy()[..., np.newaxis], targets=part.targets.numpy().astype(np.int64))
