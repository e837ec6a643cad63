"""A model's inputs and outputs, how a picture becomes an input, and which boxes count. Checked data; runs nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .limits import MAX_DETECTIONS, MAX_PICTURE_SIDE, MAX_RANK, MAX_SIDE

Dtype = Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
Holds = Literal[
    "probabilities",
    "token_probabilities",
    "logits",
    "log_probabilities",
    "independent_probabilities",
    "independent_logits",
    "mask",
    "values",
    "boxes",
    "scores",
    "classes",
    "features",
]


@dataclass(frozen=True, kw_only=True)
class BatchRange:
    """How many rows a run may have where axis 0 is free."""

    min: int
    """The fewest."""
    max: int
    """The most."""

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max <= MAX_SIDE:
            raise ValueError(f"a batch from {self.min} to {self.max} is impossible; it goes from 1 upwards")

    def __str__(self) -> str:
        return f"{self.min} to {self.max}"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input of a program. No axis but the first is ever free."""

    name: str
    """Its name in the model file."""
    dtype: Dtype
    """Its type in numpy's words."""
    shape: tuple[int, ...] = field(metadata={"most": MAX_RANK})
    """What one run takes, batch axis first; where axis 0 is free, the shape that golden answers were computed with."""
    batch: BatchRange | None = field(default=None, metadata={"left_out": True})
    """How many rows a run may have, the same for every tensor; None, and no such field in JSON, if axis 0 is fixed."""

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_RANK:
            raise ValueError(f"tensor {self.name!r} has {len(self.shape)} axes; at most {MAX_RANK} are read")
        if any(side < 1 or side > MAX_SIDE for side in self.shape):
            raise ValueError(f"tensor {self.name!r} has the impossible shape {list(self.shape)}")
        if self.batch and not (self.shape and self.batch.min <= self.shape[0] <= self.batch.max):
            raise ValueError(f"tensor {self.name!r} has the shape {list(self.shape)} and a batch of {self.batch}")

    @property
    def shape_text(self) -> str:
        """The shape for a person: "[1, 8, 8, 1]", with a free batch axis "[1 to 16, 8, 8, 1]"."""
        sides: list[object] = [*self.shape]
        if self.batch:
            sides[0] = self.batch
        return f"[{', '.join(map(str, sides))}]"


@dataclass(frozen=True, kw_only=True)
class OutputSpec(TensorSpec):
    """One output of a program."""

    holds: Holds
    """What its numbers are, and so how two answers are compared: see `tasks/holds.py`."""

    @classmethod
    def of(cls, spec: TensorSpec, holds: Holds) -> OutputSpec:
        """`spec` as an output."""
        return cls(name=spec.name, dtype=spec.dtype, shape=spec.shape, batch=spec.batch, holds=holds)


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """Which of a detector's dense boxes count as found; `tasks/detection.py` carries it out.

    For each label on its own: the surest box is kept, and those that overlap it too much are dropped, and so on.
    """

    score_threshold: float = 0.05
    """The lowest score of a box that counts, 0 to 1."""
    iou_threshold: float = 0.5
    """A box that overlaps a surer one of its label by more than this is dropped, 0 to 1."""
    max_detections: int = 100
    """How many boxes are kept of a picture at most, of all labels together."""

    def __post_init__(self) -> None:
        if not (0 <= self.score_threshold <= 1 and 0 <= self.iou_threshold <= 1):
            raise ValueError(
                f"score_threshold and iou_threshold go from 0 to 1, found {self.score_threshold:g} and "
                f"{self.iou_threshold:g}"
            )
        if not 1 <= self.max_detections <= MAX_DETECTIONS:
            raise ValueError(f"max_detections goes from 1 to {MAX_DETECTIONS:,}, found {self.max_detections:,}")


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """How a picture becomes the first input of the first program; `preprocess/image.py` carries it out.

    The picture is turned upright (EXIF), converted to 8 bits and put on white where it is transparent. Then it is
    resized. The tensor is either NHWC uint8, raw pixels (1, height, width, channels) that the model file normalizes
    itself, or NCHW float32 (1, channels, height, width), where the device computes (pixel / 255 - mean) / std.
    """

    kind: Literal["image"]
    """The only kind there is."""
    mode: Literal["L", "RGB"]
    """One channel, grey, or three."""
    height: int
    """Of the input, in pixels."""
    width: int
    """Of the input, in pixels."""
    resize: Literal["stretch", "resize_crop", "resize_center_crop"]
    """"stretch" scales both sides; "resize_crop" scales the shorter side to `resize_to`, then cuts out the centre,
    unless the size is right already; "resize_center_crop" is torchvision's Resize and CenterCrop at every size."""
    resize_to: int
    """Length of the shorter side before the cut, in pixels."""
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    """How pixels are computed when the picture is resized."""
    in_graph: tuple[str, ...]
    """What the model file does with the input, for people."""
    expects: str
    """What the picture should show, as a sentence for the person who takes it."""
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    """The order of the tensor's axes."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """The tensor's type."""
    mean: tuple[float, ...] = ()
    """Of each channel, for float32; else empty."""
    std: tuple[float, ...] = ()
    """Of each channel, for float32; else empty."""

    def __post_init__(self) -> None:
        if not all(0 < side <= MAX_PICTURE_SIDE for side in (self.height, self.width, self.resize_to)):
            raise ValueError(f"preprocessing to {self.height} x {self.width} pixels is out of range (1 to 8192)")
        if self.resize != "stretch" and self.resize_to < max(self.height, self.width):
            raise ValueError(f"resize_to {self.resize_to} is too small to cut {self.height} x {self.width} out of")
        if (self.layout, self.dtype) not in (("NHWC", "uint8"), ("NCHW", "float32")):
            raise ValueError(f"a picture should be NHWC uint8 or NCHW float32, found {self.layout} {self.dtype}")
        wanted = self.channels if self.dtype == "float32" else 0
        if not len(self.mean) == len(self.std) == wanted:
            raise ValueError(
                f"mean and std should have {wanted} numbers each for {self.mode} {self.dtype}, found "
                f"{len(self.mean)} and {len(self.std)}"
            )
        if not all(math.isfinite(value) for value in self.mean) or not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"mean and std should be finite, and std above 0, found {self.mean} and {self.std}")

    @property
    def channels(self) -> int:
        return 1 if self.mode == "L" else 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the input tensor, batch axis first."""
        if self.layout == "NCHW":
            return 1, self.channels, self.height, self.width
        return 1, self.height, self.width, self.channels
