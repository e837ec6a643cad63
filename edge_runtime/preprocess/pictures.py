"""Opens a picture from anywhere and makes it plain: upright, opaque, 8 bits per channel, grey or RGB.

Files come from strangers, so size and pixel count are limited before decoding, and only the decoders listed here can
run. This module knows nothing about models or the sizes they take; `image` does. What a picture's pixels mean here:

- EXIF orientation is applied. Of an animation or a multi-page file, the first frame counts.
- Transparent pixels show white, as on the pages that such pictures are drawn for. Dropping the alpha channel instead
  would uncover colours that nobody was meant to see, most often black on black.
- 16-bit grey keeps its upper 8 bits, as 16-bit colour does in Pillow; a 12-bit TIFF keeps the upper 8 of its 12 bits.
  32-bit integers are read as 16-bit grey, floats as 0 (black) to 1 (white). Values outside are refused, since white
  would be a guess. Embedded colour profiles are not applied; LAB becomes sRGB.
"""

from __future__ import annotations

import logging
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import InputError, shown
from ..native_output import caught_stderr

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 100_000_000  # decoded and converted at most about 1.5 GB; a 12-megapixel photo takes 50 to 150 MB
MAX_SIDE = 65_535  # JPEG's own limit; the first of two resizing passes needs memory for the width times this
BACKGROUND = 255  # what shows through transparent pixels: white

# What Pillow warns of is said here in errors, or harms no pixel; on standard error it would stand beside our sentences.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())

# All decoders that can ever run, by the first bytes of a file. Pillow's own search would also try formats that start
# other programs (EPS runs Ghostscript), and it prints warnings about large pictures before it refuses them.
_READERS: tuple[tuple[str, re.Pattern[bytes], type[ImageFile.ImageFile]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    ("GIF", re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    ("BMP", re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    ("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile),
    ("PPM", re.compile(rb"P[1-6]\s"), PpmImagePlugin.PpmImageFile),
)
# EXIF tag 0x0112: how to turn the picture upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_ROWS = 256  # grey with more than 8 bits is converted this many rows at a time, so that numpy's copies stay small


def open_picture(source: str | Path | bytes) -> ImageFile.ImageFile:
    """Reads the header of a JPEG, PNG, GIF, BMP, WebP, TIFF or PPM file, or of the bytes of one.

    Raises:
        InputError: there is no such file, it is not a readable picture, its header is damaged, or it exceeds 64 MiB,
            100 megapixels or 65,535 pixels on a side.
    """
    where, raw = ("the picture", source) if isinstance(source, bytes) else (str(source), _read(Path(source)))
    if not raw:
        raise InputError(f"{where} is empty (0 bytes). Save or send the picture again")
    if len(raw) > MAX_FILE_BYTES:
        raise _too_large(where, len(raw))
    image = _open(raw, where)
    _check_size(image, where)
    return image


def plain_picture(image: Image.Image, where: str = "the picture") -> Image.Image:
    """The decoded picture, upright and opaque, in mode "L" or "RGB"; `where` names it in errors.

    Raises:
        InputError: it is damaged, cut short or too large, or its values for black and white are unknown.
    """
    _check_size(image, where)
    said: list[str] = []
    try:
        # libtiff writes its reasons to standard error, and Pillow says "decoder error -2".
        with ExitStack() as opened:
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                said = opened.enter_context(caught_stderr())
            image.load()
        return _in_8_bits(_upright(image), where)
    except InputError:
        raise
    except Exception as error:  # as in _open: a damaged picture deserves a message, not a traceback
        raise _damaged(where, error, said) from None


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a folder, not a picture. Give the path of a file")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait forever
            raise InputError(f"{path} is not a regular file. Save the picture to a file first")
        if status.st_size > MAX_FILE_BYTES:
            raise _too_large(str(path), status.st_size)
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)  # it may have grown since
    except FileNotFoundError:
        raise InputError(f"there is no picture at {path}. Check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path} cannot be read: {error}. Check the path and its permissions") from None


def _open(raw: bytes, where: str) -> ImageFile.ImageFile:
    """Reads the header only."""
    for name, signature, reader in _READERS:
        if signature.match(raw):
            try:
                return reader(BytesIO(raw))
            except SyntaxError:  # Pillow also raises it for a width or height of 0
                raise InputError(
                    f"{where} looks like a {name} file, but its header is damaged or says 0 × 0 pixels. "
                    "Save or send the picture again"
                ) from None
            except Image.DecompressionBombError:  # some versions of Pillow raise it for some kinds of file
                raise InputError(
                    f"{where} has more pixels than can be read: at most {MAX_PIXELS // 1_000_000} megapixels and "
                    f"{MAX_SIDE:,} pixels on a side. Scale it down or cut out the part that matters"
                ) from None
            except Exception as error:  # on bad bytes the readers raise a dozen kinds, and MemoryError
                raise _damaged(where, error) from None
    names = [name for name, _, _ in _READERS]
    known = f"{', '.join(names[:-1])} or {names[-1]}"
    raise InputError(f"{where} is not a picture of a known format: it starts with {raw[:8]!r}. Save it as {known}")


def _check_size(image: Image.Image, where: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(f"{where} has {width} × {height} pixels, so it shows nothing. Take or save it again")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InputError(
            f"{where} has {width:,} × {height:,} pixels; the limits are {MAX_PIXELS // 1_000_000} megapixels and "
            f"{MAX_SIDE:,} pixels on a side. Scale it down, or cut out the part that matters"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # many cameras write a damaged EXIF block, and the pixels are still good
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _in_8_bits(image: Image.Image, where: str) -> Image.Image:
    """A picture of any mode as an opaque one with 8 bits per channel, which Pillow converts to both L and RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        grey = np.concatenate([_deep_grey(rows, image, tags, where) for rows in _blocks(image)])
        return Image.fromarray(~grey if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO else grey)
    if image.mode == "La":  # Pillow can only convert it to LA
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGB", image.size, (BACKGROUND,) * 3)
        paper.paste(image, mask=image.getchannel("A"))
        return paper
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _blocks(image: Image.Image) -> Iterator[np.ndarray]:
    for top in range(0, image.height, _ROWS):
        yield np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))))


def _deep_grey(values: np.ndarray, image: Image.Image, tags: dict[int, tuple[int, ...]], where: str) -> np.ndarray:
    """(rows, width) uint16, int32 or float32 to uint8."""
    if image.mode == "F":
        _check_range(values, 0, 1, "float", where)
        return (values * 255 + 0.5).astype(np.uint8)
    if image.mode == "I":
        _check_range(values, 0, 65_535, "32-bit", where)
        bits = 16
    else:
        bits = max(8, tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0])
    grey = (values >> (bits - 8)).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = BACKGROUND
    return grey


def _check_range(values: np.ndarray, low: int, high: int, kind: str, where: str) -> None:
    smallest, largest = values.min(), values.max()
    if not (smallest >= low and largest <= high):  # written so that a NaN counts as outside
        raise InputError(
            f"{where} is a {kind} greyscale picture with values from {smallest:g} to {largest:g}; "
            f"{low} stands for black and {high:,} for white. Scale its values, or save it with 8 or 16 bits"
        )


def _too_large(where: str, size: int) -> InputError:
    return InputError(f"{where} has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}. Scale the picture down")


def _damaged(where: str, error: Exception, said: Sequence[str] = ()) -> InputError:
    reason = shown(": ".join([str(error) or type(error).__name__, *said[:1]]))
    return InputError(f"{where} is damaged, cut short or of an unknown kind: {reason}. Save or send the picture again")
