"""The command as a user types it: answers, JSON, exit statuses, and what bad input gets. No traceback, ever."""

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.preprocess.image import array_to_image


@pytest.fixture(scope="module")
def bundle(quickstart):
    return quickstart.bundle("onnx-w8a8_static")


@pytest.fixture
def digit(bundle, tmp_path):
    """A golden digit as a PNG, and its true label."""
    opened = Bundle.open(bundle)
    golden = opened.golden()
    array_to_image(golden.inputs["image"][3]).save(tmp_path / "digit.png")
    return tmp_path / "digit.png", opened.manifest.labels[golden.targets[3]]


def failed(done, status, *said):
    """The command ended with `status`, one clear message on stderr, and no traceback."""
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    text = " ".join((done.stdout + done.stderr).split())
    for words in said:
        assert words in text
    return True


def test_help_names_every_verb(edgekit):
    text = edgekit("--help").stdout
    verbs = ["quickstart", "models", "train", "optimize", "pack", "inspect", "verify", "predict", "benchmark"]
    verbs += ["report", "demo"]
    assert [verb for verb in verbs if f" {verb} " not in text] == []


def test_models_lists_chapter_and_target(edgekit):
    found = json.loads(edgekit("models", "--json").stdout)
    assert {"digits_cnn", "birds_cnn"} <= {model["name"] for model in found}
    assert {model["chapter"] for model in found} >= {1, 8}


def test_verify_replays_every_bundle_of_a_folder(edgekit, quickstart):
    done = edgekit("verify", quickstart.bundles, "--allow", "torchscript", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(found) == 7
    assert min(result["sqnr_db"] for result in found) >= 20
    assert all(result["max_abs_since_packed"] < 1e-6 for result in found)


def test_predict_reads_a_picture(edgekit, bundle, digit):
    picture, label = digit
    done = edgekit("predict", bundle, picture, "--json")
    answer = json.loads(done.stdout)["answers"][0]
    assert (done.returncode, answer["label"]) == (0, label)
    assert 0.5 < answer["probability"] <= 1


def test_inspect_and_json_agree(edgekit, bundle):
    found = json.loads(edgekit("inspect", bundle, "--json").stdout)
    assert found["name"] == "digits_cnn-onnx-w8a8_static"
    assert found["programs"][0]["artifact"]["sha256"] in edgekit("inspect", bundle).stdout


def test_pack_gives_the_same_bytes_twice_and_the_zip_verifies(edgekit, bundle, tmp_path):
    for name in ("a.zip", "b.zip"):
        assert edgekit("pack", bundle, "--out", tmp_path / name).returncode == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert edgekit("verify", tmp_path / "a.zip").returncode == 0


def test_benchmark_relates_int8_to_float(edgekit, quickstart, bundle, tmp_path):
    done = edgekit(
        "benchmark", bundle, quickstart.bundle("onnx-fp32"), "--quick", "--json", "--out", tmp_path / "results.json"
    )
    found = json.loads(done.stdout)
    assert found["baseline"] == "digits_cnn-onnx-fp32"
    int8, fp32 = found["rows"]
    assert fp32["times_faster"] == 1.0
    assert int8["times_smaller"] > 2
    raw = np.load(tmp_path / "results.npz")
    assert sum(raw[name].size for name in raw if "w8a8" in name and "wall" in name) == int8["samples"]
    assert edgekit("report", tmp_path / "results.json").returncode == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_unknown_names_list_the_known_ones(edgekit):
    failed(edgekit("train", "resnet9000"), 2, "unknown model 'resnet9000'", "Known: ", "birds_cnn,", "digits_cnn,")
    failed(edgekit("optimize", "digits_cnn", "--recipe", "w1"), 2, "unknown recipe 'w1'", "fp32, mixed, w4_")
    failed(edgekit("optimize", "digits_cnn", "--exporter", "tflite"), 2, "unknown exporter 'tflite'", "onnx")
    failed(edgekit("frobnicate"), 2, "frobnicate")
    failed(edgekit("verify"), 2, "edgekit verify")


def test_missing_things_name_the_command_that_makes_them(edgekit, tmp_path):
    failed(edgekit("optimize", "digits_cnn", "--runs", tmp_path), 1, str(tmp_path), "edgekit train digits_cnn")
    failed(edgekit("verify", tmp_path / "no"), 1, "no bundle at", "edgekit optimize")
    failed(edgekit("verify", tmp_path), 1, "is not a bundle: it holds no manifest.json")
    failed(edgekit("demo", "--bundles", tmp_path / "no"), 1, "no")
    failed(edgekit("report", tmp_path / "no.json"), 2, "cannot read")
    failed(edgekit("train", "birds_cnn", env={"EDGEKIT_DATA": str(tmp_path)}), 1, "cifar-10", str(tmp_path))


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "link"])
def test_a_damaged_bundle_is_refused(edgekit, bundle, tmp_path, name, damage):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    path = copy / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    match damage:
        case "flip":
            path.write_bytes(raw)
        case "cut":
            path.write_bytes(raw[: len(raw) // 2])
        case "gone":
            path.unlink()
        case "link":
            path.unlink()
            path.symlink_to(bundle / name)
    failed(edgekit("verify", copy), 1, "✗", str(copy))


def test_hostile_zips_are_refused(edgekit, bundle, tmp_path):
    bomb, escape = tmp_path / "bomb.zip", tmp_path / "escape.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(50_000_000))
    with zipfile.ZipFile(escape, "w") as archive:
        archive.write(bundle / "manifest.json", "../manifest.json")
    failed(edgekit("verify", bomb), 1, "bomb.zip")
    failed(edgekit("verify", escape), 1, "escape.zip")
    assert not (tmp_path.parent / "manifest.json").exists()


def test_pictures_that_are_none_are_named_and_the_rest_answered(edgekit, bundle, digit, tmp_path):
    picture, label = digit
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.new("1", (30_000, 30_000)).save(tmp_path / "huge.png")
    done = edgekit("predict", bundle, tmp_path / "text.png", tmp_path / "empty.jpg", tmp_path / "huge.png", picture)
    failed(done, 1, "text.png", "empty.jpg", "huge.png", "30,000", f"{label} ")


def test_a_closed_pipe_is_no_traceback(edgekit, bundle):
    command = f"{sys.executable} -m edgekit inspect {bundle} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
