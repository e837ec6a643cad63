"""The free batch in the manifest: written only where there is one, read strictly, the same for every tensor."""

import json
from dataclasses import replace

import pytest
from test_manifest import MANIFEST, PROGRAM, with_checksum

from edgekit.edge_runtime.bundle.manifest import BatchRange
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.errors import BundleError

IMAGE = {"name": "image", "dtype": "uint8", "shape": [1, 8, 8, 1]}
ANSWER = {"name": "probabilities", "dtype": "float32", "shape": [1, 2], "holds": "probabilities"}
FREE = {"batch": {"min": 1, "max": 16}}


def test_a_free_batch_comes_back_and_a_fixed_one_is_not_written():
    free = BatchRange(min=1, max=16)
    specs = {key: (replace(getattr(MANIFEST, key)[0], batch=free),) for key in ("inputs", "outputs")}
    found = read_manifest(replace(MANIFEST, programs=(replace(PROGRAM, **specs),)).to_bytes(), "x")
    assert found.batch == free
    assert found.inputs[0].shape_text == "[1 to 16, 8, 8, 1]"
    assert json.loads(found.to_bytes())["programs"][0]["inputs"][0]["batch"] == {"max": 16, "min": 1}
    assert "batch" not in json.loads(MANIFEST.to_bytes())["programs"][0]["inputs"][0]
    assert (MANIFEST.batch, MANIFEST.inputs[0].shape_text) == (None, "[1, 8, 8, 1]")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": [IMAGE | {"batch": {"min": 0, "max": 4}}]}, "inputs[0].batch: a batch from 0 to 4 is impossible"),
        ({"inputs": [IMAGE | {"batch": {"min": 5, "max": 4}}]}, "a batch from 5 to 4 is impossible"),
        ({"inputs": [IMAGE | {"batch": {"min": 1, "max": 1 << 30}}]}, "is impossible"),
        ({"inputs": [IMAGE | {"batch": {"min": 2, "max": 4}}]}, "has the shape [1, 8, 8, 1] and a batch of 2 to 4"),
        ({"inputs": [IMAGE | {"shape": [], "batch": {"min": 1, "max": 4}}]}, "has the shape [] and a batch of 1 to 4"),
        ({"inputs": [IMAGE | {"batch": {"min": 1}}]}, "inputs[0].batch.max is missing"),
        ({"inputs": [IMAGE | {"batch": 16}]}, "inputs[0].batch should be an object"),
        ({"inputs": [IMAGE | FREE]}, "should have the same free batch"),
        ({"inputs": [IMAGE | FREE], "outputs": [ANSWER | {"batch": {"min": 1, "max": 8}}]}, "the same free batch"),
    ],
)
def test_an_impossible_batch_is_refused_by_field(change, said):
    with pytest.raises(BundleError) as error:
        read_manifest(with_checksum(change), "bundles/x")
    assert said in str(error.value)
