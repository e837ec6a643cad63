"""The apps for Linux: built here, run in an empty environment, and, for ARM64, on an emulated processor."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import arm64
import numpy as np
import pytest
from conftest import run_edgekit
from engine_bundles import free_batch_bundle
from PIL import Image
from tiny_bundle import change_manifest, make_bundle, quarter_weights

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.devices.linux import kernels, libraries, toolchain
from edgekit.edge_runtime.loading import load_engine
from edgekit.edge_runtime.preprocess.image import load_image

NAMES = ("executorch_xnnpack-fp32", "executorch_xnnpack-w8a8_static", "onnx-w8a8_static")
if not libraries.native("x86_64"):
    pytest.skip("the app for linux-x86 is made on such a machine", allow_module_level=True)
if toolchain.compiler("x86_64") is None or toolchain.stb_folder() is None:
    pytest.skip("no g++ or no stb_image.h (apt-get install g++ libstb-dev)", allow_module_level=True)


def made(quickstart, out, device, *options, names=NAMES):
    done = run_edgekit("app", device, *(quickstart.bundle(name) for name in names), "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def app(quickstart, tmp_path_factory):
    return made(quickstart, tmp_path_factory.mktemp("x86") / "app", "linux-x86")


@pytest.fixture(scope="module")
def run(app):
    """The runner of `app`, in an environment without any variable."""

    def call(*words):
        command = [app / "edgekit-run", *map(str, words)]
        return subprocess.run(command, env={}, cwd=app, capture_output=True, text=True, timeout=120)

    return call


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny"), name="quarters-onnx-fp32")


def check_result(result, name, device):
    floor = 100 if "fp32" in name else 40
    assert result["passed"] is True
    assert result["bundle"] == f"digits_cnn-{name}"
    assert result["device"] == device
    (output,) = result["results"]
    assert (output["samples"], output["agreement"], output["sqnr_db"] > floor) == (32, 1.0, True)


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_samples_are_replayed_without_python(run, name):
    result = json.loads(run(f"bundles/digits_cnn-{name}", "--self-test", "--json").stdout)
    check_result(result, name, "linux-x86")
    assert result["results"][0]["max_abs_since_packed"] < 0.02
    assert result["latency"]["runs"] >= 100
    assert 0 < result["latency"]["p10_ms"] <= result["latency"]["median_ms"] <= result["latency"]["p90_ms"]


def test_the_folder_holds_all_that_it_needs(app, quickstart):
    needed = subprocess.run(["ldd", app / "edgekit-run"], capture_output=True, text=True).stdout
    assert "not found" not in needed
    assert needed.count(str(app / "lib")) == 5
    for name in NAMES:
        original, copy = quickstart.bundle(name), app / "bundles" / f"digits_cnn-{name}"
        assert {p.name: p.read_bytes() for p in original.iterdir()} == {p.name: p.read_bytes() for p in copy.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_an_array_gets_the_answer_that_python_gives(run, quickstart, tmp_path, name):
    with Bundle.open(quickstart.bundle(name)) as bundle, load_engine(bundle) as engine:
        image = bundle.golden().inputs["image"][3:4]
        expected = engine.run({"image": image})["probabilities"]
    np.save(tmp_path / "in.npy", image)
    assert run(f"bundles/digits_cnn-{name}", tmp_path / "in.npy", "--out", tmp_path / "out.npy").stderr == ""
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6 if "fp32" in name else 0.02)
    shown = run(f"bundles/digits_cnn-{name}", tmp_path / "in.npy").stdout.split()
    assert int(shown[0]) == expected.argmax()


PICTURES = {
    "RGB": ("RGB", (37, 91), {}),
    "grey": ("L", (64, 40), {}),
    "alpha": ("RGBA", (50, 23), {}),
    "grey with alpha": ("LA", (21, 30), {}),
    "palette": ("P", (33, 20), {}),
    "upright": ("RGB", (20, 12), {}),
}
CONTRACTS = [
    ("stretch", "bilinear", 16, 12, 16),
    ("stretch", "bicubic", 100, 90, 16),
    ("stretch", "nearest", 13, 29, 16),
    ("resize_crop", "bilinear", 24, 24, 28),
    ("resize_crop", "bicubic", 24, 20, 27),
    ("resize_center_crop", "bilinear", 24, 23, 32),
    ("resize_center_crop", "nearest", 15, 24, 31),
]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: f"{c[0]}-{c[1]}")
def test_a_picture_becomes_what_python_makes_of_it(run, tiny, tmp_path, contract, mode):
    resize, interpolation, height, width, resize_to = contract
    raw = Bundle.open(tiny).manifest.preprocessing
    spec = replace(
        raw, mode=mode, resize=resize, interpolation=interpolation, height=height, width=width, resize_to=resize_to
    )
    folder = shutil.copytree(tiny, tmp_path / "bundle")
    change_manifest(
        folder,
        preprocessing=spec,
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, height, width, spec.channels)),),
    )
    draw = np.random.default_rng(7)
    for name, (kind, size, options) in PICTURES.items():
        pixels = draw.integers(0, 256, (size[1], size[0], 4), np.uint8)
        picture = Image.fromarray(pixels, "RGBA").convert(kind)
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "upright" else 1
        picture.save(tmp_path / "picture.png", exif=exif, **options)
        done = run(folder, tmp_path / "picture.png", "--input-to", tmp_path / "input.npy")
        assert done.returncode == 0, done.stderr
        wanted = load_image(tmp_path / "picture.png", spec)
        np.testing.assert_array_equal(np.load(tmp_path / "input.npy"), wanted, err_msg=name)


def test_normalized_input_is_the_same_number(run, tiny, tmp_path):
    raw = Bundle.open(tiny).manifest.preprocessing
    spec = replace(raw, mode="RGB", layout="NCHW", dtype="float32", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    folder = shutil.copytree(tiny, tmp_path / "bundle")
    change_manifest(folder, preprocessing=spec, inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 8, 8)),))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "picture.png")
    assert run(folder, tmp_path / "picture.png", "--input-to", tmp_path / "input.npy").returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "input.npy"), load_image(tmp_path / "picture.png", spec))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(run, tiny, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.kron(np.random.default_rng(1).integers(0, 256, (4, 4), np.uint8), np.ones((16, 16), np.uint8))
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    run(tiny, tmp_path / "photo.jpg", "--input-to", tmp_path / "input.npy")
    wanted = load_image(tmp_path / "photo.jpg", Bundle.open(tiny).manifest.preprocessing)
    assert np.abs(np.load(tmp_path / "input.npy").astype(int) - wanted).max() <= 3  # decoders of JPEG differ


def damaged(folder, what):
    """Damages a copy of the tiny bundle."""
    if what == "model":
        raw = bytearray((folder / "model.onnx").read_bytes())
        raw[100] ^= 1
        (folder / "model.onnx").write_bytes(raw)
    elif what == "manifest":
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace('"top left"', '"top loft"'))
    elif what == "json":
        (folder / "manifest.json").write_text("{")
    elif what == "newer":
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace('"format_version": 2', '"format_version": 3'))
    elif what == "cut":
        os.truncate(folder / "golden.npz", 100)
    elif what == "neighbour":
        (folder / "weights.bin").write_bytes(b"")
    elif what == "link":
        (folder / "model.onnx").rename(folder.parent / "elsewhere")
        (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")
    return folder


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("model", "its SHA-256 is not the one in the manifest"),
        ("manifest", "manifest.json was changed"),
        ("json", "manifest.json is not valid JSON"),
        ("newer", "is in format 3, and this runner reads format 2"),
        ("cut", "has 100 bytes, and the manifest says"),
        ("neighbour", "holds weights.bin, which is not of the bundle"),
        ("link", "is missing, or is no regular file"),
    ],
)
def test_a_damaged_bundle_is_refused_in_one_sentence(run, tiny, tmp_path, what, said):
    done = run(damaged(shutil.copytree(tiny, tmp_path / "bundle"), what), "--self-test")
    assert done.returncode == 1
    assert done.stderr.startswith("edgekit-run: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_other_answers_than_the_golden_ones_fail(run, tmp_path):
    path = make_bundle(tmp_path, name="quarters-onnx-fp32", weights=-quarter_weights())
    done = run(path, "--self-test")
    assert done.returncode == 1
    assert "does not give its golden answers here: probabilities missed its floor" in done.stderr


def test_a_free_batch_is_replayed_in_batches_too(run, tmp_path):
    done = run(free_batch_bundle(tmp_path), "--self-test", "--json")
    assert (done.returncode, json.loads(done.stdout)["passed"]) == (0, True)
    change_manifest(tmp_path / "quarters-free-fp32", status="undecided")
    assert "quarters-free-fp32 is undecided" in run(tmp_path / "quarters-free-fp32", "--self-test").stderr


def test_without_a_compiler_the_folder_has_the_sources(quickstart, tmp_path):
    (tmp_path / "empty").mkdir()
    words = ("app", "linux-x86", quickstart.bundle(NAMES[0]), "--out", tmp_path / "app")
    done = run_edgekit(*words, env={"PATH": str(tmp_path / "empty"), "CXX": ""})
    assert done.returncode == 0, done.stderr
    assert "apt-get install g++ libstb-dev" in done.stdout
    assert not (tmp_path / "app/edgekit-run").exists()
    assert (tmp_path / "app/source/main.cpp").is_file()


def test_a_missing_picture_decoder_is_named(quickstart, tmp_path):
    words = ("app", "linux-x86", quickstart.bundle(NAMES[0]), "--out", tmp_path / "app")
    done = run_edgekit(*words, env={"EDGEKIT_STB": str(tmp_path)})
    assert done.returncode == 1
    assert "Run: apt-get install libstb-dev" in done.stderr


def test_a_format_that_it_cannot_run_is_named(run, quickstart):
    done = run(quickstart.bundle("torchscript_traced-fp32"), "--self-test")
    assert done.returncode == 1
    assert "a model file of the format torchscript, and this runner runs none such" in done.stderr


def test_what_is_not_of_the_input_is_named(run, tiny, tmp_path):
    np.save(tmp_path / "wrong.npy", np.zeros((1, 8, 8, 3), np.uint8))
    assert "the input image is uint8 [1, 8, 8, 1], found uint8 [1, 8, 8, 3]" in run(tiny, tmp_path / "wrong.npy").stderr
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert "is damaged" in run(tiny, tmp_path / "picture.png").stderr
    assert run(tiny, "--row", "1,2").returncode == 1
    assert run(tiny).returncode == 2


def test_a_library_for_another_processor_is_named(app, tiny, tmp_path):
    other = shutil.copytree(app, tmp_path / "app", symlinks=True)
    library = bytearray((other / "lib/libonnxruntime.so.1").read_bytes())
    library[18] = 183  # e_machine: AArch64
    (other / "lib/libonnxruntime.so.1").write_bytes(library)
    done = subprocess.run([other / "edgekit-run", tiny, "--self-test"], env={}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ONNX Runtime cannot be loaded" in done.stderr


def test_the_operators_outside_the_delegate_are_read_from_the_file(quickstart):
    program = quickstart.bundle("executorch_xnnpack-fp32") / "model.pte"
    assert kernels.operators(program) == {"dim_order_ops::_to_dim_order_copy.out"}
    folder = libraries.executorch("x86_64").folder / "lib"
    assert kernels.kernel_libraries([program], folder) == ((), True)


def test_a_bundle_of_another_format_is_refused(quickstart, tmp_path):
    done = run_edgekit("app", "linux-x86", quickstart.bundle("torchscript_traced-fp32"), "--out", tmp_path / "app")
    assert done.returncode == 1
    assert "the format torchscript, and linux-x86 runs executorch or onnx" in done.stderr
    assert not (tmp_path / "app").exists()


@pytest.mark.slow
def test_minimal_leaves_out_the_kernels(quickstart, tmp_path):
    app = made(quickstart, tmp_path / "app", "linux-x86", "--minimal", names=NAMES[:2])
    assert sum(path.stat().st_size for path in app.rglob("*") if path.is_file()) < 4.5e6
    for name in NAMES[:2]:
        command = [app / "edgekit-run", f"bundles/digits_cnn-{name}", "--self-test", "--json"]
        check_result(json.loads(subprocess.check_output(command, cwd=app, env={})), name, "linux-x86")


@pytest.mark.slow
def test_a_kernel_that_was_left_out_is_named(quickstart, tmp_path):
    build = toolchain.Build(
        device="linux-x86",
        machine="x86_64",
        executorch=libraries.executorch("x86_64"),
        libraries=("executorch", "executorch_backend_xnnpack", "executorch_threadpool"),
    )
    bundle = quickstart.bundle("executorch_xnnpack-fp32")
    folder = libraries.executorch("x86_64").folder / "lib"
    environment = {"LD_LIBRARY_PATH": str(folder)}
    done = subprocess.run(
        [toolchain.built(build), bundle, "--self-test"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "OperatorMissing" in done.stderr
    assert "dim_order_ops::_to_dim_order_copy.out" in done.stderr


@pytest.mark.skipif(bool(arm64.missing()), reason=arm64.missing() or "-")
def test_arm64_gives_the_golden_answers_on_an_emulated_cortex_a72(quickstart, tmp_path):
    app = made(quickstart, tmp_path / "app", "linux-arm64")
    before = arm64.emulated(tmp_path / "root")
    for name in NAMES:
        command = [*before, app / "edgekit-run", f"bundles/digits_cnn-{name}", "--self-test", "--json"]
        done = subprocess.run(command, cwd=app, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        check_result(json.loads(done.stdout), name, "linux-arm64")
        assert json.loads(done.stdout)["machine"]["system"].endswith("aarch64")


@pytest.mark.slow
def test_cmake_builds_the_same_program(app, quickstart, tmp_path):
    cmake = shutil.which("cmake")
    version = subprocess.run([cmake, "--version"], capture_output=True, text=True).stdout.split()[2] if cmake else "0.0"
    if tuple(map(int, version.split(".")[:2])) < (3, 28):
        pytest.skip(f"CMake {version} is older than 3.28")
    package = libraries.executorch("x86_64").folder
    subprocess.run(
        [cmake, "-S", app / "source", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={package}"], check=True, capture_output=True
    )
    subprocess.run([cmake, "--build", tmp_path], check=True, capture_output=True)
    command = [tmp_path / "edgekit-run", app / "bundles/digits_cnn-executorch_xnnpack-fp32", "--self-test"]
    assert "passed" in subprocess.check_output(command, text=True)
