"""The `BookModel` record: all that belongs to one model of the book. The records are in `models/`, by their modules.

A record holds functions and settings, nothing that was built or loaded. `loop/fit.py` trains any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing, Suppression, TensorSpec
from edgekit.train.dataset import Dataset
from edgekit.train.extra_metrics import ExtraMetrics
from edgekit.train.preprocess import Clip, FeatureNormalize, PixelNormalize


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What training subtracts from its inputs and divides them by."""

    mean: tuple[float, ...]
    """One number a channel on the scale 0..1 for pictures; else one a feature."""
    std: tuple[float, ...]
    """As `mean`."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a model is trained. The same settings, data and device give the same weights."""

    epochs: int
    """How often training goes through the data."""
    batch_size: int
    """Samples in a step, of all processes together."""
    learning_rate: float
    """The full rate, which `schedule` scales."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """A name in `loop/epoch.py`'s OPTIMIZERS."""
    momentum: float = 0.0
    """For SGD only."""
    weight_decay: float = 0.0
    """The optimizer's own; it is not part of the loss."""
    l2_penalty: float = 0.0
    """Times the sum of squares of all parameters, biases too, added to the loss, as in chapter 8.

    For plain SGD a `weight_decay` of twice this takes the same steps, but leaves the penalty out of the reported loss.
    """
    seed: int = 123
    """Of everything random. 123 is the book's."""
    cpu_threads: int | None = None
    """None: all cores. A small net is fastest on one; on a busy machine, threads that wait for each other made it 20
    times slower."""
    channels_last: bool = False
    """Store pictures pixel by pixel, the layout in which convolutions compute fastest."""
    schedule: Literal["constant", "cosine", "one_cycle", "triangle"] = "constant"
    """How the learning rate changes over the whole run: a name in `loop/schedule.py`'s SCHEDULES."""
    patience: int | None = None
    """End the run after this many epochs in a row without a better validation metric. The weights of the last epoch are
    kept all the same."""
    flip: Literal["never", "random", "alternating"] = "never"
    """Mirror training pictures left to right: at random, or each picture in every other epoch."""
    translate: int = 0
    """Move training pictures by up to this many pixels each way."""
    label_smoothing: float = 0.0
    """For classification: how much of each target is spread over all classes."""
    nesterov: bool = False
    """Nesterov momentum, for SGD only."""
    norm_bias_rate: float = 1.0
    """Biases of batch norms learn at this many times the learning rate."""
    lookahead: int = 0
    """Every so many steps, pull the weights towards their running average; 0: never."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """What the model is trained in, unless the user asks for another precision."""
    compiled: bool = False
    """Hand each step to torch.compile. Changes speed only."""
    cuda_graph: bool = True
    """Record steps on a GPU once and replay them, so that a small net does not wait for Python. Changes speed only.

    Ignored where it cannot be done: on a CPU, with several processes, or for crops that are read from disk.
    """
    epoch_samples: int = 0
    """Crops of CTs: how many make an epoch; 0: each once. This and the next two are for `loop/crop_batches.py`."""
    balance: Literal["none", "nodules", "malignancy"] = "none"
    """In which pattern of kinds crops are drawn."""
    augment: Literal["none", "affine", "rigid", "book"] = "none"
    """How crops are turned, scaled, moved and noised: each by itself; "rigid" without scaling, where size matters;
    "book" with the slips of the book's code."""
    best_by: Literal["", "f1", "recall", "auc"] = ""
    """Keep the weights of the epoch that is best by this metric; "": those of the last epoch.

    No model of ours is kept by recall, which is best when everything is called positive.
    """

    def learns_like(self, other: FitConfig) -> bool:
        """Whether runs of both can be compared: they differ at most in settings that change speed only."""
        return what_is_learned(asdict(self)) == what_is_learned(asdict(other))


# These change how fast a run is, and the last bits of what it learns. A run can be resumed with others.
SPEED_ONLY = ("compiled", "cuda_graph", "cpu_threads")


def what_is_learned(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a `FitConfig`, as names and values, without those that change speed only."""
    return {name: value for name, value in settings.items() if name not in SPEED_ONLY}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a model has to reach on the validation split."""

    metric: str
    """The name of the metric."""
    value: float
    """Its value."""
    source: str
    """Who says so, for reports."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """The source's training loss, by epoch."""
    train_value: float | None = None
    """The source's metric on the training split."""
    differs: str = ""
    """For reports: where our measurement differs from the source's, and why; "" where it is the same."""


@dataclass(frozen=True, kw_only=True)
class BookModel:
    """One model of the book: how it is built, what it is trained on, and what it has to reach."""

    name: str
    """The name in commands, files and bundles."""
    chapter: int
    """0 for a model beyond the book."""
    summary: str
    """One line for lists."""
    task: str
    """A name in `edgekit.edge_runtime.tasks.registry.TASKS`."""
    build: Callable[[], nn.Module]
    """Makes the module with fresh weights. It returns logits; for a regression, numbers in the target's unit; for a
    detection logits (N, A, C) and boxes (N, A, 4), and in training the places (A, 2) besides."""
    data: Callable[[], Dataset]
    """Reads the data set."""
    normalization: Normalization | None
    """What the inputs are scaled by; None: not at all."""
    preprocessing: ImagePreprocessing | None
    """How a picture becomes raw input; None for a model that takes no pictures."""
    labels: tuple[str, ...]
    """The names of the outputs: classes, or numbers with their units."""
    fit: FitConfig
    """How it is trained."""
    target: Target
    """What it has to reach."""
    takes: TensorSpec | None = None
    """One row of raw input, for a model that takes no pictures: nobody has to read a data set to learn its shape."""
    clip: tuple[float, float] | None = None
    """The range that raw input is cut to first."""
    prepare: Callable[[nn.Module, Tensor], None] | None = None
    """Fills parts of a fresh module from the training inputs, as the model is fed them: (N, C, H, W)."""
    test_time_augmentation: Callable[[nn.Module], nn.Module] | None = None
    """Makes of a trained module one that averages over several views. It is measured too, after the last epoch."""
    crops: bool = False
    """Training rows are read from disk, batch by batch (`loop/crop_batches.py`)."""
    samples: Callable[[], Dataset] | None = None
    """A few real rows to verify artifacts with, where `data` is not on disk. Nothing is trained on them."""
    extra_metrics: Callable[[], ExtraMetrics] | None = None
    """Measured after each epoch, in addition to the task's metric."""
    suppression: Suppression | None = None
    """Which boxes of a detector count; None for any other task."""
    gated: str = ""
    """The metric that artifacts are held to, where that is not the target's: one of `optimize/judge.py`."""


def input_module(model: BookModel) -> nn.Module:
    """The layer between a split's raw `inputs` and the model: normalization, a cut to a range, or nothing."""
    scale = model.normalization
    if scale is None:
        return Clip(*model.clip) if model.clip else nn.Identity()
    return (PixelNormalize if model.preprocessing else FeatureNormalize)(scale.mean, scale.std)
