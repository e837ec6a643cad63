"""The JSON Schema and the strict decoder accept and refuse the same manifests, and every field is documented."""

import copy
import dataclasses
import hashlib
import json
import re

import jsonschema
import pytest
from conftest import ROOT
from test_manifest import MANIFEST

from edgekit.edge_runtime.bundle import manifest as manifest_module
from edgekit.edge_runtime.bundle.bundle import find_bundles
from edgekit.edge_runtime.bundle.manifest import BatchRange, Manifest, TensorSpec, read_manifest
from edgekit.edge_runtime.bundle.schema import SCHEMA_FILE, manifest_schema
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import BundleError

BATCHED = TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 1), batch=BatchRange(min=1, max=16))
FULL = dataclasses.replace(
    MANIFEST,
    inputs=(BATCHED,),
    outputs=(dataclasses.replace(BATCHED, name="probabilities", dtype="float32", shape=(1, 2)),),
)
PLAIN = {key: value for key, value in json.loads(FULL.to_bytes()).items() if key != "sha256"}
HOSTILE = [None, True, -1, 0, 1.5, 1 << 60, "", "../x", "a\n", [], {}, ["x"], {"x": 1}]
# What only the decoder can say: relations between fields. Everything else the schema must refuse as well.
RELATIONS = re.compile(
    r"must be three files|need plain names of their own|too small to cut|and a batch of|a batch from|one range for all"
)
SCHEMA = jsonschema.Draft202012Validator(manifest_schema())


def places(value, at=()):
    """The path of every value in parsed JSON, the root left out."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


def mutations():
    """The full manifest with one value replaced, one field gone, or one too many."""
    for path in places(PLAIN):
        for hostile in [*HOSTILE, "gone", "extra"]:
            data = copy.deepcopy(PLAIN)
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


def decoder_says(data):
    """ "" when the decoder takes the manifest with a right checksum, else its refusal."""
    raw = canonical_json(data | {"sha256": hashlib.sha256(canonical_json(data)).hexdigest()})
    try:
        read_manifest(raw, "x")
    except BundleError as error:
        return str(error)
    return ""


def test_the_committed_file_is_what_the_dataclasses_give():
    assert SCHEMA_FILE.read_bytes() == canonical_json(manifest_schema()), (
        "run: python -m edgekit.edge_runtime.bundle.schema"
    )


def test_it_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


def test_every_real_manifest_validates(quickstart):
    manifests = [MANIFEST, FULL, dataclasses.replace(MANIFEST, preprocessing=None)]
    real = [json.loads((path / "manifest.json").read_bytes()) for path in find_bundles(quickstart.bundles)]
    found = [list(SCHEMA.iter_errors(data)) for data in [*real, *(json.loads(m.to_bytes()) for m in manifests)]]
    assert len(found) >= 10
    assert found == [[]] * len(found)


def test_schema_and_decoder_agree_on_every_mutation():
    accepted = refused = 0
    for name, data in mutations():
        schema_takes = SCHEMA.is_valid(data | {"sha256": "0" * 64})
        said = decoder_says(data)
        assert schema_takes == (not said) or (schema_takes and RELATIONS.search(said)), f"{name}: decoder {said!r}"
        accepted, refused = accepted + (not said), refused + bool(said)
    assert accepted >= 80
    assert refused >= 900


@pytest.mark.parametrize("sha256", ["", "A" * 64, "0" * 63, None, 7])
def test_a_checksum_that_is_none_is_refused_by_both(sha256):
    assert not SCHEMA.is_valid(PLAIN | {"sha256": sha256})
    with pytest.raises(BundleError):
        read_manifest(canonical_json(PLAIN | {"sha256": sha256}), "x")


def test_every_field_is_documented():
    text = (ROOT / "docs" / "BUNDLE.md").read_text()
    classes = [c for c in vars(manifest_module).values() if dataclasses.is_dataclass(c)]
    missing = {f"{c.__name__}.{f.name}" for c in classes for f in dataclasses.fields(c) if f"`{f.name}`" not in text}
    assert Manifest in classes
    assert missing == set()
