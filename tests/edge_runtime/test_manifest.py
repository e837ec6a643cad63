"""The manifest's bytes are a promise: exact, canonical, checked; anything else is refused with the field named."""

import hashlib
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import ORIGIN, RAN

from edgekit.edge_runtime.bundle.manifest import (
    FORMAT_VERSION,
    MAIN,
    Artifact,
    Floor,
    Golden,
    ImagePreprocessing,
    Manifest,
    Metric,
    OutputSpec,
    Program,
    StageResult,
    TensorSpec,
    Verdict,
)
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import BundleError

VERDICT = Verdict(
    status="undecided",
    basis="hits",
    metric="accuracy",
    higher_is_better=True,
    float_value=0.99,
    value=0.98,
    samples=359,
    groups=0,
    loss=0.0028,
    low=-0.001,
    high=0.0131,
    budget=0.0099,
    flips=2,
    lost=1,
    won=0,
    unlabelled=0,
    needed=480,
    needed_unlabelled=900,
    helps="labels",
    reason="one lost answer in 359 leaves a loss of 1.31 points possible",
)
PROGRAM = Program(
    name=MAIN,
    artifact=Artifact(file="model.onnx", format="onnx", bytes=95195, sha256="a" * 64),
    inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 1)),),
    outputs=(OutputSpec(name="probabilities", dtype="float32", shape=(1, 2), holds="probabilities"),),
    golden=Golden(
        file="golden.npz",
        bytes=5000,
        sha256="b" * 64,
        samples=32,
        replay="by_output",
        floors={"probabilities": Floor(sqnr_db=60.0, agreement=1.0, max_abs=None)},
    ),
    engines=(RAN,),
    requires={"onnxruntime": "1.18"},
    features={"onnx_opset": "17"},
)
MANIFEST = Manifest(
    format_version=FORMAT_VERSION,
    name="digits_cnn-onnx-fp32",
    model="digits_cnn",
    task="classification",
    recipe="fp32",
    exporter="onnx",
    status="undecided",
    verdict=VERDICT,
    programs=(PROGRAM,),
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
            output="probabilities",
        ),
    ),
    origin=ORIGIN,
    tools={"torch": "2.14.1"},
    provenance={"data": "UCI digits"},
)


def sealed_again(data):
    """The bytes of a parsed manifest with a checksum that fits: what a hostile writer would send."""
    return canonical_json(data | {"sha256": hashlib.sha256(canonical_json(data)).hexdigest()})


def with_checksum(change: dict) -> bytes:
    """The manifest with fields changed; those of the only program go by their own names."""
    data = json.loads(MANIFEST.to_bytes())
    data.pop("sha256")
    of_program = {key: change[key] for key in change.keys() & data["programs"][0].keys() - {"name"}}
    data["programs"][0] |= of_program
    return sealed_again(data | {key: value for key, value in change.items() if key not in of_program})


def test_bytes_are_exactly_these():
    lines = MANIFEST.to_bytes().decode().splitlines()
    assert lines[:7] == [
        "{",
        '  "exporter": "onnx",',
        '  "format_version": 2,',
        '  "labels": [',
        '    "null",',
        '    "één"',
        "  ],",
    ]
    assert MANIFEST.to_bytes().endswith(b'    "won": 0\n  }\n}\n')
    checksum = "37efb529e218814efcab8083b00db01be8a061ef325a5f5582676445d60f4e80"
    assert json.loads(MANIFEST.to_bytes())["sha256"] == checksum


def test_reading_gives_back_what_was_written():
    assert read_manifest(MANIFEST.to_bytes(), "x") == MANIFEST


def test_a_whole_number_given_for_a_fraction_is_written_as_one():
    floors = {"probabilities": Floor(sqnr_db=20, agreement=1, max_abs=None)}
    golden = replace(PROGRAM.golden, floors=floors)
    raw = replace(MANIFEST, programs=(replace(PROGRAM, golden=golden),)).to_bytes()
    assert b'"sqnr_db": 20.0\n' in raw
    assert read_manifest(raw, "x").to_bytes() == raw


def test_numbers_and_texts_of_libraries_are_written_as_plain_ones():
    class Version(str):
        """As `torch.__version__` is one."""

    metric = replace(MANIFEST.metrics[0], value=np.float64(0.5), low=np.float64(0.25))
    raw = replace(MANIFEST, metrics=(metric,), tools={"torch": Version("2.14.1")}).to_bytes()
    found = read_manifest(raw, "x")
    assert (type(found.metrics[0].value), found.metrics[0].value, found.tools) == (float, 0.5, {"torch": "2.14.1"})


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


ARTIFACT = {"file": "m.onnx", "format": "onnx", "bytes": 1, "sha256": "a" * 64}
TENSOR = {"name": "x", "dtype": "uint8", "shape": [1]}
PICTURE = json.loads(MANIFEST.to_bytes())["preprocessing"]
GOLDEN = json.loads(MANIFEST.to_bytes())["programs"][0]["golden"]
JUDGED = json.loads(MANIFEST.to_bytes())["verdict"]
RUN = {"name": "onnxruntime", "version": "1", "precision": "float32", "verdict": None}
FLOATS = PICTURE | {"layout": "NCHW", "dtype": "float32", "mean": [0.5], "std": [0.5]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "Upgrade edgekit"),
        ({"format_version": 10**4000}, "Upgrade edgekit"),
        ({"format_version": "2"}, "format_version should be a whole number"),
        ({"format_version": 1}, "artifact is missing"),
        ({"name": "../../etc"}, "not a plain file name"),
        ({"artifact": ARTIFACT | {"file": "../model.onnx"}}, "plain file name"),
        ({"artifact": ARTIFACT | {"file": "/model.onnx"}}, "plain file name"),
        ({"artifact": ARTIFACT | {"bytes": True}}, "artifact.bytes"),
        ({"artifact": ARTIFACT | {"bytes": (8 << 30) + 1}}, "a file may have at most 8,589,934,592 bytes"),
        ({"artifact": ARTIFACT | {"sha256": "xyz"}}, "64 hexadecimal"),
        ({"artifact": ARTIFACT | {"file": "golden.npz"}}, "two files of the bundle have the same name"),
        ({"artifact": ARTIFACT | {"file": "Model.SIG"}}, "two files of the bundle have the same name"),
        ({"labels": "ab"}, "labels should be a list"),
        ({"labels": [1]}, "labels[0] should be a string"),
        ({"status": "perfect"}, "status should be one of"),
        ({"status": "stages_verified"}, "status should be one of"),
        ({"inputs": []}, "programs[0].inputs should have 1 to 256 entries, found 0"),
        ({"inputs": [TENSOR | {"dtype": "float64"}]}, "inputs[0].dtype"),
        ({"inputs": [TENSOR | {"shape": [0]}]}, "impossible shape"),
        ({"inputs": [TENSOR | {"shape": [1 << 40]}]}, "impossible shape"),
        ({"inputs": [TENSOR | {"shape": [1] * 17}]}, "inputs[0].shape should have 0 to 16 entries, found 17"),
        ({"inputs": [TENSOR | {"holds": "values"}]}, "inputs[0].holds is not a known field"),
        ({"inputs": [TENSOR] * 2}, "plain names, each a different one"),
        ({"outputs": [TENSOR]}, "outputs[0].holds is missing"),
        ({"outputs": [TENSOR | {"holds": "magic"}]}, "outputs[0].holds should be one of"),
        ({"golden": GOLDEN | {"floors": {}}}, "floors should have the names of the outputs"),
        ({"golden": GOLDEN | {"replay": "joint"}}, "is only for format 1"),
        ({"golden": GOLDEN | {"replay": "trust me"}}, "golden.replay should be one of"),
        ({"golden": GOLDEN | {"samples": 0}}, "at least 1 sample"),
        ({"engines": [RUN, RUN]}, "listed twice with the same precision"),
        ({"engines": [RUN | {"name": "../x"}]}, "engines should have plain names"),
        ({"engines": [RUN] * 17}, "engines should have 0 to 16 entries, found 17"),
        ({"requires": {"../x": "1"}}, "engines should have plain names"),
        ({"programs": []}, "programs should have 1 to 16 entries, found 0"),
        ({"verdict": JUDGED | {"status": "verified"}}, "is not within the budget"),
        ({"verdict": JUDGED | {"basis": "lossless"}}, "a lossless file should be verified and flip no answer"),
        ({"verdict": JUDGED | {"lost": 360}}, "are impossible"),
        ({"verdict": JUDGED | {"flips": -1}}, "counts of a verdict should be 0 to"),
        ({"verdict": JUDGED | {"groups": 360}}, "cannot belong to 360 groups"),
        ({"verdict": JUDGED | {"low": 0.01}}, "is not between its bounds"),
        ({"verdict": JUDGED | {"budget": -0.1}}, "the budget should be 0 or more"),
        ({"preprocessing": PICTURE | {"layout": "NCHW"}}, "NHWC uint8 or NCHW float32, found NCHW uint8"),
        ({"preprocessing": PICTURE | {"mean": [0.5], "std": [0.5]}}, "0 numbers each for L uint8, found 1 and 1"),
        ({"preprocessing": FLOATS | {"mode": "RGB"}}, "3 numbers each for RGB float32, found 1 and 1"),
        ({"preprocessing": FLOATS | {"std": [0.0]}}, "and std above 0"),
        ({"preprocessing": FLOATS}, "gives float32 [1, 1, 8, 8], the first program takes uint8 [1, 8, 8, 1]"),
        ({"preprocessing": PICTURE | {"height": 9}}, "preprocessing gives uint8 [1, 9, 8, 1]"),
        ({"surprise": 1}, "surprise is not a known field"),
        ({"metrics": [{"name": "accuracy"}]}, "metrics[0].value is missing"),
        ({"tools": {"torch": 2}}, "tools.torch should be a string"),
        ({"provenance": {"data": "x" * 65_537}}, "provenance.data has 65,537 characters; at most 65,536"),
        ({"provenance": {"x" * 257: "data"}}, "a field whose name has 257 characters"),
        ({"labels": ["x"] * 262_145}, "labels has 262,145 entries; at most 262,144"),
        ({"tools": {str(i): "1" for i in range(1025)}}, "tools has 1,025 fields; at most 1,024"),
    ],
)  # fmt: skip
def test_a_hostile_manifest_with_a_right_checksum_is_refused_by_field(change, said):
    with pytest.raises(BundleError) as error:
        read_manifest(with_checksum(change), "bundles/x")
    assert said in str(error.value)
    assert str(error.value).startswith("bundles/x")
    assert len(str(error.value)) < 500


LOSSLESS = {"status": "verified", "basis": "lossless", "flips": 0, "lost": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["x" * 65_536]},
        {"labels": ["x"] * 262_144},
        {"inputs": [TENSOR | {"shape": [1] * 16}], "preprocessing": None},
        {"artifact": ARTIFACT | {"bytes": 8 << 30}},
        {"tools": {str(i): "1" for i in range(1024)}},
        {"verdict": None},
        {"status": "verified", "verdict": JUDGED | {"status": "verified", "high": JUDGED["budget"]}},
        {"status": "verified", "verdict": JUDGED | LOSSLESS},
        {"verdict": JUDGED | {"groups": 359}},
        {"golden": GOLDEN | {"floors": {"probabilities": {"sqnr_db": None, "agreement": None, "max_abs": 0.0}}}},
    ],
)
def test_what_is_just_within_the_limits_is_read(change):
    assert read_manifest(with_checksum(change), "x").name == MANIFEST.name


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda data: data["programs"][0]["golden"]["floors"]["probabilities"].update(sqnr_db=60),
            "sqnr_db is 60, written 60.0",
        ),
        (
            lambda data: data["programs"][0]["inputs"][0].update(batch=None),
            "inputs[0].batch is left out while it is null",
        ),
    ],
)
def test_what_says_the_same_in_another_way_is_refused(write, said):
    data = json.loads(MANIFEST.to_bytes())
    del data["sha256"]
    write(data)
    with pytest.raises(BundleError, match="is not written in the one form of format 2: programs") as error:
        read_manifest(sealed_again(data), "x")
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["layout", "dtype", "mean", "std"])
def test_a_field_with_a_usual_value_must_be_there_all_the_same(name):
    data = json.loads(MANIFEST.to_bytes())
    del data["sha256"], data["preprocessing"][name]
    with pytest.raises(BundleError, match=f"preprocessing.{name} is missing"):
        read_manifest(sealed_again(data), "x")


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[]", b"null", b'{"a": NaN}', b"[" * 100_000, b"9" * 5000])
def test_what_is_no_manifest_at_all_is_refused(raw):
    with pytest.raises(BundleError):
        read_manifest(raw, "x")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' * 17 + b"1" + b"}" * 17,
        b'{"labels":' + b"[" * 988 + b"]" * 988 + b"}",
        b'{"labels": "' + b'\\"' * 2_000_000,
        b'{"labels": ' + b"[1, " * 900_000,
    ],
)
def test_depth_is_bounded_before_anything_is_built(raw):
    start = time.process_time()
    with pytest.raises(BundleError, match="nested more than 16 deep|not valid JSON|more than 524,288 values"):
        read_manifest(raw, "x")
    assert time.process_time() - start < 1


def test_brackets_in_a_text_are_no_depth():
    assert read_manifest(with_checksum({"labels": ["[" * 99 + '"{' * 99]}), "x").name == MANIFEST.name


def test_a_manifest_without_pictures_keeps_none():
    plain = replace(MANIFEST, preprocessing=None)
    assert read_manifest(plain.to_bytes(), "x").preprocessing is None


STAGE = StageResult(
    stage="lower", compared_with="capture", max_abs=0.0, relative=0.0, sqnr_db=200.0, agreement=1.0, held_to="",
    passed=True,
)  # fmt: skip
METRIC = Metric(name="accuracy", value=1.0, low=0.9, high=1.0, samples=1 << 40, float_value=1.0, agreement=1.0)


@pytest.mark.parametrize("status", ["undecided", "unverified", "verified", "consistent"])
def test_a_status_does_not_contradict_its_verdict_or_its_stages(status):
    bare = replace(MANIFEST, status=status, verdict=None, stages=(STAGE,))
    if status in ("undecided", "unverified"):
        assert replace(bare, verdict=VERDICT).verdict == VERDICT
    else:
        with pytest.raises(ValueError, match="the verdict says undecided"):
            replace(bare, verdict=VERDICT)
    if status == "unverified":
        assert not replace(bare, stages=(replace(STAGE, passed=False),)).stages[0].passed
    else:
        with pytest.raises(ValueError, match="the stage 'lower' was missed"):
            replace(bare, stages=(replace(STAGE, passed=False),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": (replace(METRIC, samples=(1 << 40) + 1),)},
        {"metrics": (replace(METRIC, samples=-1),)},
        {"metrics": (replace(METRIC, agreement=1.01),)},
        {"stages": (replace(STAGE, agreement=1.01),)},
        {"stages": (replace(STAGE, sqnr_db=200.1),)},
        {"stages": (replace(STAGE, max_abs=-0.1),)},
    ],
)
def test_figures_that_cannot_be_are_refused(wrong):
    fitting = replace(MANIFEST, verdict=None, metrics=(METRIC,), stages=(STAGE,))
    with pytest.raises(ValueError, match="are impossible"):
        replace(fitting, **wrong)


@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_a_tensor_has_one_row_in_axis_0(shape):
    output = replace(PROGRAM.outputs[0], shape=shape)
    with pytest.raises(ValueError, match="should have one row in axis 0"):
        replace(MANIFEST, programs=(replace(PROGRAM, outputs=(output,)),))


def test_a_newer_format_is_named_before_its_lengths_are_looked_at():
    with pytest.raises(BundleError, match="Upgrade edgekit"):
        read_manifest(canonical_json({"format_version": 3, "labels": ["a" * 65_537]}), "x")
    with pytest.raises(BundleError, match="65,537 characters"):
        read_manifest(canonical_json({"format_version": 2, "labels": ["a" * 65_537]}), "x")


def test_values_are_counted_before_they_are_built():
    with pytest.raises(BundleError, match="more than 524,288 values"):
        read_manifest(b"[" + b"0," * 524_289 + b"0]", "x")
    with pytest.raises(BundleError, match="not a JSON object"):
        read_manifest(b"[" + b"0," * 524_288 + b"0]", "x")
