"""docs/BUNDLE.md is enough to write another reader: the example is real, the numbers are ours, the recipes work."""

import hashlib
import io
import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from tiny_bundle import PICTURE, make_bundle

from edgekit.edge_runtime.bundle import archive, format1, limits, manifest, verdict
from edgekit.edge_runtime.bundle.golden import _ENTRY_BYTES
from edgekit.edge_runtime.bundle.status import STATUSES
from edgekit.edge_runtime.engines import ENGINES, RUNS_CODE
from edgekit.edge_runtime.preprocess import pictures
from edgekit.edge_runtime.preprocess.image import load_image
from edgekit.edge_runtime.tasks.holds import HOLDS
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE
from edgekit.edge_runtime.tasks.registry import TASKS
from edgekit.edge_runtime.tasks.variation import ROUNDING

TEXT, OLD = ((ROOT / "docs" / name).read_text() for name in ("BUNDLE.md", "BUNDLE-1.md"))


@pytest.mark.parametrize(("page", "format_version"), [("BUNDLE.md", 2), ("BUNDLE-1.md", 1)])
def test_the_example_is_what_the_code_writes(tmp_path, page, format_version):
    made = make_bundle(tmp_path, name="quarters-onnx-fp32", format_version=format_version)
    written = (made / "manifest.json").read_text()
    wanted = f"<!-- example -->\n\n```json\n{written}```\n\n<!-- end -->"
    assert wanted in (ROOT / "docs" / page).read_text(), f"put this between the marks of {page}:\n{wanted}"


@pytest.mark.parametrize("format_version", [1, 2])
def test_the_checksum_is_that_of_the_other_lines(tmp_path, format_version):
    """As a reader without Python would do it."""
    raw = (make_bundle(tmp_path, name="x", format_version=format_version) / "manifest.json").read_bytes()
    (line,) = re.findall(rb'\n  "sha256": "([0-9a-f]{64})",', raw)
    assert hashlib.sha256(raw.replace(b'\n  "sha256": "' + line + b'",', b"", 1)).hexdigest() == line.decode()


JSON = limits.JSON_LIMITS


@pytest.mark.parametrize(
    "said",
    [
        f"| `manifest.json`, an attestation | {limits.MAX_MANIFEST_BYTES:,} bytes |",
        f"JSON of at most {limits.MAX_MANIFEST_BYTES:,} bytes",
        f"| JSON: brackets within brackets | {JSON.depth} |",
        f"| JSON: commas outside of texts | {JSON.commas:,} |",
        f"| JSON: entries of a list | {JSON.items:,} |",
        f"| JSON: fields of an object | {JSON.fields:,} |",
        f"| JSON: code points of a text; of a field's name | {JSON.text:,}; {JSON.key} |",
        f"| programs | {limits.MAX_PROGRAMS} |",
        f"| inputs of a program; outputs | {limits.MAX_TENSORS}; {limits.MAX_TENSORS} |",
        f"| engines of a program; entries of `requires` | {limits.MAX_ENGINES}; {limits.MAX_ENGINES} |",
        f"| `features` | object of texts, at most {limits.MAX_FEATURES} |",
        f"| axes of a tensor | {limits.MAX_RANK} |",
        f"1 to {limits.MAX_SIDE:,}; at least one, at most {limits.MAX_RANK} of them",
        f"1 to {limits.MAX_PICTURE_SIDE} |",
        f"| `max_detections` | whole number, 1 to {limits.MAX_DETECTIONS:,} |",
        f"| `bytes` | whole number, 0 to {limits.MAX_FILE_BYTES:,} |",
        f"{limits.MAX_FILE_BYTES >> 30} GiB; {limits.MAX_BUNDLE_BYTES >> 30} GiB |",
        f"| a golden file | {limits.MAX_GOLDEN_BYTES >> 30} GiB,",
        f"at most {limits.MAX_GOLDEN_BYTES >> 30} GiB, every member stored",
        f"more than {_ENTRY_BYTES} bytes of directory for each",
        f"of at most {limits.MAX_SIGNATURE_BYTES >> 20} MiB",
        f"| a `.zip` | {archive.MAX_MEMBERS} members, 4 GiB |",
        f"1 to {archive.MAX_MEMBERS} members",
        f"go up to {verdict.MAX_SAMPLES:,}",
        f"at most {pictures.MAX_FILE_BYTES >> 20} MiB, {pictures.MAX_PIXELS // 10**6} megapixels and "
        f"{pictures.MAX_SIDE:,}",
        f"more than {pictures.MAX_PIXELS:,} pixels before the cut",
        f"{NOT_FINITE!r} stands for them",
        f"version made by {archive._MADE_BY} ",
        f"date {archive._DATE} ",
        f"The bundle, format {manifest.FORMAT_VERSION}",
        f"more than {ROUNDING:f} of the largest magnitude",
    ],
)
def test_limits_are_the_code_s(said):
    assert said in " ".join(TEXT.split())


@pytest.mark.parametrize(
    "said",
    [
        "The bundle, format 1",
        f"1 to {limits.MAX_SIDE:,}; at most {limits.MAX_RANK} of them",
        f"whole number, 0 to {limits.MAX_FILE_BYTES:,} |",
    ],
)
def test_limits_of_format_1_are_the_code_s(said):
    assert said in " ".join(OLD.split())
    assert (format1.MAX_PICTURE_SIDE, limits.MAX_PICTURE_SIDE) == (8192, 8192)


def test_every_name_that_a_manifest_can_hold_is_explained():
    metrics = {known.metric().name for known in TASKS.values()}
    shared = {*ENGINES, *RUNS_CODE, *TASKS, *metrics}
    assert {name for name in {*shared, *HOLDS, *STATUSES} if f"`{name}`" not in TEXT} == set()
    shared -= {"multi_label", "label_f1", "detection", "mean_average_precision"}  # of format 2 alone
    old = {"verified", "stages_verified", "unverified", "not_run"}
    assert {name for name in {*shared, *old} if f"`{name}`" not in OLD} == set()


@pytest.mark.parametrize("status", STATUSES)
def test_statuses_mean_here_what_they_mean_everywhere(status):
    row = f"| `{status}` | {STATUSES[status].means} |"
    assert row in TEXT
    assert row in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_takes_is_the_code_s(task):
    takes = f"`{TASKS[task].takes}`" if TASKS[task].takes else "anything"
    assert f"| `{task}` | {takes} " in TEXT


def upright_halves(number):
    """To the nearest whole number, halves to the even one."""
    below = math.floor(number)
    return below + (number - below > 0.5 or (number - below == 0.5 and below % 2 == 1))


def box_of(size, contract):
    """Step 6: (first, end) of the box along each axis."""
    if contract.resize != "resize_crop":
        return [(0, n) for n in size]
    scaled = [contract.resize_to * n // min(size) for n in size]
    cuts = (contract.width, contract.height)
    firsts = [upright_halves((m - c) / 2) for m, c in zip(scaled, cuts, strict=True)]
    return [(f * n / m, (f + c) * n / m) for f, c, n, m in zip(firsts, cuts, size, scaled, strict=True)]


def kernel(t, interpolation):
    t = abs(t)
    if interpolation == "bilinear":
        return max(0.0, 1 - t)
    if t < 1:
        return (1.5 * t - 2.5) * t * t + 1
    return ((-0.5 * t + 2.5) * t - 4) * t + 2 if t < 2 else 0.0


def resized(pixels, box, length, interpolation):
    """Step 7 along the first axis of (n, …) uint8."""
    n, (first, end) = len(pixels), map(np.float32, box)
    r, first, end = float(end - first) / length, float(first), float(end)
    if interpolation == "nearest":
        return pixels[[math.floor(place) for place in itertools.accumulate([first + r / 2, *[r] * (length - 1)])]]
    if (first, end) == (0, n) and length == n:
        return pixels
    q, rows = max(1.0, r), []
    support = q * (1 if interpolation == "bilinear" else 2)
    for x in range(length):
        z = first + (x + 0.5) * r
        seen = range(max(0, math.floor(z - support + 0.5)), min(n, math.floor(z + support + 0.5)))
        weights = [kernel((i + 0.5 - z) / q, interpolation) for i in seen]
        whole = [int(math.copysign(math.floor(abs(w) / sum(weights) * 2**22 + 0.5), w)) for w in weights]
        total = sum(w * pixels[i].astype(np.int64) for w, i in zip(whole, seen, strict=True))
        rows.append(np.clip((total + 2**21) >> 22, 0, 255).astype(np.uint8))
    return np.stack(rows)


def png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


RULES = [
    ("stretch", 9),
    ("resize_crop", 9),
    ("resize_crop", 14),
    ("resize_center_crop", 9),
    ("resize_center_crop", 14),
]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "resize_to"), RULES)
@pytest.mark.parametrize("size", [(31, 17), (5, 44), (9, 7), (8, 6), (16, 9), (14, 14)])
def test_a_picture_resized_by_the_document_alone_is_ours_to_the_bit(size, resize, resize_to, interpolation):
    colour = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    options = {"resize": resize, "resize_to": resize_to, "interpolation": interpolation}
    contract = replace(PICTURE, mode="L", height=7, width=9, **options)
    red, green, blue = np.moveaxis(colour.astype(np.int64), 2, 0)
    grey = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)
    whole = [resize_to * n // min(size) for n in size] if resize == "resize_center_crop" else [9, 7]
    across, down = box_of(size, contract)
    if size != tuple(whole):
        grey = resized(grey.T, across, whole[0], interpolation).T
        grey = resized(grey, down, whole[1], interpolation)
    left, top = (upright_halves((m - c) / 2) for m, c in zip(whole, (9, 7), strict=True))
    grey = grey[top : top + 7, left : left + 9]
    np.testing.assert_array_equal(load_image(png(Image.fromarray(colour)), contract)[0, :, :, 0], grey)


def test_transparency_by_the_document_alone_is_ours_to_the_bit():
    v, a = (grid.astype(np.int64) for grid in np.meshgrid(np.arange(256), np.arange(256)))
    t = v * a + 255 * (255 - a) + 128
    picture = Image.fromarray(np.stack([v, v, v, a], axis=2).astype(np.uint8))
    contract = replace(PICTURE, mode="RGB", height=256, width=256)
    np.testing.assert_array_equal(load_image(png(picture), contract)[0, :, :, 1], ((t >> 8) + t) >> 8)


def test_sixteen_bits_by_the_document_alone_are_ours_to_the_bit():
    values = np.arange(0, 65536, 4, dtype=np.uint16).reshape(128, 128)
    contract = replace(PICTURE, height=128, width=128)
    np.testing.assert_array_equal(load_image(png(Image.fromarray(values)), contract)[0, :, :, 0], values >> 8)


def test_normalized_pixels_by_the_document_alone_are_ours_to_the_bit():
    colour = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    contract = replace(PICTURE, mode="RGB", height=7, width=9, layout="NCHW", dtype="float32", mean=mean, std=std)
    pixels = load_image(png(Image.fromarray(colour)), contract)
    assert pixels.shape == (1, 3, 7, 9)
    for y, x, c in itertools.product(range(7), range(9), range(3)):
        assert pixels[0, c, y, x] == np.float32((int(colour[y, x, c]) / 255 - mean[c]) / std[c])
