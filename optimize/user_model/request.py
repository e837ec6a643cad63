"""`Request`: all that a user can ask of `optimize`, once. The command, Python and a file fill the same record.

The first sentence under a field is the help text of its option (`tests/optimize/test_request.py` compares them). A
request carries nothing out, and knows no exporter and no recipe.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekit.edge_runtime.decode import DecodeError, decode, parse_json
from edgekit.edge_runtime.errors import UsageError, unknown
from edgekit.edge_runtime.files import read_plain

from ..deploy import Predict
from .array_samples import Samples

RESIZES, MODES, INTERPOLATIONS = ("stretch", "resize_crop"), ("RGB", "L"), ("bilinear", "bicubic", "nearest")
DTYPES = ("uint8", "int8", "int32", "int64", "float16", "float32")
_SHAPE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<sides>\d+(?:,\d+)*)(?::(?P<dtype>\w+))?")

Array = np.ndarray | torch.Tensor
# A file or folder, or arrays in memory (N, …): one, several in the order of forward's arguments, or by their names.
Given = str | Path | Array | Sequence[Array] | Mapping[str, Array] | Samples


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One sample shape: sides with the batch of 1 first; `name` and `dtype` are "" where they were not given."""

    sides: tuple[int, ...]
    name: str = ""
    dtype: str = ""

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Of "1,3,224,224", "tokens=1,16:int64" and the like; raises UsageError."""
        found = _SHAPE.fullmatch(text.replace(" ", ""))
        if found is None:
            raise UsageError(f"--sample-shape {text!r} is none. Write it like 1,3,224,224 or tokens=1,16:int64")
        sides = tuple(map(int, found["sides"].split(",")))
        if sides[0] != 1 or min(sides) < 1:
            raise UsageError(f"--sample-shape {text} should begin with 1, one sample, and hold no 0. Like 1,3,224,224")
        if found["dtype"] and found["dtype"] not in DTYPES:
            raise UsageError(f"--sample-shape {text}: unknown dtype {found['dtype']!r}. Known: {', '.join(DTYPES)}")
        return cls(sides=sides, name=found["name"] or "", dtype=found["dtype"] or "")

    def __str__(self) -> str:
        """As `parse` reads it."""
        sides = ",".join(map(str, self.sides))
        return (f"{self.name}=" if self.name else "") + sides + (f":{self.dtype}" if self.dtype else "")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to optimize, on which samples, in which ways, and where it goes; "", () and None leave it to edgekit.

    Paths may be given as text, and one sample shape as whole numbers; the record keeps them in one form, so that two
    requests for the same are equal.

    Raises:
        UsageError: a sample shape, `resize`, `mode` or `interpolation` that is none.
    """

    model: str | nn.Module
    """A built-in model, torchvision:NAME, timm:NAME, or package.module:callable or file.py:callable that returns an
    nn.Module.

    From Python also an nn.Module with its weights, which is copied and left as it is.
    """

    weights: str | Path | None = None
    """A .safetensors file or a state dict. Default: the trained run's, or the source's own.

    Also torchvision's weights by name, like ResNet18_Weights.IMAGENET1K_V1; its transforms are taken over then."""

    recipes: Sequence[str] = ()
    """Only this recipe. Repeat for more."""

    exporters: Sequence[str] = ()
    """Only this exporter. Repeat for more. aot runs only when it is named here."""

    target: str | None = None
    """Only what this runs: android, ios, linux-arm64, linux-x86, server or web."""

    out: str | Path = Path("bundles")
    """Where the bundles go."""

    runs: str | Path = Path("runs")
    """Where training runs and measurements are kept.

    A registry's model has its weights there. The command writes results.json and report.html there; what they measured
    and nothing has changed is not measured again."""

    max_batch: int = 1
    """Make bundles with a free batch, from 1 to this many samples in one run."""

    max_drop: float = 0.01
    """How much of the float accuracy may be lost: 0.01 is 1 %."""

    allow_unverified: bool = False
    """Keep a bundle that misses its gate, stamped UNVERIFIED."""

    strict: bool = False
    """Fail unless every bundle is verified: one that is undecided, or of unknown accuracy, is not enough."""

    objective: str = ""
    """What the best bundle should be best in: latency, size or memory. Default: size and speed."""

    time_budget_s: float | None = None
    """Such as 10m or 90s. The most promising combinations come first; those left over are not tried.

    From Python and in a file: seconds.
    """

    again: bool = False
    """Make everything again, even bundles that have not changed since they were packed."""

    calibration: Given | None = None
    """Real samples: a folder of pictures, or .npy, .npz, .h5.

    From Python also arrays, axis 0 the samples: (N, …) for a model of one input, several in the order of `forward`'s
    arguments, or a dict by their names; float32, float16, uint8, int8, int32 or int64, as `forward` takes them; raw
    pixels (N, H, W, 1 or 3) uint8 where the picture is described. None: only recipes that need no samples are carried
    out, and nothing is proven.
    """

    validation: Given | None = None
    """Samples with true answers: one folder per class, a CSV of file,label, boxes in COCO's format (.json), or arrays
    with `targets`.

    From Python in the same forms as `calibration`. Samples that are in both are left out of the calibration.
    """

    unlabelled: Given | None = None
    """Further samples without true answers: they show how many answers flip, so fewer labels decide.

    From Python in the same forms as `calibration`. Not those it was calibrated on.
    """

    targets: Array | None = None
    """The true answers to `validation`, where that is arrays: (N,) int64 class indices, (N, F) float32 for a
    regression, or (N, M, 6) for boxes. From Python alone."""

    evaluate: Callable[[Predict], float | np.ndarray] | None = None
    """Instead of `targets`: takes a function from arrays to answers, both dicts by name of arrays (N, …), calls it as
    it likes and returns one score for each sample, (N,), or one number; higher is better. From Python alone.

    It is called for the float model and for each bundle in its engine. Answers are named as the bundle names them:
    "probabilities", "prediction", the keys of a dict that `forward` gives, else "output".
    """

    images: str | Path | None = None
    """The folder of the pictures that a COCO file names. Default: where the file is."""

    labels: Sequence[str] = ()
    """One label per line, in the order of the outputs.

    The command takes a file; from Python and in a file of a request: the labels themselves.
    """

    task: str = ""
    """classification, multi_label, regression, segmentation, detection or none. Default: what the outputs and the
    true answers suggest.

    classification puts a softmax behind logits, multi_label and segmentation a sigmoid. The true answers are class
    indices (N,), or (N, …) where the model gives classes for each token (N, T, C) or pixel (N, C, H, W); 0 and 1 (N, C)
    for multi_label and (N, 1, H, W) for segmentation; numbers (N, F) for a regression. Indices below 0 are not counted.
    detection takes scores (N, A, C), with a sigmoid behind them unless they lie from 0 to 1, and boxes (N, A, 4). The
    truth is a COCO file, or (N, M, 6): label, 1 for a crowd, left, top, right, bottom; a label of -1 in unused rows.
    """

    metric: str = ""
    """What bundles are held to instead of the task's own metric: iou for masks; average_precision_50 for boxes; f1,
    recall, precision or auc."""

    score_threshold: float | None = None
    """The lowest score of a box that counts, 0 to 1. Default: 0.05."""

    iou_threshold: float | None = None
    """Drop a box that overlaps a surer one of its label by more than this, 0 to 1. Default: 0.5."""

    max_detections: int | None = None
    """Keep at most this many boxes of a picture. Default: 100."""

    expect_accuracy: float | None = None
    """What the float model should reach, such as 0.89: stop at once where it does not."""

    name: str = ""
    """The name of the model in its bundles."""

    golden: Given | None = None
    """The samples that may travel with every bundle: a folder of pictures, or .npy, .npz, .h5. Default:
    some of --validation.

    From Python in the same forms as `calibration`.
    """

    golden_licence: str = ""
    """The licence of the samples that travel, for the manifest."""

    weights_licence: str = ""
    """The licence of the weights, for the manifest."""

    sample_shape: Sequence[str] | Sequence[int] = ()
    """Such as 1,3,224,224 or tokens=1,16:int64. Repeat for each input."""

    calibration_samples: int = 256
    """Calibrate on at most this many samples."""

    random_samples: bool = False
    """Calibrate on noise. The bundles are stamped UNVERIFIED."""

    random_weights: bool = False
    """Keep the random initial weights, to try everything offline."""

    resize: str | None = None
    """How to bring a picture to its size: stretch or resize_crop."""

    resize_to: int | None = None
    """For resize_crop: scale the shorter side to this, then cut out the centre."""

    mean: Sequence[float] | None = None
    """On a scale from 0 to 1, such as 0.485,0.456,0.406."""

    std: Sequence[float] | None = None
    """Such as 0.229,0.224,0.225."""

    no_normalise: bool = False
    """The model takes pixel / 255: say so where neither --mean nor the source says how pixels are normalized."""

    mode: str | None = None
    """RGB or L (grey)."""

    interpolation: str | None = None
    """bilinear, bicubic or nearest."""

    quick: bool = False
    """Measure briefly. The figures are rough and not valid to quote."""

    def __post_init__(self) -> None:
        for name, known in (("resize", RESIZES), ("mode", MODES), ("interpolation", INTERPOLATIONS)):
            if getattr(self, name) not in (None, *known):
                raise unknown(name, getattr(self, name), known)
        shapes = self.sample_shape
        if isinstance(shapes, str) or (shapes and all(isinstance(side, int) for side in shapes)):
            shapes = [shapes if isinstance(shapes, str) else ",".join(map(str, shapes))]
        kept: dict[str, Any] = {"sample_shape": tuple(str(Shape.parse(str(shape))) for shape in shapes)}
        kept |= {name: tuple(getattr(self, name)) for name in ("recipes", "exporters", "labels")}
        kept |= {name: tuple(map(float, value)) for name in ("mean", "std") if (value := getattr(self, name))}
        kept |= {name: Path(value) for name in _PATHS if isinstance(value := getattr(self, name), str)}
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(Shape.parse(str(text)) for text in self.sample_shape)

    @property
    def describes_pictures(self) -> bool:
        """Whether it says how pictures become the model's input."""
        return self.no_normalise or any(getattr(self, name) is not None for name in _OF_PICTURES)

    @property
    def of_user_model(self) -> tuple[str, ...]:
        """The fields that were set and that a registry's model, which has its own data, does not take."""
        return tuple(name for name in self._set() if name in USER_MODEL)

    def _set(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        values = [(field.name, getattr(self, field.name), field.default) for field in fields(self)]
        return {
            name: value for name, value, usual in values if (value is not None if usual is None else value != usual)
        }

    def to_plain(self) -> dict[str, Any]:
        """The fields that differ from their defaults, ready for JSON; {} where some are objects in memory."""
        found = self._set()
        named = (found.get(name, "") for name in ("model", "calibration", "validation", "unlabelled", "golden"))
        if not all(isinstance(value, (str, Path)) for value in named) or not found.keys().isdisjoint(_FROM_PYTHON):
            return {}
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in found.items()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


_PATHS = ("weights", "out", "runs", "calibration", "validation", "images", "unlabelled", "golden")
SUPPRESSION = ("score_threshold", "iou_threshold", "max_detections")
_OF_PICTURES = ("resize", "resize_to", "mean", "std", "mode", "interpolation")
_FROM_PYTHON = ("targets", "evaluate")
# What a user's own model needs and a model of the registry, which has data and settings, does not take.
USER_MODEL = (
    *("calibration", "validation", "unlabelled", "golden", *_FROM_PYTHON),
    *("labels", "task", "metric", "name", "sample_shape", "calibration_samples", "random_samples", "random_weights"),
    *("images", "no_normalise", *SUPPRESSION, *_OF_PICTURES),
)


def read_request(path: str | Path) -> dict[str, Any]:
    """The fields of the request in a file: a JSON object of them, or the results.json of an earlier run.

    Raises:
        UsageError: the file cannot be read, keeps no request, or a field is unknown or of another type.
    """
    try:
        plain = parse_json(read_plain(Path(path)))
    except OSError as error:
        said = f"cannot read {path}: {error.strerror}. Give a results.json or a JSON file of options"
        raise UsageError(said) from None
    except DecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    if isinstance(plain, dict) and "rows" in plain:  # a measurement
        plain = plain.get("request")
        if not plain:
            raise UsageError(
                f"{path} keeps no request: an older edgekit measured it, or modules and arrays in memory were asked "
                "for. Give the options themselves"
            )
    if not isinstance(plain, dict):
        raise UsageError(f"{path} should hold an object of options, found {type(plain).__name__}")
    known = _types_in_files()
    for name in plain:
        if name not in known:
            raise UsageError(f"{path}: {unknown('option', name, known)}")
    try:
        return {name: decode(known[name], value, name) for name, value in plain.items()}
    except DecodeError as error:
        raise UsageError(f"{path}: {error}") from None


def _types_in_files() -> dict[str, Any]:
    """What JSON holds of each field: a path is a text, a sequence a list."""
    hints = typing.get_type_hints(Request)
    texts = dict.fromkeys(("recipes", "exporters", "labels", "sample_shape"), tuple[str, ...])
    numbers = dict.fromkeys(("mean", "std"), tuple[float, ...] | None)
    paths = dict.fromkeys(("weights", "calibration", "validation", "images", "unlabelled", "golden"), str | None)
    others = {"model": str, "out": str, "runs": str}
    return {
        name: (texts | numbers | paths | others).get(name, hint)
        for name, hint in hints.items()
        if name not in _FROM_PYTHON
    }
