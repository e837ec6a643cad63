"""The thermometer of chapters 5 and 6 through the ordinary loop: a line, and nets of 8, 13 and 20 hidden units.

`thermometer_steps.py` has the same by hand, and the data.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Normalization, Target
from edgekit.train.dataset import Dataset, Split
from edgekit.train.models import thermometer_steps as thermometer


def readings(held_out: tuple[int, ...]) -> Dataset:
    """Inputs (N, 1) float32 in the unknown unit, targets (N, 1) float32 in °C: 9 train, 2 validation.

    All nine training readings are calibration too: there are no others.
    """
    unknown = np.array(thermometer.UNKNOWN, np.float32)[:, np.newaxis]
    celsius = np.array(thermometer.CELSIUS, np.float32)[:, np.newaxis]

    def split(indices: list[int]) -> Split:
        return Split(inputs=unknown[indices], targets=celsius[indices])

    train = split([i for i in range(len(celsius)) if i not in held_out])
    return Dataset(
        train=train,
        calibration=train,
        validation=split(list(held_out)),
        origin="eleven thermometer readings, from the book's chapter 5",
    )


def line() -> nn.Module:
    """A linear layer that starts where chapter 5 does, at w = 1 and b = 0: 2 parameters."""
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def hidden(units: int) -> nn.Module:
    """(N, 1) to (N, 1) by `units` hidden tanh units, named as in the book: 3 · units + 1 parameters (section 6.3)."""
    layers = OrderedDict(
        hidden_linear=nn.Linear(1, units), hidden_activation=nn.Tanh(), output_linear=nn.Linear(units, 1)
    )
    return nn.Sequential(layers)


def _model(
    name: str,
    chapter: int,
    summary: str,
    build: Callable[[], nn.Module],
    held_out: tuple[int, ...],
    fit: FitConfig,
    target: Target,
) -> BookModel:
    return BookModel(
        name=name,
        chapter=chapter,
        summary=summary,
        task="regression",
        build=build,
        data=partial(readings, held_out),
        normalization=Normalization(mean=(0.0,), std=(1 / thermometer.SCALE,)),
        preprocessing=None,
        takes=TensorSpec(name="reading", dtype="float32", shape=(1, 1)),
        labels=("temperature in °C",),
        fit=fit,
        target=target,
    )


_OTHER_DRAW = (
    "The first weights are another draw, and with nine readings the draw decides; so compare ranges, not digits."
)

LINE = _model(
    "thermometer",
    5,
    "degrees Celsius from a thermometer of unknown unit: a line through nine readings",
    line,
    thermometer.VALIDATION,
    FitConfig(epochs=3000, batch_size=9, learning_rate=1e-2, optimizer="sgd", cpu_threads=1),
    Target(
        metric="mean_absolute_error",
        value=1.858,
        source="Deep Learning with PyTorch, chapter 5: its w = 5.1964, b = -16.7512 on its two held-out readings",
        curve={
            1: 66.5811,
            2: 38.8626,
            3: 33.3475,
            500: 7.1454,
            1000: 3.5940,
            1500: 3.0942,
            2000: 3.0238,
            2500: 3.0139,
            3000: 3.0125,
        },
    ),
)
MLP = _model(
    "thermometer_mlp",
    6,
    "the same by a net of 8 hidden units, 25 parameters",
    partial(hidden, 8),
    thermometer.VALIDATION_CHAPTER_6,
    FitConfig(epochs=5000, batch_size=9, learning_rate=1e-3, optimizer="sgd", cpu_threads=1),
    Target(
        metric="mean_absolute_error",
        value=1.067,
        source="Deep Learning with PyTorch, chapter 6: outputs -1.9930 and 20.8729 for -4 and 21",
        curve={1: 182.9724, 1000: 6.6642, 2000: 5.1502, 3000: 2.9653, 4000: 2.2839, 5000: 2.1141},
        differs=_OTHER_DRAW,
    ),
)
MLP_13 = _model(
    "thermometer_mlp_13",
    6,
    "the same with 13 hidden units, 40 parameters, which the chapter shows and does not train",
    partial(hidden, 13),
    thermometer.VALIDATION_CHAPTER_6,
    FitConfig(epochs=5000, batch_size=9, learning_rate=1e-3, optimizer="sgd", cpu_threads=1),
    Target(metric="mean_absolute_error", value=1.067, source="the 8 units of chapter 6; it gives no figure for 13"),
)
MLP_20 = _model(
    "thermometer_mlp_20",
    6,
    "the same with 20 hidden units, 61 parameters, at a tenth of the learning rate",
    partial(hidden, 20),
    thermometer.VALIDATION_CHAPTER_6,
    FitConfig(epochs=5000, batch_size=9, learning_rate=1e-4, optimizer="sgd", cpu_threads=1),
    Target(
        metric="mean_absolute_error",
        value=5.653,
        source="Deep Learning with PyTorch, chapter 6, as the root of its validation loss 31.9612",
        curve={1: 202.7462, 5000: 17.9837},
        differs=_OTHER_DRAW,
    ),
)
