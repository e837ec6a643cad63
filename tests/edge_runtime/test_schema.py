"""The JSON Schemas and the strict decoder accept and refuse the same files, and every field is documented."""

import copy
import dataclasses
import hashlib
import json
import re
from dataclasses import replace

import jsonschema
import pytest
import test_format1
import test_manifest
from conftest import ROOT
from test_manifest import FLOATS
from test_manifest_programs import two_programs

from edgekit.edge_runtime.bundle import attestation, contract, format1, manifest, programs, schema
from edgekit.edge_runtime.bundle.attestation import Attestation, Device, OutputResult, read_attestation
from edgekit.edge_runtime.bundle.bundle import find_bundles
from edgekit.edge_runtime.bundle.manifest import BatchRange, EngineRun
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import BundleError

FREE = BatchRange(min=1, max=16)


def full_1():
    """A manifest of format 1 with everything in it."""
    image = format1.TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 1), batch=FREE)
    given = replace(image, name="probabilities", dtype="float32", shape=(1, 2))
    return replace(test_format1.MANIFEST, inputs=(image,), outputs=(given,))


def full_2():
    """A manifest of format 2 with everything in it: a free batch, a float contract, two engines, a verdict."""
    program = test_manifest.PROGRAM
    image = replace(program.inputs[0], dtype="float32", shape=(1, 1, 8, 8), batch=FREE)
    run = EngineRun(name="openvino", version="2026.4.1", precision="bfloat16", verdict=None)
    changed = replace(
        program, inputs=(image,), outputs=(replace(program.outputs[0], batch=FREE),), engines=(*program.engines, run)
    )
    picture = contract.ImagePreprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in FLOATS.items()})
    return replace(test_manifest.MANIFEST, programs=(changed,), preprocessing=picture)


ATTESTATION = Attestation(
    attestation_version=1,
    bundle="x",
    manifest_sha256="a" * 64,
    when="2026-11-28T15:26:00Z",
    runtime="edgekit 0.2.0",
    device=Device(processor="a CPU", system="Linux x86_64", num_threads=1),
    results=(
        OutputResult(
            program="main",
            output="y",
            engine="onnxruntime 1.32.0",
            samples=12,
            sqnr_db=41.5,
            agreement=1.0,
            max_abs=1e-3,
            max_abs_since_packed=0.0,
            passed=True,
        ),
    ),
    passed=True,
)
HOSTILE = [None, True, -1, 0, 1.5, 1 << 60, "", "../x", "a\n", [], {}, ["x"], {"x": 1}]
# What only the decoder can say: relations between fields. Everything else the schema must refuse as well.
RELATIONS = re.compile(
    r"must be three files|two files of the bundle|each a different one|too small to cut|and a batch of|a batch from|"
    r"one range for all|the same free batch|names of the outputs|an empty floor|preprocessing gives|numbers each for|"
    r"NHWC uint8 or NCHW|and std above 0|in the one form of|are impossible|between its bounds|lossless file|"
    r"not within the budget|belong to|contradicts the results|listed twice|won are more than|the verdict says|"
    r"was missed|should have one row in axis 0|cannot be verified"
)
KINDS = {
    "format 1": (full_1(), read_manifest, schema.manifest_schema(1), 80, 900),
    "format 2": (full_2(), read_manifest, schema.manifest_schema(2), 150, 1600),
    "attestation": (ATTESTATION, read_attestation, schema.attestation_schema(), 15, 250),
}


def plain_of(record):
    return {key: value for key, value in json.loads(record.to_bytes()).items() if key != "sha256"}


def places(value, at=()):
    """The path of every value in parsed JSON, the root left out."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


def mutations(plain):
    """The full file with one value replaced, one field gone, or one too many."""
    for path in places(plain):
        for hostile in [*HOSTILE, "gone", "extra"]:
            data = copy.deepcopy(plain)
            parent = data
            for key in path[:-1]:
                parent = parent[key]
            if hostile == "gone":
                del parent[path[-1]]
            elif hostile != "extra":
                parent[path[-1]] = hostile
            elif isinstance(parent[path[-1]], dict):
                parent[path[-1]]["surprise"] = 1
            yield f"{path} {hostile!r}", data


def decoder_says(read, data):
    """ "" when the decoder takes the file with a right checksum, else its refusal."""
    raw = canonical_json(data | {"sha256": hashlib.sha256(canonical_json(data)).hexdigest()})
    try:
        read(raw, "x")
    except BundleError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", schema.FILES)
def test_the_committed_file_is_what_the_dataclasses_give(name):
    assert (schema.HERE / name).read_bytes() == canonical_json(schema.FILES[name]()), (
        "run: python -m edgekit.edge_runtime.bundle.schema"
    )


@pytest.mark.parametrize("name", schema.FILES)
def test_it_is_a_valid_schema(name):
    jsonschema.Draft202012Validator.check_schema(schema.FILES[name]())


def test_every_real_manifest_validates(quickstart):
    manifests = [test_manifest.MANIFEST, full_2(), two_programs()]
    paths = [path / "manifest.json" for path in find_bundles(quickstart.bundles)]
    real = [json.loads(path.read_bytes()) for path in paths]
    check = jsonschema.Draft202012Validator(schema.manifest_schema())
    found = [list(check.iter_errors(data)) for data in [*real, *(json.loads(m.to_bytes()) for m in manifests)]]
    assert len(found) >= 10
    assert found == [[]] * len(found)


def test_the_manifests_of_89a4be3_validate():
    check = jsonschema.Draft202012Validator(schema.manifest_schema(1))
    paths = sorted(test_format1.OLD.glob("*/manifest.json"))
    assert len(paths) == 2
    assert [list(check.iter_errors(json.loads(path.read_bytes()))) for path in paths] == [[], []]


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_decoder_agree_on_every_mutation(kind):
    record, read, made, least_accepted, least_refused = KINDS[kind]
    check, accepted, refused = jsonschema.Draft202012Validator(made), 0, 0
    for name, data in mutations(plain_of(record)):
        schema_takes = check.is_valid(data | {"sha256": "0" * 64})
        said = decoder_says(read, data)
        assert schema_takes == (not said) or (schema_takes and RELATIONS.search(said)), f"{name}: decoder {said!r}"
        accepted, refused = accepted + (not said), refused + bool(said)
    assert accepted >= least_accepted
    assert refused >= least_refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sha256", ["", "A" * 64, "0" * 63, None, 7])
def test_a_checksum_that_is_none_is_refused_by_both(kind, sha256):
    record, read, made, *_ = KINDS[kind]
    data = plain_of(record) | {"sha256": sha256}
    assert not jsonschema.Draft202012Validator(made).is_valid(data)
    with pytest.raises(BundleError):
        read(canonical_json(data), "x")


@pytest.mark.parametrize(
    ("page", "modules"), [("BUNDLE.md", (manifest, contract, attestation, programs)), ("BUNDLE-1.md", (format1,))]
)
def test_every_field_is_documented(page, modules):
    text = (ROOT / "docs" / page).read_text()
    classes = {c for module in modules for c in vars(module).values() if dataclasses.is_dataclass(c)} - {
        attestation.Beside
    }
    missing = {f"{c.__name__}.{f.name}" for c in classes for f in dataclasses.fields(c) if f"`{f.name}`" not in text}
    assert modules[0].__dict__.get("Manifest", manifest.Manifest) in classes
    assert missing == set()
