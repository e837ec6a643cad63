"""Files that are no pictures, damaged, cut short or made to hurt: each is refused in words and costs no memory."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.preprocess.pictures import MAX_FILE_BYTES, open_picture, plain_picture

RANDOM = np.random.default_rng(0)
NOISE = Image.fromarray(RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8))


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


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", "is empty"),
        (b"hello", r"starts with b'hello'. Save it as JPEG, PNG, GIF, BMP, WebP, TIFF or PPM"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "starts with b'%!PS-Ado'"),
        (b"\x89PNG\r\n\x1a\n", "looks like a PNG file, but its header is damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "damaged"),
        (png(0, 0, 8, 2, b""), "looks like a PNG file, but its header is damaged or says 0 × 0 pixels"),
        (b"P6 0 0 255\n", "0 × 0 pixels"),
        (png(30_000, 30_000, 8, 2, b""), "has 30,000 × 30,000 pixels; the limits are 100 megapixels"),
        (png(70_000, 1, 8, 2, b""), "has 70,000 × 1 pixels; the limits are .* 65,535 pixels on a side"),
        (png(2**31 - 1, 2**31 - 1, 8, 2, b""), "has 2,147,483,647 × 2,147,483,647 pixels"),
        (b"\xff\xd8\xff" + bytes(MAX_FILE_BYTES), "has 67,108,867 bytes; the limit is 67,108,864"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_picture_is_refused(raw, found):
    with pytest.raises(InputError, match=found):
        read(raw)


def test_a_picture_in_memory_without_pixels_is_refused():
    with pytest.raises(InputError, match="has 0 × 5 pixels"):
        plain_picture(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_that_was_cut_short_is_refused(kind, share):
    raw = encode(NOISE, kind)
    with pytest.raises(InputError, match="the picture .*damaged"):
        read(raw[: int(len(raw) * share)])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("missing.png", "there is no picture at .*missing.png. Check the path"),
        (".", "is a folder, not a picture"),
        ("pipe", "pipe is not a regular file"),
        ("loop", "loop cannot be read: .*[Ss]ymbolic"),
        ("x" * 300, "cannot be read: .*too long"),
        ("nul\0.png", "cannot be read: embedded null"),
        ("huge.png", "huge.png has 5,368,709,120 bytes"),
        ("text.png", "text.png is not a picture of a known format"),
    ],
)
def test_a_path_to_no_picture_is_refused(tmp_path, path, found):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "text.png").write_text("hello")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(5 << 30)  # sparse: takes no space
    with pytest.raises(InputError, match=found):
        open_picture(tmp_path / path)


FORMATS = {
    "jpeg": encode(NOISE, "JPEG"),
    "jpeg-progressive": encode(NOISE, "JPEG", progressive=True),
    "jpeg-cmyk": encode(NOISE.convert("CMYK"), "JPEG"),
    "png": encode(NOISE, "PNG"),
    "png-palette": encode(NOISE.quantize(16), "PNG", transparency=3),
    "gif": encode(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(9)]),
    "tiff": encode(NOISE, "TIFF"),
    "tiff-float": encode(Image.fromarray(RANDOM.random((9, 9), dtype=np.float32)), "TIFF"),
    "tiff-deflate": encode(NOISE, "TIFF", compression="tiff_deflate"),
    "webp": encode(NOISE, "WEBP"),
    "webp-alpha": encode(NOISE.convert("RGBA"), "WEBP", lossless=True),
    "bmp": encode(NOISE, "BMP"),
    "ppm": encode(NOISE, "PPM"),
}


def width_or_refusal(raw: bytes) -> int:
    """The width in pixels, or 0 for a refusal; whatever else is raised fails the test."""
    try:
        return plain_picture(open_picture(raw)).width
    except InputError:
        return 0


@pytest.mark.parametrize("kind", FORMATS)
@settings(deadline=None, max_examples=60)
@given(edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), cut=st.integers(0, 5000))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_picture_is_read_or_refused(kind, edits, cut):
    raw = bytearray(FORMATS[kind][: cut or None])
    for at, value in edits:
        raw[at % len(raw)] = value
    assert width_or_refusal(bytes(raw)) <= 65_535


@settings(deadline=None, max_examples=300)
@given(start=st.sampled_from([b"", b"GIF89a", b"BM", b"II*\0", b"P6 9 9 255\n", b"\xff\xd8\xff"]), rest=st.binary())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_bytes_are_read_or_refused(start, rest):
    assert width_or_refusal(start + rest) <= 65_535


def webp_of(width: int, height: int) -> bytes:
    raw = bytearray(encode(NOISE, "WEBP"))
    raw[26:30] = struct.pack("<2H", width, height)
    return bytes(raw)


def gif_of(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<2H", width, height) + encode(NOISE, "GIF")[10:]


def bomb(kind: bytes, start: bytes, count: int) -> bytes:
    """A small PNG with `count` chunks of 100 MB each when inflated."""
    packer = zlib.compressobj(9)
    zeros = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    return png(1, 1, 8, 0, b"\0\0", *[chunk(kind, start + zeros)] * count)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_hostile_headers_and_bombs_take_no_memory(tmp_path):
    """Measured in a process of its own: 900 megapixels and 1 GB of text must cost less than 64 MiB more."""
    hostile = [png(30_000, 30_000, 8, 2, b""), webp_of(16_383, 16_383), gif_of(60_000, 60_000)]
    hostile += [bomb(b"iCCP", b"x\0\0", 1), bomb(b"zTXt", b"x\0\0", 10), bomb(b"iTXt", b"x\0\1\0\0\0", 10)]
    for index, raw in enumerate(hostile):
        (tmp_path / str(index)).write_bytes(raw)
    script = """
import resource, sys
from edgekit.edge_runtime.preprocess.pictures import InputError, open_picture, plain_picture
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
for path in sys.argv[1:]:
    try: plain_picture(open_picture(path))
    except InputError as error: print(error, file=sys.stderr)
print(peak() - before)
"""
    paths = [str(tmp_path / str(index)) for index in range(len(hostile))]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 10  # KiB
    assert done.stderr.count("the limits are 100 megapixels") == 3


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_deflate", "packbits", "group4"])
def test_a_library_s_own_lines_become_part_of_ours(compression, capfd):
    """Thirty damaged files each: nothing is written to standard error, and some reasons are libtiff's own."""
    whole, said = encode(NOISE.convert("1" if compression == "group4" else "RGB"), "TIFF", compression=compression), []
    for seed in range(30):
        chance, raw = random.Random(seed), bytearray(whole)
        for _ in range(5):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        try:
            read(bytes(raw))
        except InputError as error:
            said.append(str(error))
    assert capfd.readouterr() == ("", "")
    assert len(said) > 5
    assert all(line.isprintable() and len(line) < 500 for line in said)
    assert compression == "packbits" or any("ecod" in line.split("unknown kind: ")[-1] for line in said)
