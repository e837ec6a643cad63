"""What a user's model takes: pictures as raw pixels with their normalization, or arrays as they are.

Put together from what the user says, what the source says of itself, and what the samples are. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing, TensorSpec
from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.train.preprocess import PixelNormalize

from .request import DTYPES, Request, Shape
from .sources import Taken


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Tensors that the deployed model takes, the pictures' contract or None, and the module before the user's."""

    specs: tuple[TensorSpec, ...]
    picture: ImagePreprocessing | None
    module: nn.Module
    words: str


def picture_inputs(request: Request, taken: Taken | None) -> Inputs:
    """One input of raw pixels, normalized inside the graph as user and source say.

    A shape 1,H,W,3:uint8 is of a model that takes raw pixels itself, and gets them as they are.

    Raises:
        UsageError: the size is not known, or sizes and channels contradict each other.
    """
    shapes = request.shapes
    if not shapes and taken is None:
        raise UsageError("the pictures' size is not known. Give --sample-shape 1,CHANNELS,HEIGHT,WIDTH")
    shape = shapes[0] if shapes else Shape(sides=(1, 3, taken.height, taken.width))  # type: ignore[union-attr]
    raw = shape.dtype == "uint8" and len(shape.sides) == 4 and shape.sides[3] in (1, 3)
    if len(shapes) > 1 or len(shape.sides) != 4 or shape.sides[3 if raw else 1] not in (1, 3):
        raise UsageError(
            f"pictures go into one input of 1,3,HEIGHT,WIDTH or 1,1,HEIGHT,WIDTH; --sample-shape says "
            f"{' and '.join(','.join(map(str, s.sides)) for s in shapes)}. For other inputs give arrays (.npz)"
        )
    height, width = shape.sides[1:3] if raw else shape.sides[2:]
    channels = shape.sides[3] if raw else shape.sides[1]
    mode = request.mode or ("L" if channels == 1 else "RGB")
    if (mode == "L") != (channels == 1):
        raise UsageError(f"--mode {mode} does not fit {channels} channels. RGB has 3, L has 1")
    resize = request.resize or ("resize_crop" if taken or request.resize_to else "stretch")
    if request.resize_to:
        resize_to = request.resize_to
    elif taken and resize == "resize_crop":
        resize_to = round(taken.resize_to * max(height, width) / max(taken.height, taken.width))
    else:
        resize_to = max(height, width)
    mean, std = (_per_channel(name, request, taken, channels) for name in ("mean", "std"))
    interpolation = request.interpolation or (taken.interpolation if taken else "bilinear")
    try:
        contract = ImagePreprocessing(
            kind="image",
            mode=mode,  # type: ignore[arg-type]
            height=height,
            width=width,
            resize=resize,  # type: ignore[arg-type]
            resize_to=resize_to,
            interpolation=interpolation,  # type: ignore[arg-type]
            in_graph=() if raw else _in_graph(mean, std),
            expects="a picture like those it was trained on",
        )
        module = nn.Identity() if raw else PixelNormalize(mean, std)
    except ValueError as error:
        raise UsageError(f"{error}. See --sample-shape, --resize-to, --mean and --std") from None
    how = f"scaled to {resize_to} and cut to" if resize == "resize_crop" else "stretched to"
    scale = "raw pixels" if raw else f"mean {_few(mean)}, std {_few(std)}"
    words = f"{mode} pictures, {how} {height} x {width} ({interpolation}), {scale}"
    return Inputs(
        specs=(TensorSpec(name="image", dtype="uint8", shape=(1, height, width, channels)),),
        picture=contract,
        module=module,
        words=words + (f"; from {taken.words}" if taken and not request.describes_pictures else ""),
    )


def array_inputs(names: Sequence[str], shapes: Sequence[Shape], arrays: Arrays | None) -> Inputs:
    """Inputs as arrays (N, …) have them, or as shapes say where there are none.

    float64 becomes float32, as PyTorch's own layers have it.

    Raises:
        UsageError: neither shapes nor arrays are there, or a shape names no input.
        InputError: an array is not of the shape or dtype that was given.
    """
    wanted = {shape.name or names[i] if i < len(names) else shape.name: shape for i, shape in enumerate(shapes)}
    if strangers := [name for name in wanted if name not in names]:
        raise UsageError(
            f"--sample-shape {strangers[0] or 'number ' + str(len(shapes))}: the model takes {', '.join(names)}"
        )
    if arrays is None:
        if missing := [name for name in names if name not in wanted]:
            raise UsageError(
                f"the shape of the input {missing[0]!r} is not known. Give --calibration, or --sample-shape 1,…"
                + (f" for each of {', '.join(names)}" if len(names) > 1 else "")
            )
        specs = [TensorSpec(name=n, dtype=wanted[n].dtype or "float32", shape=wanted[n].sides) for n in names]  # type: ignore[arg-type]
        return _plain(specs)
    if missing := [name for name in names if name not in arrays]:
        raise InputError(f"there are no samples for the input {missing[0]!r}. Found: {', '.join(arrays) or 'none'}")
    return _plain([_spec(name, arrays[name], wanted.get(name)) for name in names])


def _spec(name: str, rows: np.ndarray, shape: Shape | None) -> TensorSpec:
    dtype = shape.dtype if shape and shape.dtype else "float32" if rows.dtype == np.float64 else str(rows.dtype)
    if dtype not in DTYPES:
        raise InputError(f"the samples of {name!r} are {rows.dtype}; a model takes {', '.join(DTYPES)}. Convert them")
    if shape is not None and rows.shape[1:] != shape.sides[1:]:
        raise InputError(
            f"the samples of {name!r} are {list(rows.shape[1:])} each, --sample-shape says {list(shape.sides[1:])}"
        )
    return TensorSpec(name=name, dtype=dtype, shape=(1, *rows.shape[1:]))  # type: ignore[arg-type]


def _plain(specs: Sequence[TensorSpec]) -> Inputs:
    words = "; ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in specs)
    return Inputs(specs=tuple(specs), picture=None, module=nn.Identity(), words=f"arrays: {words}")


def _per_channel(name: str, request: Request, taken: Taken | None, channels: int) -> tuple[float, ...]:
    given = getattr(request, name)
    found: tuple[float, ...] = given or (getattr(taken, name) if taken else ({"mean": 0.0, "std": 1.0}[name],))
    if len(found) == 1:
        return found * channels
    if len(found) != channels:
        raise UsageError(f"--{name} {_few(found)} has {len(found)} numbers for {channels} channels. Give one a channel")
    return found


def _in_graph(mean: Sequence[float], std: Sequence[float]) -> tuple[str, ...]:
    layout = "uint8 (N, H, W, C) to float32 (N, C, H, W)"
    if set(mean) == {0.0} and set(std) == {1.0}:
        return layout, "pixel / 255"
    return layout, f"pixel / 255, minus the mean {_few(mean)}, over the std {_few(std)}"


def _few(numbers: Sequence[float]) -> str:
    shown = dict.fromkeys(numbers) if len(set(numbers)) == 1 else numbers
    return ",".join(f"{number:.4g}" for number in shown)
