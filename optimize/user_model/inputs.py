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
from .signature import Signature
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
        UsageError: the size is not known, sizes and channels contradict each other, or nobody says how pixels are
            normalized.
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
    # In a bundle it is "resize_center_crop", which also resizes a picture that has the right size already.
    cut = (request.resize or ("resize_crop" if taken or request.resize_to else "stretch")) == "resize_crop"
    if request.resize_to:
        resize_to = request.resize_to
    elif taken and cut:
        resize_to = round(taken.resize_to * max(height, width) / max(taken.height, taken.width))
    else:
        resize_to = max(height, width)
    _check_normalization(request, taken, raw)
    mean, std = (_per_channel(name, request, taken, channels) for name in ("mean", "std"))
    interpolation = request.interpolation or (taken.interpolation if taken else "bilinear")
    try:
        contract = ImagePreprocessing(
            kind="image",
            mode=mode,  # type: ignore[arg-type]
            height=height,
            width=width,
            resize="resize_center_crop" if cut else "stretch",
            resize_to=resize_to,
            interpolation=interpolation,  # type: ignore[arg-type]
            in_graph=() if raw else _in_graph(mean, std),
            expects="a picture like those it was trained on",
        )
        module = nn.Identity() if raw else PixelNormalize(mean, std)
    except ValueError as error:
        raise UsageError(f"{error}. See --sample-shape, --resize-to, --mean and --std") from None
    how = f"scaled to {resize_to} and cut to" if cut else "stretched to"
    scale = "raw pixels" if raw else f"mean {_few(mean)}, std {_few(std)}"
    words = f"{mode} pictures, {how} {height} x {width} ({interpolation}), {scale}"
    return Inputs(
        specs=(TensorSpec(name="image", dtype="uint8", shape=(1, height, width, channels)),),
        picture=contract,
        module=module,
        words=words + (f"; from {taken.words}" if taken and not request.describes_pictures else ""),
    )


def array_inputs(signature: Signature, shapes: Sequence[Shape], arrays: Arrays | None) -> Inputs:
    """Inputs as arrays (N, …) have them, or as shapes say where there are none, in the order of `forward`.

    float64 becomes float32, as PyTorch's own layers have it.

    Args:
        arrays: already bound to the names of `signature`.
    Raises:
        UsageError: neither shapes nor arrays are there, or a shape names no input.
        InputError: an array is not of the shape or dtype that was given.
    """
    wanted = _by_name(signature, shapes, arrays)
    if arrays is None:
        if missing := [name for name in signature.required or (signature.first,) if name not in wanted]:
            raise UsageError(
                f"the shape of the input {missing[0]!r} is not known. Give --calibration, or --sample-shape 1,…"
                + (f" for each of {', '.join(signature.required)}" if len(signature.required) > 1 else "")
            )
        names = signature.order(tuple(wanted), "--sample-shape")
        specs = [TensorSpec(name=n, dtype=wanted[n].dtype or "float32", shape=wanted[n].sides) for n in names]  # type: ignore[arg-type]
        return _plain(specs)
    return _plain([_spec(name, rows, wanted.get(name)) for name, rows in arrays.items()])


def _by_name(signature: Signature, shapes: Sequence[Shape], arrays: Arrays | None) -> dict[str, Shape]:
    """Each shape under its argument: those with a name by that, the others in the order of those that are left."""
    named = [shape.name for shape in shapes if shape.name]
    if twice := [name for name in named if named.count(name) > 1]:
        raise UsageError(f"--sample-shape {twice[0]} is given twice. Give it once")
    known = tuple(arrays) if arrays is not None else signature.names
    if known and (strangers := [name for name in named if name not in known and not signature.free]):
        raise UsageError(
            f"--sample-shape {strangers[0]}: there is no such input. "
            + (f"The samples are of {', '.join(known)}" if arrays is not None else f"The model takes {signature.text}")
        )
    without = sum(not shape.name for shape in shapes)
    if arrays is None:
        first = signature.called(without) if without and not named else signature.names
    else:
        first = tuple(arrays)
    left = [name for name in first if name not in named]
    if without > len(left):
        raise UsageError(
            f"--sample-shape number {len(shapes)} is one too many: the model takes {signature.text}. Name the inputs, "
            "like tokens=1,16:int64"
        )
    nameless = iter(left)
    return {shape.name or next(nameless): shape for shape in shapes}


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


def _check_normalization(request: Request, taken: Taken | None, raw: bool) -> None:
    """Raises UsageError unless it is known how pixels become numbers: wrong ones cost accuracy, and nothing shows."""
    given = request.mean is not None or request.std is not None
    if request.no_normalise and given:
        raise UsageError("--no-normalise and --mean or --std contradict each other: give one of them")
    if not (raw or given or request.no_normalise or taken is not None or request.expect_accuracy is not None):
        raise UsageError(
            "how pixels are normalized is not stated, and a wrong guess silently costs accuracy. Give --mean "
            "and --std on the scale from 0 to 1 (ImageNet's are 0.485,0.456,0.406 and 0.229,0.224,0.225), or "
            "--no-normalise where the model takes pixel / 255. torchvision's and timm's own models say it themselves; "
            "--expect-accuracy 0.89 would show a wrong guess"
        )


def _per_channel(name: str, request: Request, taken: Taken | None, channels: int) -> tuple[float, ...]:
    given = getattr(request, name)
    if request.no_normalise:
        taken = None
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
