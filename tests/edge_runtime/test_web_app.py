"""The web app as it is written, and its modules under Node, with the same engine as in a browser."""

import hashlib
import itertools
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, run_edgekit
from engine_bundles import free_batch_bundle
from PIL import Image
from tiny_bundle import PICTURE, change_manifest, make_bundle, quarter_weights, with_program
from web_apps import FP32, INT8, array_of, call, encoded, npy, quarters, web_app

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import OutputSpec, Suppression, TensorSpec
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.devices.web.contract import refuses
from edgekit.edge_runtime.devices.web.engine_files import ARCHIVE
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.errors import BundleError, EngineError
from edgekit.edge_runtime.preprocess.image import load_seen, seen_area
from edgekit.edge_runtime.preprocess.text import last_characters
from edgekit.edge_runtime.tasks.detection import detections
from edgekit.edge_runtime.tasks.holds import HOLDS
from edgekit.edge_runtime.tasks.variation import varying_sqnr_db


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A folder app of the float and the int8 bundle."""
    folder = tmp_path_factory.mktemp("web")
    return web_app(quarters(folder / "bundles"), folder / "app")


def manifest_of(path):
    return read_manifest((path / "manifest.json").read_bytes(), str(path))


def test_it_holds_the_bundles_unchanged_and_names_no_other_place(app):
    bundles = app.parent / "bundles"
    for name, file in itertools.product((FP32, INT8), ("manifest.json", "model.onnx", "golden.npz")):
        assert (app / "bundles" / name / file).read_bytes() == (bundles / name / file).read_bytes()
    ours = [path for path in app.iterdir() if path.suffix in (".js", ".html", ".css", ".webmanifest")]
    assert len(ours) >= 13
    addresses = {found for path in ours for found in re.findall(r"https?://[^\s\"'`)]+", path.read_text())}
    assert addresses == set()
    kept = json.loads(re.search(r"FILES = (\[.*?\]);", (app / "sw.js").read_text())[1])
    left_out = {"sw.js", "check.js", "package.json", "README.md"}
    there = {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()}
    assert set(kept) == (there - left_out) | {"./"}


def test_the_commands_of_its_readme_work(app):
    text = (app / "README.md").read_text()
    assert "quarters-onnx-w8a8_static`: w8a8_static" in text
    assert "node check.js" in text
    done = subprocess.run([shutil.which("node"), "check.js"], cwd=app, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["engine"] == "onnxruntime-web 1.30.0"
    assert [(one["name"], one["passed"]) for one in found["bundles"]] == [(FP32, True), (INT8, True)]


def test_its_answers_are_those_of_python(app):
    """fp32 and int8 within 1e-5: int8 takes the same steps, and only its softmax is in float."""
    for name, found in call(app, ["golden"])[0].items():
        bundle = Bundle.open(app.parent / "bundles" / name)
        golden = bundle.golden()
        with load(bundle) as engine:
            ours = np.concatenate([engine.run(golden.sample(i))["probabilities"] for i in range(golden.samples)])
        theirs = np.array(found["found"]["probabilities"])
        assert np.abs(theirs - ours).max() <= 1e-5, name
        check, reference = found["check"]["outputs"][0], golden.outputs["probabilities"]
        assert check["max_abs"] == pytest.approx(np.abs(theirs - reference).max(), rel=1e-9)
        assert check["sqnr_db"] == pytest.approx(varying_sqnr_db(reference, theirs), abs=1e-6)
        assert (check["agreement"], found["check"]["passed"]) == (1, True)


def pictures():
    draw = np.random.default_rng(0)
    ramp = np.indices((40, 61)).sum(0)[..., None] * np.array([2, 1, 2])
    yield "noise", draw.integers(0, 256, (53, 37, 3), np.uint8)
    yield "wide", draw.integers(0, 256, (9, 120, 3), np.uint8)
    yield "smooth", ramp.astype(np.uint8)
    yield "small", draw.integers(0, 256, (5, 4, 3), np.uint8)
    yield "same", draw.integers(0, 256, (24, 20, 3), np.uint8)
    yield "transparent", draw.integers(0, 256, (33, 47, 4), np.uint8)


def contracts():
    for resize, interpolation, mode in itertools.product(
        ("stretch", "resize_crop", "resize_center_crop"), ("nearest", "bilinear", "bicubic"), ("L", "RGB")
    ):
        yield replace(PICTURE, mode=mode, height=24, width=20, resize=resize, resize_to=29, interpolation=interpolation)
    normal = {"layout": "NCHW", "dtype": "float32", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    yield replace(PICTURE, mode="RGB", height=24, width=20, resize_to=29, resize="resize_crop", **normal)


def test_a_picture_becomes_the_same_numbers_as_in_python(app, tmp_path):
    cases, wanted = [], []
    for name, pixels in pictures():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        rgba = pixels if pixels.shape[2] == 4 else np.concatenate([pixels, opaque], axis=2)
        for contract in contracts():
            tensor, size = load_seen(tmp_path / f"{name}.png", contract, invert=name == "wide")
            wanted.append((name, contract, tensor, seen_area(size, contract)))
            plain = to_plain(contract)
            about = {"width": size[0], "height": size[1], "rgba": encoded(rgba.tobytes()), "invert": name == "wide"}
            cases.append(["picture", about | {"contract": plain}])
    assert len(cases) == 6 * 19
    for (name, contract, tensor, area), found in zip(wanted, call(app, *cases), strict=True):
        made = array_of(found)
        assert (made.dtype, made.shape) == (tensor.dtype, tensor.shape), (name, contract)
        assert np.abs(made.astype(np.float64) - tensor).max() == 0, (name, contract)
        if contract.resize != "resize_center_crop" or name != "same":
            assert tuple(found["seen"].values()) == pytest.approx(area), (name, contract)


def test_hashes_arrays_and_halves(app):
    contents = bytes(range(256)) * 4
    lengths = [0, 1, 55, 56, 63, 64, 65, 1000]
    arrays = [np.arange(6, dtype=dtype).reshape(2, 3) for dtype in ("u1", "i1", "<i4", "<i8", "<f4", "<f8")]
    halves = np.array([0.0, -0.0, 1.0, -2.5, 6.1e-5, 5.96e-8, 65504, np.inf, -np.inf, np.nan], np.float16)
    found = call(
        app,
        *(["hash", encoded(contents[:length])] for length in lengths),
        *(["array", encoded(npy(array))] for array in arrays),
        ["half", halves.view(np.uint16).tolist()],
        ["array", encoded(npy(arrays[0])[:-1])],
        ["array", encoded(b"no array")],
        ["arrays", encoded(b"no archive, though it is as long as one")],
    )
    assert found[:8] == [hashlib.sha256(contents[:length]).hexdigest() for length in lengths]
    for array, packed in zip(arrays, found[8:14], strict=True):
        assert np.array_equal(array_of(packed), array)
    assert [float(value) for value in found[14][:-1]] == halves[:-1].astype(float).tolist()
    assert found[14][-1] == "NaN"
    assert [one["error"].split(". ")[0] for one in found[15:]] == [
        "x.npy is cut short",
        "x.npy is not an array of numbers as numpy.save writes it",
        "x.npz is not a whole .npz file",
    ]


@pytest.mark.parametrize("holds", HOLDS)
def test_a_replay_counts_as_python_does(app, holds):
    draw = np.random.default_rng(3)
    shape = (6, 1, 4, 5) if holds == "mask" else (6, 5, 4)
    r = np.round(draw.normal(0.5, 1, shape), 1)  # with ties
    near = np.where(draw.random(shape) < 0.5, r, r + draw.normal(0, 0.4, shape))
    hole = near.copy()
    hole.flat[7] = np.nan
    same = np.broadcast_to(r[:1], shape)
    calls = [(r, near), (r, hole), (r, r), (same, near), (np.zeros(shape), near)]
    as_json = [[None if np.isnan(x) else x for x in array.ravel()] for pair in calls for array in pair]
    found = call(app, *(["compared", holds, a, b, shape] for a, b in zip(as_json[::2], as_json[1::2], strict=True)))
    for (a, b), (sqnr, agreement) in zip(calls, found, strict=True):
        assert sqnr == pytest.approx(varying_sqnr_db(a, b), abs=1e-9)
        assert agreement == pytest.approx(HOLDS[holds].agreement(a, b), abs=1e-12)


def test_boxes_and_text_are_those_of_python(app):
    draw = np.random.default_rng(5)
    corners = draw.uniform(0, 20, (1, 60, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(1, 12, (1, 60, 2))], axis=2)
    scores = np.round(draw.random((1, 60, 3)), 2)
    suppression = Suppression(score_threshold=0.2, iou_threshold=0.4, max_detections=25)
    texts = ["It is a truth", "“Ünïcode” — yes", "a" * 70]
    found, *codes = call(
        app,
        ["found", scores.ravel().tolist(), boxes.ravel().tolist(), 3, to_plain(suppression)],
        *(["codes", text, 16] for text in texts),
    )
    rows = [[one["index"], one["score"], *one["box"]] for one in found]
    assert len(rows) == 25
    assert np.allclose(rows, detections(scores, boxes, suppression)[0], atol=0)
    assert codes == [last_characters(text, 16).tolist() for text in texts]


READ = [
    ("classification", "logits", [0.0, 2.0, 1.0], ("ranking", "b", [0.6652, 0.2447, 0.09])),
    ("classification", "log_probabilities", np.log([0.2, 0.7, 0.1]).tolist(), ("ranking", "b", [0.7, 0.2, 0.1])),
    ("multi_label", "independent_logits", [3.0, -3.0, 0.0], ("labels", "a, c", [0.9526, 0.5, 0.0474])),
    ("multi_label", "independent_probabilities", [0.1, 0.2, 0.3], ("labels", "none of the labels", [0.3, 0.2, 0.1])),
]


@pytest.mark.parametrize(("task", "holds", "values", "wanted"), READ)
def test_an_answer_is_read_by_its_task(app, task, holds, values, wanted):
    output = {"name": "y", "dtype": "float32", "shape": [1, 3], "holds": holds}
    bundle = {"task": task, "labels": ["a", "b", "c"], "outputs": [output]}
    found, bad = call(app, ["read", bundle, {"y": values}], ["read", bundle, {"y": [None, 0, 0]}])
    assert (found["kind"], found["short"]) == wanted[:2]
    assert [row["share"] for row in found["rows"]] == pytest.approx(wanted[2], abs=1e-4)
    assert "where a probability from 0 to 1 was expected" in bad["error"]


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_changed_file_is_refused_before_the_engine_sees_it(app, tmp_path, name):
    copy = tmp_path / "app"
    shutil.copytree(app, copy)
    path = copy / "bundles" / INT8 / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = subprocess.run(
        [shutil.which("node"), "--liftoff-only", "check.js"], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"bundles/{INT8}/{name} is not the file that this app was written with" in json.loads(done.stdout)["error"]


def test_a_free_batch_is_replayed_in_batches(tmp_path):
    out = web_app([free_batch_bundle(tmp_path / "bundles")], tmp_path / "app")
    check = call(out, ["golden"])[0]["quarters-free-fp32"]["check"]
    assert (check["batch"], check["samples"], check["passed"]) == (8, 12, True)


def test_what_the_engine_cannot_run_or_answers_otherwise_is_not_written(tmp_path):
    web_app([make_bundle(tmp_path / "good", name=FP32)], tmp_path / "app")  # skips where there is no npm
    wrong = make_bundle(tmp_path / "wrong", name=INT8, weights=quarter_weights()[:, ::-1].copy())
    broken = make_bundle(tmp_path / "broken", name=FP32, model_bytes=b"no model at all")
    with pytest.raises(
        EngineError, match=r"gives other answers in onnxruntime-web .* max \|Δ\| .* agree\. Leave it out"
    ):
        web_app([wrong], tmp_path / "one")
    with pytest.raises(EngineError, match=r"cannot run in onnxruntime-web 1\.30\.0: .*recipe or an older opset"):
        web_app([broken], tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir() if path.name in ("one", "two")] == []


def test_bundles_that_no_form_can_feed_are_refused(tmp_path):
    manifest = manifest_of(make_bundle(tmp_path, name=FP32))
    volume = TensorSpec(name="hu", dtype="float32", shape=(1, 1, 8, 8, 8))
    taken = replace(manifest.program(), requires={"onnxruntime": "1.31"})
    logits = replace(manifest.program().outputs[0], holds="features")
    assert refuses(manifest) == ""
    assert "its input hu is a volume, [1, 1, 8, 8, 8], as of a scan" in refuses(
        with_program(manifest, inputs=(volume,))
    )
    assert "needs onnxruntime 1.31 or newer" in refuses(replace(manifest, programs=(taken,)))
    assert "its first output holds features" in refuses(with_program(manifest, outputs=(logits,)))
    assert "which the page does not know" in refuses(replace(manifest, task="poetry"))
    old = make_bundle(tmp_path, name="old", format_version=1)
    with pytest.raises(BundleError, match=r"old: it is of format 1, which only Python reads"):
        web_app([old], tmp_path / "app")


def test_without_npm_or_a_network_it_says_what_to_do(tmp_path):
    bundle = make_bundle(tmp_path, name=FP32)
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit" / ARCHIVE).write_bytes(b"not the package")
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    if shutil.which("npm"):
        offline = {"NPM_CONFIG_OFFLINE": "true", "NPM_CONFIG_CACHE": str(tmp_path / "empty")}
        done = run_edgekit("web", bundle, "--out", tmp_path / "app", env=cache | offline)
        assert done.returncode == 1
        said = (
            r"npm could not fetch onnxruntime-web 1\.30\.0: .*Try again with a network, or copy .* from another machine"
        )
        assert re.search(said, done.stderr, re.DOTALL), done.stderr
    done = run_edgekit("web", bundle, "--out", tmp_path / "app", env=cache | {"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "npm is not installed. Install Node.js 20 or newer" in " ".join(done.stderr.split())
    assert not (tmp_path / "app").exists()


def test_the_two_verbs(app, tmp_path):
    bundle = app.parent / "bundles" / FP32
    done = run_edgekit("app", "web", bundle, "--out", "app", "--title", "Quarters", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["device"], found["folder"], found["bundles"]) == ("web", "app", [[FP32, "verified"]])
    assert found["next"][0] == "python3 -m http.server 8000 --directory app"
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "app").rglob("*") if path.is_file())
    again = run_edgekit("web", bundle, "--out", "app", cwd=tmp_path)
    both = run_edgekit("web", bundle, "--out", "x", "--single-file", "--webgpu", cwd=tmp_path)
    assert (again.returncode, both.returncode) == (2, 2)
    assert "app is there already" in again.stderr
    assert "Leave --webgpu or --single-file out" in both.stderr


def test_the_commands_of_the_documentation_work(app, tmp_path):
    """As typed, on bundles of the same names; `app` skips where there is no npm."""
    text = (ROOT / "docs" / "devices" / "web.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()
    for name in ("digits_cnn-onnx-fp32", "digits_cnn-onnx-w8a8_static"):
        make_bundle(tmp_path / "bundles", name=name, model="digits_cnn")
    for command in (commands[0], commands[2]):
        done = run_edgekit(*shlex.split(command)[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["index.html"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = [sys.executable, *shlex.split(commands[1].replace("8000", port))[1:], "--bind", "127.0.0.1"]
    assert commands[1] == "python3 -m http.server 8000 --directory digits"
    process = subprocess.Popen(server, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = urllib.request.urlopen(wait_for(f"http://127.0.0.1:{port}/")).read()
    finally:
        process.terminate()
        process.wait(20)
    assert b"<title>digits_cnn</title>" in found


def wait_for(address: str) -> str:
    """The address, once it answers."""
    for _ in range(200):
        try:
            urllib.request.urlopen(address).close()
            break
        except OSError:
            time.sleep(0.1)
    return address


def test_numbers_without_a_picture(tmp_path):
    """A bundle without pictures, of which the page shows plain numbers under their labels."""
    path = make_bundle(tmp_path, name=FP32, pictures=False, task="none")
    change_manifest(path, outputs=(OutputSpec(name="probabilities", dtype="float32", shape=(1, 4), holds="values"),))
    out = web_app([path], tmp_path / "app")
    text = (out / "contract.js").read_text()
    bundle = json.loads(text[text.index("{") : text.rindex(";")])["bundles"][0]
    assert bundle["preprocessing"] is None
    (found,) = call(out, ["read", bundle, {"probabilities": [0.1, 0.2, 0.3, 0.4]}])
    assert (found["kind"], found["short"]) == ("numbers", "0.1, 0.2, 0.3")
    assert [row["label"] for row in found["rows"]] == list(manifest_of(path).labels)
