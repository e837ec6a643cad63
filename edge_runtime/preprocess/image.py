"""Turns a picture into the input tensor that the manifest's `ImagePreprocessing` describes.

There is only this implementation: training, optimizing, the device and the demo all call it, so a picture cannot mean
two things. `pictures` opens files, and handles transparency, 16 bits and the like. This module knows nothing about
models. What the contract's words mean:

- mode "L": colour becomes grey by ITU-R BT.601.
- "stretch" scales each side on its own; "resize_crop" scales the shorter side and cuts out the centre. With both, a
  picture that already has the contract's size stays as it is, bit for bit.
- "resize_center_crop" is torchvision's Resize(resize_to) and CenterCrop, to the pixel, at every size.
- bilinear and bicubic antialias when they shrink, as Pillow does (and torchvision, on Pillow pictures).
- NHWC uint8 is raw pixels: normalization and layout are inside the model file. NCHW float32 is
  (pixel / 255 - mean) / std, computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from ..bundle.manifest import ImagePreprocessing
from ..errors import InputError
from .pictures import MAX_PIXELS, open_picture, plain_picture

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def load_image(source: str | Path | bytes, contract: ImagePreprocessing, *, invert: bool = False) -> np.ndarray:
    """Reads a JPEG, PNG, GIF, BMP, WebP, TIFF or PPM file, or the bytes of one.

    Args:
        source: a path, or the file's content.
        contract: what the model takes.
        invert: swap black and white at the end, for a model that expects the negative of the picture.

    Returns:
        (1, height, width, channels) uint8 or (1, channels, height, width) float32, as the contract says; C-contiguous,
        writable.

    Raises:
        InputError: there is no such file, it is not a readable picture, it is damaged or cut short, or it exceeds
            64 MiB, 100 megapixels or 65,535 pixels on a side; the last two show in the header, before decoding. Or it
            is so long and thin that "resize_center_crop" would make more than 100 megapixels of it.
    """
    return load_seen(source, contract, invert=invert)[0]


def load_seen(
    source: str | Path | bytes, contract: ImagePreprocessing, *, invert: bool = False
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `load_image`, and the upright picture's own width and height, in which `seen_area` says what is seen."""
    where = "the picture" if isinstance(source, bytes) else str(source)
    image = plain_picture(open_picture(source), where)
    return _to_array(image, contract, invert), image.size


def seen_area(size: tuple[int, int], contract: ImagePreprocessing) -> tuple[float, float, float, float]:
    """What of an upright picture of this width and height the input shows: left, top, right, bottom, in its pixels.

    A place (x, y) of the input is at left + x · (right - left) / width and top + y · (bottom - top) / height of the
    picture.
    """
    if contract.resize == "stretch" or (contract.resize == "resize_crop" and size == (contract.width, contract.height)):
        return 0.0, 0.0, float(size[0]), float(size[1])
    return _centre(size, contract)


def array_to_image(array: np.ndarray) -> Image.Image:
    """An input tensor, (1, height, width, 1 or 3) or (height, width, 1 or 3) uint8, as a picture to show."""
    pixels = array[0] if array.ndim == 4 and len(array) == 1 else array
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise InputError(
            f"a picture to show should be uint8 (1, height, width, 1 or 3), found {array.dtype} {array.shape}"
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def pixels_of(inputs: np.ndarray, contract: ImagePreprocessing) -> np.ndarray:
    """Input tensors (N, …) as the contract describes them, back to raw pixels (N, height, width, channels) uint8.

    Values beyond black and white, as in noise, are clipped.
    """
    if contract.dtype == "uint8":
        return inputs
    shape = (1, contract.channels, 1, 1)
    mean, std = (np.array(values, np.float64).reshape(shape) for values in (contract.mean, contract.std))
    with np.errstate(invalid="ignore", over="ignore"):
        pixels = np.nan_to_num((inputs.astype(np.float64) * std + mean) * 255)
    return np.ascontiguousarray(pixels.round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def normalized(pixels: np.ndarray, contract: ImagePreprocessing) -> np.ndarray:
    """Raw pixels (N, height, width, channels) uint8 as the contract's tensor: themselves, or NCHW float32."""
    if contract.dtype == "uint8":
        return pixels
    mean, std = np.array(contract.mean, np.float64), np.array(contract.std, np.float64)
    # 256 levels a channel are all there is, so each is computed once.
    levels = ((np.arange(256, dtype=np.float64)[:, None] / 255 - mean) / std).astype(np.float32)  # (256, channels)
    channels = [levels[:, i][pixels[..., i]] for i in range(contract.channels)]
    return np.stack(channels, axis=1)


def _to_array(image: Image.Image, contract: ImagePreprocessing, invert: bool) -> np.ndarray:
    if image.mode != contract.mode:  # converting to the same mode would copy it
        image = image.convert(contract.mode)
    pixels = np.array(_resized(image, contract), dtype=np.uint8)  # (H, W) or (H, W, 3)
    if invert:
        np.subtract(255, pixels, out=pixels)
    return normalized(pixels.reshape(1, contract.height, contract.width, contract.channels), contract)


def _resized(image: Image.Image, contract: ImagePreprocessing) -> Image.Image:
    size = (contract.width, contract.height)
    if contract.resize == "resize_center_crop":
        return _resized_then_cut(image, contract)
    if image.size == size:
        return image
    box = _centre(image.size, contract) if contract.resize == "resize_crop" else None
    return _scaled(image, size, contract.interpolation, box=box)


def _scaled(
    image: Image.Image,
    size: tuple[int, int],
    interpolation: str,
    *,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """`image.resize(size, ..., box=box)`, across first and then down, whatever the version of Pillow.

    Since Pillow 13 the cheaper direction comes first. Each rounds its levels, so that the answers for tall pictures
    would differ from those of older versions, and from what docs/BUNDLE.md promises.
    """
    resampling = _RESAMPLING[interpolation]
    if interpolation == "nearest":
        return image.resize(size, resampling, box=box)
    left, top, right, bottom = (float(np.float32(edge)) for edge in box or (0, 0, *image.size))  # as Pillow keeps them
    # Only the rows that the second pass reads, so that of a long strip no more than its middle is widened.
    reach = math.ceil(2 * max(1.0, (bottom - top) / size[1])) + 1
    first, last = max(0, math.floor(top) - reach), min(image.height, math.ceil(bottom) + reach)
    rows = image if (first, last) == (0, image.height) else image.crop((0, first, image.width, last))
    wide = rows.resize((size[0], rows.height), resampling, box=(left, 0, right, rows.height))
    return wide.resize(size, resampling, box=(0, top - first, size[0], bottom - first))


def _resized_then_cut(image: Image.Image, contract: ImagePreprocessing) -> Image.Image:
    """torchvision's Resize and CenterCrop: resizes the whole picture, then cuts out whole pixels."""
    short = min(image.size)
    width, height = (contract.resize_to * side // short for side in image.size)
    if width * height > MAX_PIXELS:
        raise InputError(
            f"the picture has {image.width:,} × {image.height:,} pixels; resized to a shorter side of "
            f"{contract.resize_to} it would have {width:,} × {height:,}. Cut out the part that matters"
        )
    resized = image
    if (width, height) != image.size:
        resized = _scaled(image, (width, height), contract.interpolation)
    left, top = round((width - contract.width) / 2), round((height - contract.height) / 2)
    return resized.crop((left, top, left + contract.width, top + contract.height))


def _centre(size: tuple[int, int], contract: ImagePreprocessing) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of a picture that is left after scaling it and cutting out the centre.

    Only this part is resized, so that a strip of 1 × 60,000 pixels is never scaled up whole. The longer side is rounded
    down and the margins to even, as in torchvision; pixels then differ from its Resize and CenterCrop by at most one
    level (with "nearest", by a neighbour where two pixels are equally near).
    """
    short = min(size)
    edges = []
    for side, cut in zip(size, (contract.width, contract.height), strict=True):
        scaled = contract.resize_to * side // short
        first = round((scaled - cut) / 2)
        edges.append((first * side / scaled, (first + cut) * side / scaled))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
