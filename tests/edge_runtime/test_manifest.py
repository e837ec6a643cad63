"""The manifest's bytes are a promise: exact, canonical, checked; anything else is refused with the field named."""

import hashlib
import json
from dataclasses import replace

import pytest

from edgekit.edge_runtime.bundle.manifest import (
    FORMAT_VERSION,
    Artifact,
    Golden,
    ImagePreprocessing,
    Manifest,
    Metric,
    StageResult,
    TensorSpec,
    read_manifest,
)
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import BundleError

MANIFEST = Manifest(
    format_version=FORMAT_VERSION,
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


def test_reading_gives_back_what_was_written():
    assert read_manifest(MANIFEST.to_bytes(), "x") == MANIFEST


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
        ({"format_version": FORMAT_VERSION + 1}, "Upgrade edgekit"),
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


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[]", b"null", b'{"a": NaN}', b"[" * 100_000, b"9" * 5000])
def test_what_is_no_manifest_at_all_is_refused(raw):
    with pytest.raises(BundleError):
        read_manifest(raw, "x")


def test_a_manifest_without_pictures_keeps_none():
    plain = replace(MANIFEST, preprocessing=None)
    assert read_manifest(plain.to_bytes(), "x").preprocessing is None
