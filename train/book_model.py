"""The `BookModel` record: all that belongs to one model of the book. The records lie in `models/`, by their modules.

A record holds functions and settings, nothing that was built or loaded; `fit.py` trains any of them by the one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing, TensorSpec
from edgekit.train.dataset import Dataset
from edgekit.train.figures import Figures
from edgekit.train.preprocess import Clip, FeatureNormalize, PixelNormalize


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What training subtracts and divides by: a number a channel on the scale 0..1 for pictures, else one a feature."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a model is trained; the same values, data and device give the same weights. `momentum` is SGD's alone.

    `l2_penalty` times the sum of squares of all parameters, biases too, is added to the loss (chapter 8); for plain SGD
    a `weight_decay` of twice that gives the same steps, but leaves the penalty out of the loss that is reported.

    `cpu_threads` None takes all cores. A small net is best off with one: threads that wait for each other cost 20 times
    that on a busy machine. `channels_last` is the layout of pictures in memory that convolutions compute fastest in.

    `schedule` scales the learning rate over the whole run, `patience` ends it early: after so many epochs in a row
    without a better validation metric than before; the weights kept are always those of the last epoch. `flip` mirrors
    training pictures left to right at random, or each in every other epoch; `translate` moves them by up to so many
    pixels. Biases of batch norms learn at `norm_bias_rate` times the learning rate, and every `lookahead` steps (0:
    never) the weights are drawn towards their running average.

    `precision` is what the model is trained in where the user names none. `compiled` hands each step to torch.compile;
    `cuda_graph` records steps once and replays them, which frees a small net on a GPU from waiting for Python. It says
    nothing where that cannot be done: on a CPU, with several processes, for crops that are read from disk. These two
    and `cpu_threads` change how fast a run is, and of what it learns the last bits: they are no part of
    `what_is_learned`, and a run can go on with others.

    The last four are for crops of CTs (`crop_batches.py`): how many samples make an epoch, 0 for each once; in what
    pattern of kinds; turned, scaled, moved and noised each on its own ("rigid": not scaled, where size says something),
    or with the slips of the book's code. `best_by`
    keeps the weights of the epoch that is best by this figure, instead of the last one's; recall alone is best where
    everything is called positive, so no model of ours is kept by it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    l2_penalty: float = 0.0
    seed: int = 123  # the book's
    cpu_threads: int | None = None
    channels_last: bool = False
    schedule: Literal["constant", "cosine", "one_cycle", "triangle"] = "constant"
    patience: int | None = None
    flip: Literal["never", "random", "alternating"] = "never"
    translate: int = 0
    label_smoothing: float = 0.0
    nesterov: bool = False
    norm_bias_rate: float = 1.0
    lookahead: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compiled: bool = False
    cuda_graph: bool = True
    epoch_samples: int = 0
    balance: Literal["none", "nodules", "malignancy"] = "none"
    augment: Literal["none", "affine", "rigid", "book"] = "none"
    best_by: Literal["", "f1", "recall", "auc"] = ""

    def learns_like(self, other: FitConfig) -> bool:
        """Whether runs of both can be compared: all settings are the same but those of speed alone."""
        return what_is_learned(asdict(self)) == what_is_learned(asdict(other))


SPEED_ALONE = ("compiled", "cuda_graph", "cpu_threads")


def what_is_learned(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a `FitConfig`, as names and values, without those that change nothing but speed."""
    return {name: value for name, value in settings.items() if name not in SPEED_ALONE}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to reach on the validation split, who says so, and the training loss {epoch: loss} it came with.

    `train_value` is the source's figure on the training split. `differs` says for a report where our measurement is
    not done as the source did it, and why; "" where it is the same.
    """

    metric: str
    value: float
    source: str
    curve: Mapping[int, float] = field(default_factory=dict)
    train_value: float | None = None
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class BookModel:
    """One model of the book: how it is built, on what it is trained, what it has to reach.

    `build` makes the module with fresh weights; it returns logits, for a regression numbers in the target's unit.
    `preprocessing` is None for a model that takes no pictures; `takes` then says what one row of raw input is, so that
    nobody reads a data set to learn its shape, and `clip` the range that its numbers are cut to first. `labels` name
    the outputs: classes, or numbers with their units. `task` is a name in `edgekit.edge_runtime.tasks.registry.TASKS`.
    `chapter` is 0 for a model beyond the book.

    `prepare` gives a fresh module what it takes from the training inputs, as the model is fed them: (N, C, H, W).
    `views` makes of a trained module one that averages over several views; it is measured too, after the last epoch.
    `crops` has training rows read from where they lie, batch by batch (`crop_batches.py`); `figures` are measured after
    each epoch besides the task's metric. `samples` gives a few real rows that prove artifacts where `data` is not
    there; nothing is trained on them.
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
    takes: TensorSpec | None = None
    clip: tuple[float, float] | None = None
    prepare: Callable[[nn.Module, Tensor], None] | None = None
    views: Callable[[nn.Module], nn.Module] | None = None
    crops: bool = False
    samples: Callable[[], Dataset] | None = None
    figures: Callable[[], Figures] | None = None


def input_module(model: BookModel) -> nn.Module:
    """What stands between a split's raw `inputs` and the model: normalisation, a cut to a range, or nothing."""
    scale = model.normalization
    if scale is None:
        return Clip(*model.clip) if model.clip else nn.Identity()
    return (PixelNormalize if model.preprocessing else FeatureNormalize)(scale.mean, scale.std)
