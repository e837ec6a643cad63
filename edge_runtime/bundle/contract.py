"""What a model takes and gives: its tensors, and how a picture becomes one of them. Checked data; runs nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .limits import MAX_PICTURE_SIDE, MAX_RANK, MAX_SIDE

Dtype = Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
Holds = Literal[
    "probabilities",
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
    """How many rows a run may have where axis 0 is free: any whole number from `min` to `max`, both included."""

    min: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max <= MAX_SIDE:
            raise ValueError(f"a batch from {self.min} to {self.max} is impossible; it goes from 1 upwards")

    def __str__(self) -> str:
        return f"{self.min} to {self.max}"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input of a program. `shape` is what `Engine.run` takes, batch axis first.

    `batch` is there when axis 0 is free: a run may then have any number of rows within it, the same for every tensor,
    and `shape` is the shape of the plain run that golden answers and measurements are made of. Without `batch` every
    axis is fixed. No other axis is ever free. In JSON: `"batch": {"max": 16, "min": 1}`, or no such field.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...] = field(metadata={"most": MAX_RANK})
    batch: BatchRange | None = field(default=None, metadata={"left_out": True})

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
    """One output of a program. `holds` says what its numbers are, and so how two of them are compared."""

    holds: Holds

    @classmethod
    def of(cls, spec: TensorSpec, holds: Holds) -> OutputSpec:
        """`spec`, and what it holds."""
        return cls(name=spec.name, dtype=spec.dtype, shape=spec.shape, batch=spec.batch, holds=holds)


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """How a picture becomes the first input of the first program; `preprocess/image.py` carries it out.

    The picture is turned upright (EXIF), made 8 bits deep, and what is transparent is laid over white. Then it is
    resized. `resize`: "stretch" scales both sides; "resize_crop" scales the shorter side to `resize_to` pixels, then
    cuts the centre, unless the picture has the right size already; "resize_center_crop" is torchvision's
    Resize(resize_to) and CenterCrop at every size.

    Two contracts: raw pixels (1, height, width, channels), `layout` NHWC and `dtype` uint8, of which the model file
    makes what it likes; or (1, channels, height, width), NCHW and float32, where the device computes
    (pixel / 255 - mean) / std with `mean` and `std` of each channel. `in_graph` describes, for the reader, what the
    model file itself does with the input afterwards. `expects` is a sentence for whoever takes the picture.
    """

    kind: Literal["image"]
    mode: Literal["L", "RGB"]
    height: int
    width: int
    resize: Literal["stretch", "resize_crop", "resize_center_crop"]
    resize_to: int
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    in_graph: tuple[str, ...]
    expects: str
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    dtype: Literal["uint8", "float32"] = "uint8"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 < side <= MAX_PICTURE_SIDE for side in (self.height, self.width, self.resize_to)):
            raise ValueError(f"preprocessing to {self.height} x {self.width} pixels is out of range (1 to 8192)")
        if self.resize != "stretch" and self.resize_to < max(self.height, self.width):
            raise ValueError(f"resize_to {self.resize_to} is too small to cut {self.height} x {self.width} out of")
        if (self.layout, self.dtype) not in (("NHWC", "uint8"), ("NCHW", "float32")):
            raise ValueError(f"a picture goes in as NHWC uint8 or NCHW float32, found {self.layout} {self.dtype}")
        wanted = self.channels if self.dtype == "float32" else 0
        if not len(self.mean) == len(self.std) == wanted:
            raise ValueError(
                f"mean and std have {len(self.mean)} and {len(self.std)} numbers; {self.mode} {self.dtype} takes "
                f"{wanted} of each"
            )
        if not all(math.isfinite(value) for value in self.mean) or not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} cannot normalize; std is above 0")

    @property
    def channels(self) -> int:
        return 1 if self.mode == "L" else 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the input tensor, batch axis first."""
        if self.layout == "NCHW":
            return 1, self.channels, self.height, self.width
        return 1, self.height, self.width, self.channels
