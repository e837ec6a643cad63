"""The runs of `run.py`: what each trains on and how, small for a CPU and larger for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.train.book_model import BookModel, FitConfig
from edgekit.train.checkpoint import read_tensors
from edgekit.train.data import luna_sets
from edgekit.train.dataset import Dataset
from edgekit.train.models import luna_classifier, luna_malignancy, luna_unet
from edgekit.train.models.luna_classifier import LunaClassifier
from edgekit.train.models.luna_malignancy import FineTuned

RUNS = ("unbalanced", "balanced", "augmented", "segmentation", "all-nodules", "head", "head-and-block")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is made and trained on."""

    scans: int
    """How many scans are made."""
    others: int
    """Places in each scan that are not nodules."""
    fewer: int
    """For chapters 11 and 12, only every `fewer`th training nodule is kept."""
    seeds: tuple[int, ...]
    """Each run is trained with each of them."""
    batch_size: int
    """Of all runs but fine-tuning."""
    classified: tuple[int, int]
    """Epochs, and crops in each, of the first three runs."""
    segmented: tuple[int, int]
    """The same for the U-Net."""
    all_nodules: tuple[int, int]
    """The same for chapter 14's classifier, which is trained on all nodules."""
    fine_tuned: tuple[int, int]
    """The same for fine-tuning it."""


SIZES = {
    # About one candidate in 90 is a nodule; on the GPU one in 400, as in LUNA16.
    "cpu": Size(
        scans=100,
        others=40,
        fewer=8,
        seeds=(123,),
        batch_size=16,
        classified=(6, 480),
        segmented=(20, 1200),  # after 3,200 crops the net still flags everything, as the loss weighs misses eight times
        all_nodules=(6, 480),
        fine_tuned=(5, 480),
    ),
    "cuda": Size(
        scans=400,
        others=80,
        fewer=16,
        seeds=(123, 124, 125),
        batch_size=32,
        classified=(8, 1600),
        segmented=(20, 3200),
        all_nodules=(8, 2400),
        fine_tuned=(8, 3200),
    ),
}


def few_nodules(store: Path, fewer: int) -> Dataset:
    """`luna_sets.nodules` with only every `fewer`th training nodule; validation keeps all of its nodules."""
    whole = luna_sets.nodules(store)
    nodules = np.flatnonzero(whole.train.targets == 1)
    rows = np.sort(np.concatenate([np.flatnonzero(whole.train.targets == 0), nodules[::fewer]]))
    train = replace(
        whole.train, inputs=whole.train.inputs[rows], targets=whole.train.targets[rows], kinds=None, groups=None
    )
    return replace(whole, train=train, fingerprint=f"{whole.fingerprint}, every {fewer}th nodule")


def lessons(place: Path, size: Size, seed: int, device: str = "cpu") -> dict[str, BookModel]:
    """The runs by name, ordered so that none needs a later one."""
    store = place / "store"
    # Adam and few crops, to show within minutes what the book's SGD shows in days.
    short = FitConfig(
        epochs=size.classified[0],
        epoch_samples=size.classified[1],
        batch_size=size.batch_size,
        learning_rate=1e-3,
        optimizer="adam",
        cpu_threads=1,
        seed=seed,
    )
    build = partial(_built, LunaClassifier, device)
    classifier = replace(luna_classifier.MODEL, build=build, data=partial(few_nodules, store, size.fewer))
    balanced = replace(short, balance="nodules")
    fine = replace(
        short,
        epochs=size.fine_tuned[0],
        epoch_samples=size.fine_tuned[1],
        batch_size=24,
        balance="malignancy",
        augment="affine",
    )
    malignancy = replace(luna_malignancy.MODEL, data=partial(luna_sets.malignancy, store), fit=fine)
    start = partial(_start_from, run_folder(place, seed, "all-nodules") / "weights.safetensors")
    return {
        "unbalanced": replace(classifier, fit=short),
        "balanced": replace(classifier, fit=balanced),
        "augmented": replace(classifier, fit=replace(balanced, augment="affine")),
        "segmentation": replace(
            luna_unet.MODEL,
            data=partial(luna_sets.segments, store),
            fit=replace(short, epochs=size.segmented[0], epoch_samples=size.segmented[1], augment="affine"),
        ),
        "all-nodules": replace(
            classifier,
            data=partial(luna_sets.nodules, store),
            fit=replace(balanced, augment="affine", epochs=size.all_nodules[0], epoch_samples=size.all_nodules[1]),
        ),
        "head": replace(
            malignancy,
            build=partial(_built, partial(FineTuned, 1), device),
            prepare=start,
            fit=replace(fine, learning_rate=3e-3),
        ),
        "head-and-block": replace(malignancy, build=partial(_built, partial(FineTuned, 2), device), prepare=start),
    }


def run_folder(place: Path, seed: int, name: str) -> Path:
    return place / "runs" / f"seed-{seed}" / name


def _built(build: Callable[[], nn.Module], device: str) -> nn.Module:
    # On a CPU, 3-D convolutions are twice as fast in this layout.
    return build().to(memory_format=torch.channels_last_3d) if device == "cpu" else build()


def _start_from(weights: Path, module: nn.Module, inputs: Tensor) -> None:
    """Fills all but the head from the run all-nodules; the inputs are not used."""
    if not weights.is_file():
        raise EdgekitError(f"{weights} is missing: fine-tuning begins with the run all-nodules. Train that first")
    state = {key: value for key, value in read_tensors(weights).items() if "head_linear" not in key}
    module.load_state_dict(state, strict=False)
