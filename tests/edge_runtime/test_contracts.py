"""Both contracts of a picture: raw pixels, and NCHW float32 that the device normalizes; logits become probabilities."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torchvision.transforms as T
from corruptions import rewrite_manifest
from more_bundles import FLOATS, float_answers, make_float_bundle
from PIL import Image
from tiny_bundle import LABELS, PICTURE, make_bundle, quarter_pictures
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime import engines
from edgekit.edge_runtime.benchmark.measure import bundle_candidate
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import BundleError, InputError
from edgekit.edge_runtime.preprocess.image import array_to_image, load_image, normalized, pixels_of
from edgekit.edge_runtime.worker.replay import replay

COLOUR = replace(FLOATS, mode="RGB", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WAYS = {
    "nearest": T.InterpolationMode.NEAREST,
    "bilinear": T.InterpolationMode.BILINEAR,
    "bicubic": T.InterpolationMode.BICUBIC,
}


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    return make_float_bundle(tmp_path_factory.mktemp("floats"))


def picture(size, seed=0, mode="RGB"):
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def loaded(image, contract):
    file = io.BytesIO()
    image.save(file, "PNG")
    return load_image(file.getvalue(), contract)


def test_the_device_normalizes_each_channel_and_puts_it_first():
    image = picture((8, 8))
    raw, found = loaded(image, replace(PICTURE, mode="RGB")), loaded(image, replace(COLOUR, resize_to=8))
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (1, 3, 8, 8), True)
    for channel, (mean, std) in enumerate(zip(COLOUR.mean, COLOUR.std, strict=True)):
        wanted = ((raw[0, :, :, channel].astype(np.float64) / 255 - mean) / std).astype(np.float32)
        np.testing.assert_array_equal(found[0, channel], wanted)
    np.testing.assert_array_equal(pixels_of(found, COLOUR), raw)


def test_it_is_torchvision_s_normalization_but_for_the_last_digit():
    image = picture((8, 8))
    theirs = T.Compose([T.ToTensor(), T.Normalize(COLOUR.mean, COLOUR.std)])(image).numpy()
    np.testing.assert_allclose(loaded(image, replace(COLOUR, resize_to=8))[0], theirs, rtol=1e-6, atol=1e-6)


def test_every_level_survives_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    contract = replace(FLOATS, mean=(0.1307,), std=(0.3081,))
    np.testing.assert_array_equal(pixels_of(normalized(levels, contract), contract), levels)
    assert normalized(levels, PICTURE) is levels


def test_what_was_never_a_picture_can_still_be_shown():
    noise = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], np.float32).reshape(1, 1, 2, 3)
    shown = pixels_of(noise, FLOATS)
    assert (shown.dtype, shown.shape, int(shown[0, 1, 2, 0])) == (np.uint8, (1, 2, 3, 1), 64)
    assert array_to_image(shown).size == (3, 2)


@pytest.mark.parametrize("interpolation", WAYS)
def test_resize_center_crop_is_torchvision_s_to_the_pixel_at_every_size(interpolation):
    draw, sizes = np.random.default_rng(3), [(20, 20), (14, 9), (9, 14), (1, 40), (300, 7), (640, 480), (8, 9)]
    sizes += [tuple(int(side) for side in draw.integers(1, 300, 2)) for _ in range(60)]
    for i, size in enumerate(sizes):
        height, width = (int(side) for side in draw.integers(1, 21, 2))
        resize_to = 20 if i % 3 else max(height, width)
        contract = replace(
            PICTURE, mode="RGB", height=height, width=width, resize="resize_center_crop", resize_to=resize_to
        )
        image = picture(size, seed=i)
        wanted = T.Compose([T.Resize(resize_to, WAYS[interpolation]), T.CenterCrop((height, width))])(image)
        found = loaded(image, replace(contract, interpolation=interpolation))
        np.testing.assert_array_equal(found[0], np.asarray(wanted), err_msg=f"{size} to {resize_to}, {width}x{height}")


def test_a_picture_of_the_right_size_is_resized_all_the_same():
    """As torchvision does it, and as `resize_crop` never did: those bundles keep their way."""
    image = picture((24, 24), mode="L")
    contract = replace(PICTURE, height=24, width=24, resize="resize_center_crop", resize_to=28)
    theirs = np.asarray(T.Compose([T.Resize(28), T.CenterCrop(24)])(image))
    np.testing.assert_array_equal(loaded(image, contract)[0, :, :, 0], theirs)
    np.testing.assert_array_equal(loaded(image, replace(contract, resize="resize_crop"))[0, :, :, 0], np.asarray(image))
    assert np.abs(theirs.astype(int) - np.asarray(image)).mean() > 10


def test_a_strip_that_would_become_a_gigantic_picture_is_refused():
    contract = replace(PICTURE, resize="resize_center_crop", resize_to=256)
    assert loaded(picture((1, 1500), mode="L"), contract).shape == (1, 8, 8, 1)
    with pytest.raises(InputError, match=r"would have 256 × 15,360,000. Cut out the part that matters"):
        loaded(picture((1, 60_000), mode="L"), contract)


def test_a_float_bundle_is_verified_and_runs(floats):
    assert replay(floats).passed
    pixels, targets = quarter_pictures(12)
    with Bundle.open(floats) as bundle, engines.load(bundle) as engine:
        logits = engine.run({"pixels": normalized(pixels[:1], bundle.manifest.preprocessing)})["logits"]
    odds = np.exp(logits - logits.max())
    np.testing.assert_allclose(odds / odds.sum(), float_answers(pixels[:1]), atol=1e-5)
    assert bundle_candidate(floats).keep_answers({"logits": float_answers(pixels)}).given.tolist() == targets.tolist()


def test_predict_gives_the_same_probabilities_from_pixels_and_from_floats(floats, tmp_path):
    """The one with its softmax in the graph, the other with logits; the same weights behind both."""
    raw = make_bundle(tmp_path, name="raw")
    pixels, targets = quarter_pictures(4)
    paths = []
    for i, picture_of in enumerate(pixels):
        paths.append(tmp_path / f"{i}.png")
        # Larger than both take: the resize rules differ, what is bright does not.
        array_to_image(picture_of).resize((40, 40), Image.Resampling.NEAREST).save(paths[-1])
    said = []
    for bundle in (raw, floats):
        done = CliRunner().invoke(app, ["predict", str(bundle), *map(str, paths), "--json"])
        assert done.exit_code == 0, done.output
        said.append(json.loads(done.stdout)["answers"])
    assert [answer["label"] for answer in said[1]] == [LABELS[target] for target in targets]
    for left, right in zip(*said, strict=True):
        assert left["label"] == right["label"]
        assert left["probability"] == pytest.approx(right["probability"], abs=0.1)
    same = make_float_bundle(tmp_path, preprocessing=replace(FLOATS, resize="stretch"))
    done = CliRunner().invoke(app, ["predict", str(same), *map(str, paths), "--json"])
    for left, right in zip(said[0], json.loads(done.stdout)["answers"], strict=True):
        assert left["probability"] == pytest.approx(right["probability"], abs=1e-5)


def test_inspect_says_who_normalizes(floats):
    done = CliRunner().invoke(app, ["inspect", str(floats)])
    assert "the device normalizes it: mean 0.25, std 0.5" in done.stdout
    assert "logits float32 [1, 4] (logits)" in done.stdout


def test_an_output_that_its_task_cannot_read_is_refused(floats, tmp_path):
    copy = make_float_bundle(tmp_path, name="wrong")
    rewrite_manifest(copy, lambda data: data["programs"][0]["outputs"][0].update(holds="boxes"))
    with pytest.raises(BundleError, match="which takes probabilities, but its first output holds boxes"):
        replay(copy)
