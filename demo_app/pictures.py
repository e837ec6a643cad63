"""Input arrays as small pictures for a page: PNG in a data address, pixel by pixel. Knows no widgets.

The page enlarges them with `image-rendering: pixelated`, so that visitors see what the model sees.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.preprocess.image import array_to_image, pixels_of

THUMBNAIL = 64  # longest side in pixels; a grid of 96 photographs stays under a megabyte


def icon() -> Image.Image:
    """The page's icon: two bars. Drawn here, since Streamlit would download emoji and symbol icons."""
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[6:14, 2:30] = (0x5B, 0x6C, 0xD9, 255)
    pixels[18:26, 2:20] = (0xE0, 0x8A, 0x3C, 255)
    return Image.fromarray(pixels)


def is_picture(manifest: Manifest) -> bool:
    """Whether the only input is a picture, raw or normalized, that this edgekit can prepare."""
    if manifest.preprocessing is None or len(manifest.inputs) != 1:
        return False
    spec, contract = manifest.inputs[0], manifest.preprocessing
    return (spec.dtype, spec.shape) == (contract.dtype, contract.shape)


def raw_pixels(manifest: Manifest, inputs: Arrays) -> np.ndarray:
    """The only input (N, …) of a bundle that takes pictures, as raw pixels (N, H, W, 1 or 3) uint8."""
    assert manifest.preprocessing is not None
    (rows,) = inputs.values()
    return pixels_of(rows, manifest.preprocessing)


def data_address(pixels: np.ndarray, *, longest: int | None = None) -> str:
    """(H, W, C) or (1, H, W, C) uint8, with C 1 or 3, to `data:image/png;base64,…`; `longest` limits its sides."""
    picture = array_to_image(pixels)
    if longest is not None and max(picture.size) > longest:
        picture.thumbnail((longest, longest))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
