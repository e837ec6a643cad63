"""Pictures of every kind, made here and read back: what their pixels mean."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.preprocess.pictures import open_picture, plain_picture

RANDOM = np.random.default_rng(0)
NOISE = Image.fromarray(RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8))
CORNERS = np.kron(np.uint8([[0, 80, 160], [40, 120, 240]]), np.ones((16, 16), np.uint8))  # no symmetry at all


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(source: object) -> np.ndarray:
    """(height, width, 3) uint8"""
    return np.asarray(plain_picture(open_picture(source)).convert("RGB"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(image: Image.Image, tag: int, value: int) -> bytes:
    """A little-endian TIFF with one short tag replaced, for what Pillow reads but does not write."""
    raw = bytearray(encode(image, "TIFF"))
    at = raw.index(struct.pack("<2HL", tag, 3, 1)) + 8
    raw[at : at + 2] = struct.pack("<H", value)
    return bytes(raw)


# How a camera that is held in one of eight ways stores what is upright: EXIF 2.3, section 4.6.4, tag 274.
STORED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.T,
    6: np.rot90(CORNERS),
    7: CORNERS[::-1, ::-1].T,
    8: np.rot90(CORNERS, -1),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    raw = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation])), kind, exif=exif, **options)
    assert np.abs(read(raw)[:, :, 0] - CORNERS.astype(int)).max() <= 2


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_leaves_the_picture_as_it_is(exif):
    assert np.array_equal(read(encode(NOISE, "PNG", exif=exif)), np.asarray(NOISE))


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_impossible_orientation_leaves_the_picture_as_it_is(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(encode(NOISE, "PNG", exif=exif)), np.asarray(NOISE))


MODES = {"PNG": "1 L P RGB", "BMP": "1 L P RGB", "TIFF": "1 L P RGB", "GIF": "1 L P", "PPM": "1 L RGB"}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes.split()])
def test_opaque_pictures_are_read_bit_for_bit(kind, mode):
    image = NOISE.quantize(16) if mode == "P" else NOISE.convert(mode)
    assert np.array_equal(read(encode(image, kind)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("CMYK", (8, 8), (255, 0, 0, 51)), {"kind": "TIFF"}),
        (Image.new("CMYK", (8, 8), (255, 0, 0, 51)), {"kind": "JPEG", "quality": 100}),  # Adobe: stored inverted
        (Image.new("RGB", (8, 8), (0, 204, 204)), {"kind": "JPEG", "quality": 100}),  # stored as YCbCr
        (Image.new("YCbCr", (8, 8), (143, 162, 26)), {"kind": "JPEG", "quality": 100}),
    ],
)
def test_every_colour_space_shows_the_same_cyan(image, options):
    assert np.abs(read(encode(image, **options)).astype(int) - (0, 204, 204)).max() <= 3


def test_lab_becomes_srgb():
    """The red of sRGB is L* 54.3, a* 80.8, b* 69.9 under D50; 8-bit LAB holds 2.55 L*, a* + 128, b* + 128."""
    raw = encode(Image.new("LAB", (2, 2), (138, 209, 198)), "TIFF")
    assert np.abs(read(raw).astype(int) - (255, 0, 0)).max() <= 8


# Half transparent (0, 100, 200) over white, and the all transparent pixel whose hidden colour must not show.
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_composited_over_white(kind):
    image = Image.fromarray(np.uint8([[[0, 100, 200, 128], [9, 9, 9, 0], [9, 9, 9, 255]]]), "RGBA")
    found = read(encode(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    assert found.tolist() == [[[127, 177, 227], [255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa"])
def test_every_mode_with_alpha_is_composited(mode):
    image = Image.fromarray(np.uint8([[[60, 60, 60, 255], [60, 60, 60, 0]]]), "RGBA")
    image = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    assert np.asarray(plain_picture(image).convert("L")).tolist() == [[60, 255]]


def test_a_palette_with_alpha_is_composited():
    image = Image.new("P", (2, 1))
    image.putpalette([60, 60, 60])
    image.putalpha(Image.fromarray(np.uint8([[255, 0]])))
    assert (image.mode, read(encode(image, "TIFF"))[0, :, 0].tolist()) == ("PA", [60, 255])


@pytest.mark.parametrize(
    ("bits", "colour", "rows"), [(8, 0, b"\0\x07\x09"), (16, 0, b"\0\0\x07\x09\0"), (8, 3, b"\0\0\1")]
)
def test_a_transparent_colour_is_white(bits, colour, rows):
    palette = chunk(b"PLTE", b"\7\7\7\t\t\t")
    hidden = chunk(b"tRNS", b"\0" if colour == 3 else b"\0\7")
    assert read(png(2, 1, bits, colour, rows, palette, hidden))[0, :, 0].tolist() == [255, 9]


def test_a_transparent_grey_is_white_in_32_bits_too():
    """As older versions of Pillow open a 16-bit PNG."""
    image = Image.fromarray(np.int32([[7, 9 << 8]]))
    image.info["transparency"] = 7
    assert (image.mode, np.asarray(plain_picture(image)).tolist()) == ("I", [[255, 9]])


def test_a_gif_shows_its_first_frame_over_white():
    frames = [Image.new("P", (4, 4), colour) for colour in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60])
    frames[0].putpixel((3, 0), 0)
    raw = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0)
    assert read(raw)[0, 2:].tolist() == [[10, 20, 30], [255, 255, 255]]


DEEP = np.uint16([[0, 255, 256, 257 * 128, 65_279, 65_535]])
SHALLOW = [0, 0, 1, 128, 254, 255]


@pytest.mark.parametrize(
    "raw",
    [
        encode(Image.fromarray(DEEP), "PNG"),
        encode(Image.fromarray(DEEP), "TIFF"),
        encode(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        b"P5 6 1 65535\n" + DEEP.astype(">u2").tobytes(),
        png(6, 1, 16, 2, b"\0" + DEEP.repeat(3).astype(">u2").tobytes()),
        tiff(Image.fromarray(65_535 - DEEP), 262, 0),  # white is zero
    ],
    ids=["png", "tiff", "tiff32", "pgm", "png-rgb", "white-is-zero"],
)
def test_16_bits_keep_their_upper_8(raw):
    assert read(raw)[0, :, 0].tolist() == SHALLOW


def test_12_bits_keep_their_upper_8():
    packed = bytes([0x00, 0x00, 0x0F, 0x80, 0x0F, 0xFF])  # 0, 15, 2048, 4095: two to three bytes
    raw = tiff(Image.fromarray(np.zeros((1, 4), np.uint16)), 258, 12)
    at = struct.unpack_from("<L", raw, raw.index(struct.pack("<2HL", 273, 4, 1)) + 8)[0]
    assert read(raw[:at] + packed + raw[at + 6 :])[0, :, 0].tolist() == [0, 0, 128, 255]


def test_floats_are_read_as_0_to_1():
    values = np.float32([[0.0, 0.001, 0.5, 128 / 255, 1.0]])
    assert read(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 0, 128, 128, 255]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.float32([[0, 255]]), "values from 0 to 255; 0 stands for black and 1 for white"),
        (np.float32([[-0.5, 1]]), "values from -0.5 to 1"),
        (np.float32([[0, np.nan]]), "values from nan to nan"),
        (np.int32([[0, 70_000]]), "values from 0 to 70000; 0 stands for black and 65,535 for white"),
        (np.int32([[-1, 5]]), "values from -1 to 5"),
    ],
)
def test_an_unknown_white_is_refused(values, found):
    with pytest.raises(InputError, match=found):
        read(encode(Image.fromarray(values), "TIFF"))


def test_tall_deep_pictures_are_converted_in_order():
    values = np.arange(700, dtype=np.uint16)[:, None].repeat(3, axis=1) * 90
    assert np.array_equal(read(encode(Image.fromarray(values), "PNG"))[:, 0, 0], values[:, 0] >> 8)
