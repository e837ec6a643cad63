"""Format 1 stays readable for good: its manifests by field, its bundles of commit 89a4be3 to the answer, its rules."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from tiny_bundle import make_bundle, probabilities, quarter_pictures, quarter_weights

from edgekit.edge_runtime import engines
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.contract import BatchRange
from edgekit.edge_runtime.bundle.format1 import (
    Golden,
    ImagePreprocessing,
    Manifest,
    Metric,
    StageResult,
    TensorSpec,
)
from edgekit.edge_runtime.bundle.golden import UNNAMED, GoldenSet
from edgekit.edge_runtime.bundle.manifest import Artifact, Floor
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.worker.policy import Policy
from edgekit.edge_runtime.worker.replay import judge, replay

OLD = ROOT / "tests" / "data" / "format1"
MANIFEST = Manifest(
    format_version=1,
    name="digits_cnn-onnx-fp32",
    model="digits_cnn",
    task="classification",
    recipe="fp32",
    exporter="onnx",
    status="verified",
    artifact=Artifact(file="model.onnx", format="onnx", bytes=95195, sha256="a" * 64),
    golden=Golden(file="golden.npz", bytes=5000, sha256="b" * 64, samples=32, sqnr_floor_db=60.0, agreement_floor=1.0),
    inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 1)),),
    outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(1, 2)),),
    preprocessing=ImagePreprocessing(
        kind="image",
        mode="L",
        height=8,
        width=8,
        resize="stretch",
        resize_to=8,
        interpolation="bilinear",
        in_graph=("pixel / 255",),
        expects="one digit, bright on black",
    ),
    labels=("null", "één"),
    metrics=(Metric(name="accuracy", value=0.99, low=0.97, high=1.0, samples=359, float_value=0.99, agreement=1.0),),
    stages=(
        StageResult(
            stage="capture",
            compared_with="eager",
            max_abs=0.0,
            relative=0.0,
            sqnr_db=200.0,
            agreement=1.0,
            held_to="relative error <= 1e-05",
            passed=True,
        ),
    ),
    tools={"torch": "2.14.1"},
    provenance={"data": "UCI digits"},
)


def with_checksum(change: dict) -> bytes:
    """The manifest with fields changed and a checksum that fits again: what a hostile writer would send."""
    data = json.loads(MANIFEST.to_bytes())
    data.pop("sha256")
    data |= change
    return canonical_json(data | {"sha256": hashlib.sha256(canonical_json(data)).hexdigest()})


def test_bytes_are_exactly_these():
    lines = MANIFEST.to_bytes().decode().splitlines()
    assert lines[:7] == [
        "{",
        '  "artifact": {',
        '    "bytes": 95195,',
        '    "file": "model.onnx",',
        '    "format": "onnx",',
        f'    "sha256": "{"a" * 64}"',
        "  },",
    ]
    assert MANIFEST.to_bytes().endswith(b'  "tools": {\n    "torch": "2.14.1"\n  }\n}\n')
    assert '    "één"' in lines
    checksum = "c413279fdea11aafb17be979a18046aa70d960af55b607239a80d019984cb303"
    assert json.loads(MANIFEST.to_bytes())["sha256"] == checksum


def test_it_is_read_as_a_manifest_of_today():
    found = read_manifest(MANIFEST.to_bytes(), "x")
    assert found == MANIFEST.upgraded()
    assert (found.format_version, found.status, found.batch) == (1, "verified", None)
    assert found.artifact == MANIFEST.artifact
    assert found.golden.floors == {"probabilities": Floor(sqnr_db=60.0, agreement=1.0, max_abs=None)}
    assert (found.golden.replay, found.outputs[0].holds, found.engines) == ("joint", "probabilities", ())
    assert (found.preprocessing.layout, found.preprocessing.dtype) == ("NHWC", "uint8")
    assert found.origin.golden.source == "UCI digits"


def test_its_second_status_is_called_consistent_now():
    old = replace(MANIFEST, status="stages_verified", metrics=())
    assert read_manifest(old.to_bytes(), "x").status == "consistent"


@pytest.mark.parametrize(
    ("task", "holds"),
    [
        ("next_character", "log_probabilities"),
        ("segmentation", "mask"),
        ("regression", "values"),
        ("none", "values"),
        ("x", "values"),
    ],
)
def test_what_an_output_holds_follows_from_the_task(task, holds):
    second = TensorSpec(name="more", dtype="float32", shape=(1, 3))
    found = replace(MANIFEST, task=task, outputs=(*MANIFEST.outputs, second)).upgraded()
    assert [spec.holds for spec in found.outputs] == [holds, "values"]


def test_a_free_batch_is_kept():
    free = BatchRange(min=1, max=16)
    specs = {key: (replace(getattr(MANIFEST, key)[0], batch=free),) for key in ("inputs", "outputs")}
    assert read_manifest(replace(MANIFEST, **specs).to_bytes(), "x").batch == free


def test_nothing_writes_it_any_more():
    with pytest.raises(ValueError, match="has format 1; only 2 can be written"):
        read_manifest(MANIFEST.to_bytes(), "x").to_bytes()


def test_every_flipped_byte_is_refused():
    raw = MANIFEST.to_bytes()
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(BundleError):
            read_manifest(changed, "x")


def test_every_truncation_is_refused():
    raw = MANIFEST.to_bytes()
    for length in range(0, len(raw), 7):
        with pytest.raises(BundleError):
            read_manifest(raw[:length], "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 3}, "Upgrade edgekit"),
        ({"format_version": 2}, "verdict is missing"),
        ({"format_version": "1"}, "format_version should be a whole number"),
        ({"name": "../../etc"}, "not a plain file name"),
        ({"artifact": {"file": "../model.onnx", "format": "onnx", "bytes": 1, "sha256": "a" * 64}}, "plain file name"),
        ({"artifact": {"file": "/model.onnx", "format": "onnx", "bytes": 1, "sha256": "a" * 64}}, "plain file name"),
        ({"artifact": {"file": "m.onnx", "format": "onnx", "bytes": True, "sha256": "a" * 64}}, "artifact.bytes"),
        ({"artifact": {"file": "m.onnx", "format": "onnx", "bytes": 1, "sha256": "xyz"}}, "64 hexadecimal"),
        ({"artifact": {"file": "golden.npz", "format": "onnx", "bytes": 1, "sha256": "a" * 64}}, "three files"),
        ({"labels": "ab"}, "labels should be a list"),
        ({"labels": [1]}, "labels[0] should be a string"),
        ({"status": "perfect"}, "status should be one of"),
        ({"inputs": []}, "at least one input"),
        ({"inputs": [{"name": "x", "dtype": "float64", "shape": [1]}]}, "inputs[0].dtype"),
        ({"inputs": [{"name": "x", "dtype": "uint8", "shape": [0]}]}, "impossible shape"),
        ({"inputs": [{"name": "x", "dtype": "uint8", "shape": [1 << 40]}]}, "impossible shape"),
        (
            {"inputs": [{"name": "x", "dtype": "uint8", "shape": [1] * 100_000}]},
            "inputs[0].shape should have 0 to 16 entries, found 100,000",
        ),
        ({"surprise": 1}, "surprise is not a known field"),
        ({"metrics": [{"name": "accuracy"}]}, "metrics[0].value is missing"),
        ({"tools": {"torch": 2}}, "tools.torch should be a string"),
    ],
)
def test_a_hostile_manifest_with_a_right_checksum_is_refused_by_field(change, said):
    with pytest.raises(BundleError) as error:
        read_manifest(with_checksum(change), "bundles/x")
    assert said in str(error.value)
    assert str(error.value).startswith("bundles/x")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[]", b"null", b'{"a": NaN}', b"[" * 100_000, b"9" * 5000])
def test_what_is_no_manifest_at_all_is_refused(raw):
    with pytest.raises(BundleError):
        read_manifest(raw, "x")


def test_a_manifest_without_pictures_keeps_none():
    plain = replace(MANIFEST, preprocessing=None)
    assert read_manifest(plain.to_bytes(), "x").preprocessing is None


# What these three answered when they were packed, and what format 1 measures of them here.
BUNDLES = {
    "digits_cnn-onnx-fp32.zip": ("onnx", 138.98),
    "digits_cnn-onnx-w8a8_static": ("onnx", 46.51),
    "digits_cnn-executorch_xnnpack-w8a8_static": ("executorch", 41.68),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_of_89a4be3_open_and_answer_as_when_they_were_packed(name):
    format, sqnr_db = BUNDLES[name]
    with Bundle.open(OLD / name) as bundle, engines.load(bundle) as engine:
        golden = bundle.golden()
        found = np.concatenate([engine.run(golden.sample(i))["probabilities"] for i in range(golden.samples)])
        assert (bundle.manifest.format_version, bundle.manifest.artifact.format, golden.samples) == (1, format, 32)
        assert np.abs(found - golden.packed[UNNAMED]["probabilities"]).max() < 1e-3
    result = replay(OLD / name)
    assert (result.passed, result.agreement, [o.output for o in result.outputs]) == (True, 1.0, [""])
    assert result.sqnr_db == pytest.approx(sqnr_db, abs=0.5)
    assert result.max_abs_since_packed < 1e-3


def test_the_signature_of_89a4be3_is_still_good():
    signed = OLD / "digits_cnn-executorch_xnnpack-w8a8_static"
    with Policy(key=OLD / "key.pub").open(signed) as bundle:
        assert bundle.name == signed.name


def test_a_changed_byte_in_an_old_bundle_is_seen(tmp_path):
    copy = shutil.copytree(OLD / "digits_cnn-onnx-w8a8_static", tmp_path / "x")
    raw = bytearray((copy / "model.onnx").read_bytes())
    raw[1000] ^= 1
    (copy / "model.onnx").write_bytes(raw)
    with pytest.raises(BundleError, match=r"model\.onnx was changed or damaged after packing"):
        Bundle.open(copy)


def test_it_is_packed_again_as_the_archive_it_was(tmp_path):
    archive = OLD / "digits_cnn-onnx-fp32.zip"
    with Bundle.open(archive) as bundle:
        assert bundle.save_zip(tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def judged(format_version, reference, found):
    """Two outputs of one model under the floors 10 dB and 50 %, by the rules of a format."""
    one = read_manifest(replace(MANIFEST, outputs=two_outputs(), golden=LOOSE).to_bytes(), "x")
    if format_version == 2:
        golden = replace(one.golden, replay="by_output")
        one = replace(one, format_version=2, programs=(replace(one.program(), golden=golden),))
    golden = GoldenSet(inputs={}, outputs=reference, packed={}, targets=np.zeros((4, 0)))
    return judge(one, golden, found, "engine 1.0")


LOOSE = replace(MANIFEST.golden, sqnr_floor_db=10.0, agreement_floor=0.5)


def two_outputs():
    other = TensorSpec(name="other", dtype="float32", shape=(1, 2))
    return (*MANIFEST.outputs, other)


def test_it_is_replayed_by_its_own_rule_and_format_2_by_its_own():
    """A loud output hides a silent one that is wrong, and a constant part hides what varies: in format 1 only."""
    loud = np.array([[90.0, 10], [10, 90], [80, 20], [20, 80]], np.float32)
    silent = np.array([[0.1, 0.2], [0.2, 0.1], [0.1, 0.1], [0.2, 0.2]], np.float32)
    reference = {"probabilities": loud, "other": silent}
    swapped = {"probabilities": loud, "other": silent[:, ::-1].copy()}
    assert judged(1, reference, swapped).passed
    result = judged(2, reference, swapped)
    assert [output.passed for output in result.outputs] == [True, False]
    assert (result.sqnr_db, result.passed) == (result.outputs[1].sqnr_db, False)
    constant = {"probabilities": loud, "other": silent + 100}
    flat = {"probabilities": loud, "other": np.full_like(silent, 100.15)}
    assert judged(1, constant, flat).passed
    assert judged(2, constant, flat).outputs[1].sqnr_db == pytest.approx(0.0, abs=0.01)


def test_a_tiny_bundle_of_format_1_runs_beside_one_of_format_2(tmp_path):
    old, new = (make_bundle(tmp_path, name=f"format{v}", format_version=v) for v in (1, 2))
    pixels, _ = quarter_pictures(1)
    for path in (old, new):
        with Bundle.open(path) as bundle, engines.load(bundle) as engine:
            found = engine.run({"image": pixels})["probabilities"]
        np.testing.assert_allclose(found, probabilities(pixels, quarter_weights()), atol=1e-6)
    assert json.loads((old / "manifest.json").read_bytes())["format_version"] == 1
