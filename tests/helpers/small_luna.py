"""A store of three small synthetic scans, and the classifier on it: what the tests of chapters 12 to 14 train."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from edgekit.train.data import luna_sets
from edgekit.train.data.luna_store import prepare
from edgekit.train.data.synthetic_ct import write_scans
from edgekit.train.loop.fit import fit
from edgekit.train.models import luna_classifier
from edgekit.train.models.luna_classifier import LunaClassifier

CONFIG = replace(luna_classifier.MODEL.fit, epochs=2, batch_size=6, epoch_samples=12, cpu_threads=1)
ONE_EPOCH = replace(CONFIG, epochs=1, batch_size=4, epoch_samples=8)


def make_store(folder: Path) -> Path:
    """Benign and malignant nodules to train on, and both to validate."""
    write_scans(folder / "scans", 3, seed=5, slices=48, side=112, others=6)
    prepare(folder / "scans", folder / "store")
    return folder / "store"


def tiny() -> nn.Module:
    """A net that a CPU trains in no time."""
    return nn.Sequential(nn.AvgPool3d(8), nn.BatchNorm3d(1), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))


def steady() -> nn.Module:
    """The classifier with few channels and the book's batch norm, kept as it is: shares of a batch are then alike."""
    module = LunaClassifier(((1, 1), (1, 2), (2, 2), (2, 2)))
    with torch.no_grad():
        module.tail_batchnorm.running_mean.fill_(-600.336)
        module.tail_batchnorm.running_var.fill_(153_798.9)
    module.tail_batchnorm.train = lambda mode=True: nn.Module.train(module.tail_batchnorm, False)
    return module


def train(folder: Path, store: Path, *, build=tiny, config=CONFIG, **options):
    model = replace(luna_classifier.MODEL, build=build, data=partial(luna_sets.nodules, store))
    return fit(model, folder, config=config, device="cpu", **options)
