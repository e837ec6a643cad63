"""The `BookModel` record: all that belongs to one model of the book. The records lie in `models/`, by their modules.

A record holds functions and settings, nothing that was built or loaded; `fit.py` trains any of them by the one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from edge_runtime.manifest import ImagePreprocessing
from train.dataset import Dataset
from train.preprocess import FeatureNormalize, PixelNormalize


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What training subtracts and divides by: a number a channel on the scale 0..1 for pictures, else one a feature."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a model is trained; the same values, data and device give the same weights. `momentum` is SGD's alone.

    `cpu_threads` is among the settings because sums, and so the weights, depend on it in their last bits; None takes
    all cores. A small net is best off with one: threads that wait for each other cost 20 times that on a busy machine.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    seed: int = 123  # the book's
    cpu_threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to reach on the validation split, who says so, and the training loss {epoch: loss} it came with."""

    metric: str
    value: float
    source: str
    curve: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BookModel:
    """One model of the book: how it is built, on what it is trained, what it has to reach.

    `build` makes the module with fresh weights; it returns logits. `normalization` and `preprocessing` are None for a
    model that takes no pictures. `task` is a name in `edge_runtime.tasks.TASKS`.
    """

    name: str
    chapter: int
    summary: str
    task: str
    build: Callable[[], nn.Module]
    data: Callable[[], Dataset]
    normalization: Normalization | None
    preprocessing: ImagePreprocessing | None
    labels: tuple[str, ...]
    fit: FitConfig
    target: Target


def input_module(model: BookModel) -> nn.Module:
    """What stands between a split's raw `inputs` and the model: normalisation of pixels or features, or nothing."""
    scale = model.normalization
    if scale is None:
        return nn.Identity()
    return (PixelNormalize if model.preprocessing else FeatureNormalize)(scale.mean, scale.std)
