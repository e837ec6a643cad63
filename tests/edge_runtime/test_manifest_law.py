"""The law of the format, for any manifest: what was written is read, and what was read is written the same."""

import json
import re

import jsonschema
from any_manifest import attestations, manifests
from hypothesis import HealthCheck, given, settings

from edgekit.edge_runtime.bundle.attestation import read_attestation
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.bundle.schema import attestation_schema, manifest_schema

EASY = settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
SCHEMA = jsonschema.Draft202012Validator(manifest_schema())
ATTESTATION_SCHEMA = jsonschema.Draft202012Validator(attestation_schema())


@EASY
@given(manifest=manifests())
def test_what_is_written_is_read_and_what_is_read_is_written(manifest):
    raw = manifest.to_bytes()
    found = read_manifest(raw, "x")
    assert found == manifest
    assert found.to_bytes() == raw
    assert SCHEMA.is_valid(json.loads(raw))
    for program in manifest.programs:  # one of several is a manifest as well
        assert read_manifest(manifest.only(program.name).to_bytes(), "x").program() == program


@EASY
@given(attestation=attestations())
def test_attestations_keep_the_law_too(attestation):
    raw = attestation.to_bytes()
    found = read_attestation(raw, "x")
    assert (found, found.to_bytes()) == (attestation, raw)
    assert ATTESTATION_SCHEMA.is_valid(json.loads(raw))
    assert len(re.findall(rb'\n  "sha256": "[0-9a-f]{64}",\n', raw)) == 1
