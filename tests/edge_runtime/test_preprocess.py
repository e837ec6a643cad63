"""Preprocessing: the tensor has the contract's shape, and each resizing word means what it says."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing
from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.preprocess.image import array_to_image, load_image

RANDOM = np.random.default_rng(0)


def contract(mode="RGB", height=8, width=6, resize="stretch", resize_to=8, interpolation="bilinear"):
    return ImagePreprocessing(
        kind="image",
        mode=mode,
        height=height,
        width=width,
        resize=resize,
        resize_to=resize_to,
        interpolation=interpolation,
        in_graph=(),
        expects="any picture",
    )


def noise(width: int, height: int) -> Image.Image:
    """A smooth random picture, so that a shift by one pixel is a small difference and one by many is not."""
    small = Image.fromarray(RANDOM.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I", "F", "I;16"])
@pytest.mark.parametrize("wanted", ["L", "RGB"])
@pytest.mark.parametrize("resize", ["stretch", "resize_crop"])
def test_every_mode_gives_the_contracts_tensor(mode, wanted, resize):
    found = load_image(encode(Image.new(mode, (31, 17)), "TIFF"), contract(wanted, resize=resize))
    assert (found.shape, found.dtype) == ((1, 8, 6, 1 if wanted == "L" else 3), np.uint8)
    assert found.flags["C_CONTIGUOUS"]
    assert found.flags["WRITEABLE"]


@pytest.mark.parametrize("resize", ["stretch", "resize_crop"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("wanted", ["L", "RGB"])
def test_a_picture_of_the_right_size_passes_bit_for_bit(resize, interpolation, wanted):
    pixels = RANDOM.integers(0, 256, (1, 8, 6, 1 if wanted == "L" else 3), dtype=np.uint8)
    as_wanted = contract(wanted, resize=resize, resize_to=30, interpolation=interpolation)
    assert np.array_equal(load_image(encode(array_to_image(pixels)), as_wanted), pixels)


def test_grey_stays_the_same_in_colour_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    colour = load_image(encode(array_to_image(pixels)), contract("RGB", 16, 16))
    assert np.array_equal(colour, pixels.repeat(3, axis=3))
    assert np.array_equal(load_image(encode(array_to_image(colour)), contract("L", 16, 16)), pixels)


@pytest.mark.parametrize(("colour", "grey"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_colour_becomes_grey_by_bt_601(colour, grey):
    assert np.unique(load_image(encode(Image.new("RGB", (9, 9), colour)), contract("L"))).tolist() == [grey]


def test_path_text_and_bytes_give_the_same(tmp_path):
    image = noise(40, 30)
    image.save(tmp_path / "a.png")
    expected = load_image(encode(image), contract())
    for source in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(load_image(source, contract()), expected)


def test_invert_makes_the_negative_after_white_was_put_behind():
    ink = Image.new("RGBA", (6, 8), (0, 0, 0, 0))
    ink.putpixel((2, 3), (0, 0, 0, 255))
    found = load_image(encode(ink), contract("L"), invert=True)[0, :, :, 0]
    assert (found[3, 2], found.sum()) == (255, 255)  # one white point on black


@pytest.mark.parametrize(("interpolation", "spread"), [("nearest", 255), ("bilinear", 0), ("bicubic", 0)])
def test_shrinking_is_antialiased_except_nearest(interpolation, spread):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, 1::2] = 255
    stripes[::4, :] = 255 - stripes[::4, :]
    found = load_image(encode(Image.fromarray(stripes)), contract("L", 8, 7, interpolation=interpolation)).astype(int)
    assert np.ptp(found[0, 1:-1, 1:-1]) == pytest.approx(spread, abs=40)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 30), (30, 40), (41, 29), (9, 13), (200, 20), (7, 7)])
def test_resize_crop_is_scaling_the_shorter_side_then_cutting_the_centre(interpolation, size):
    image, (height, width), to = noise(*size), (10, 8), 12
    scaled = [to * side // min(size) for side in size]
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    resampling = {"bilinear": 2, "bicubic": 3}[interpolation]
    whole = image.resize((scaled[0], size[1]), resampling).resize(scaled, resampling)
    expected = np.asarray(whole.crop((left, top, left + width, top + height)), dtype=int)
    found = load_image(encode(image), contract("RGB", height, width, "resize_crop", to, interpolation))
    assert np.abs(found[0] - expected).max() <= 1


def test_a_long_strip_is_not_scaled_up_as_a_whole():
    """Whole, this would be 224 x 14,680,064 pixels."""
    strip = Image.new("L", (1, 65_535), 7)
    found = load_image(encode(strip), contract("L", 224, 224, "resize_crop", 224))
    assert np.unique(found).tolist() == [7]


def test_a_contract_that_cuts_out_more_than_is_left_cannot_be_made():
    with pytest.raises(ValueError, match="resize_to 7 is too small to cut 8 x 6 out of"):
        contract(resize="resize_crop", resize_to=7)


@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    resize=st.sampled_from(["stretch", "resize_crop"]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_any_size_gives_any_size_and_keeps_a_plain_colour(size, target, resize, interpolation):
    wanted = contract("RGB", *target, resize, 40, interpolation)
    found = load_image(encode(Image.new("RGB", size, (1, 130, 254))), wanted)
    assert found.shape == (1, *target, 3)
    assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [[1, 130, 254]]


@pytest.mark.parametrize("resize", ["stretch", "resize_crop"])
def test_the_middle_stays_in_the_middle(resize):
    image = Image.new("L", (90, 60))
    image.paste(255, (30, 20, 60, 40))
    found = load_image(encode(image), contract("L", 12, 12, resize, 12))[0, :, :, 0]
    assert np.abs(found.astype(int) - found[::-1, ::-1]).max() <= 1


@pytest.mark.parametrize("shape", [(8, 6, 3), (1, 8, 6, 3), (8, 6, 1), (1, 8, 6, 1)])
def test_a_tensor_is_shown_as_it_is(shape):
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(array_to_image(pixels)).ravel(), pixels.ravel())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 8, 6, 3), np.uint8),
        np.zeros((8, 6), np.uint8),
        np.zeros((1, 8, 6, 4), np.uint8),
        np.zeros((1, 8, 6, 3), np.float32),
        np.zeros((1, 0, 6, 3), np.uint8),
    ],
)
def test_what_is_no_picture_tensor_is_not_shown(array):
    with pytest.raises(InputError, match=r"found \w+ \("):
        array_to_image(array)


def test_a_refusal_names_the_file(tmp_path):
    (tmp_path / "cut.png").write_bytes(encode(noise(30, 30))[:200])
    with pytest.raises(InputError, match=r"cut\.png is damaged, cut short"):
        load_image(tmp_path / "cut.png", contract())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 44), (2, 700), (40, 300), (300, 40)])
def test_pictures_are_resized_across_and_then_down_by_every_pillow(tmp_path, interpolation, size):
    """Pillow 12 begins with the other direction above 100 times as tall as wide, Pillow 13 wherever that is cheaper."""
    image, resampling = noise(*size), {"bilinear": 2, "bicubic": 3}[interpolation]
    expected = np.asarray(image.resize((9, size[1]), resampling).resize((9, 7), resampling))
    image.save(tmp_path / "picture.png")
    found = load_image(tmp_path / "picture.png", contract("RGB", 7, 9, interpolation=interpolation))
    np.testing.assert_array_equal(found[0], expected)
