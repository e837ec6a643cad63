"""Manifests of several programs: each has a name and files of its own, and one is asked for by its name."""

from dataclasses import replace

import pytest
from test_manifest import MANIFEST, PROGRAM
from tiny_bundle import FLOOR

from edgekit.edge_runtime.bundle.manifest import MAIN, EngineRun, Floor
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.format import floor_text


def two_programs(**changes):
    """A manifest of an encoder and a step."""
    encoder = replace(PROGRAM, name="encoder")
    files = {
        "artifact": replace(PROGRAM.artifact, file="step.onnx"),
        "golden": replace(PROGRAM.golden, file="step.npz"),
    }
    return replace(MANIFEST, programs=(encoder, replace(PROGRAM, name="step", **files)), **changes)


def test_one_of_two_programs_is_asked_for_by_name():
    both = two_programs()
    assert read_manifest(both.to_bytes(), "x") == both
    assert both.program("step").artifact.file == "step.onnx"
    assert both.only("step").artifact.file == "step.onnx"
    assert [entry.file for entry in both.files] == ["model.onnx", "golden.npz", "step.onnx", "step.npz"]
    assert both.model_bytes == 2 * 95195
    with pytest.raises(UsageError, match="has several programs, encoder and step, and none is called 'main'"):
        _ = both.artifact
    with pytest.raises(UsageError, match="has no program 'decoder'. It has encoder and step"):
        both.program("decoder")


def test_the_program_that_is_called_main_needs_no_name():
    both = two_programs()
    named = replace(both, programs=(both.programs[0], replace(both.programs[1], name=MAIN)))
    assert named.artifact.file == "step.onnx"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "encoder"}, "two programs have the same name"),
        ({"name": "Encoder"}, "two programs have the same name"),
        ({"name": "../x"}, "is not a plain name"),
        ({"artifact": PROGRAM.artifact}, "two files of the bundle have the same name"),
        ({"golden": PROGRAM.golden}, "two files of the bundle have the same name"),
    ],
)
def test_programs_have_names_and_files_of_their_own(change, said):
    both = two_programs()
    with pytest.raises(ValueError, match=said):
        replace(both, programs=(both.programs[0], replace(both.programs[1], **change)))


def test_all_files_together_are_bounded():
    large = replace(PROGRAM.artifact, bytes=8 << 30)
    both = two_programs()
    first, second = both.programs
    within = (
        replace(first, artifact=large),
        replace(second, artifact=replace(large, file="s", bytes=(8 << 30) - 10_000)),
    )
    assert replace(both, programs=within).model_bytes == (16 << 30) - 10_000
    with pytest.raises(ValueError, match="at most 17,179,869,184 bytes together"):
        replace(both, programs=(within[0], replace(second, artifact=replace(large, file="s"))))


def test_a_floor_of_nothing_is_none():
    with pytest.raises(ValueError, match="an empty floor lets anything pass"):
        Floor(sqnr_db=None, agreement=None, max_abs=None)
    for bad in (
        {"sqnr_db": 201.0},
        {"sqnr_db": -1.0},
        {"agreement": 1.1},
        {"max_abs": -1e-9},
        {"max_abs": 1.7976931348623157e308},
    ):
        with pytest.raises(ValueError, match="sqnr_db should be 0 to 200"):
            replace(FLOOR, **bad)
    floor = Floor(sqnr_db=20.0, agreement=0.9, max_abs=1e-4)
    assert floor_text(floor) == "SQNR ≥ 20 dB, agreement ≥ 90 %, max |Δ| ≤ 0.0001"


def test_an_engine_at_two_precisions_has_two_places_for_its_answers():
    runs = [EngineRun(name="openvino", version="2026.4.1", precision=p, verdict=None) for p in ("float32", "bfloat16")]
    found = read_manifest(replace(MANIFEST, programs=(replace(PROGRAM, engines=tuple(runs)),)).to_bytes(), "x")
    assert [run.key for run in found.engines] == ["openvino-float32", "openvino-bfloat16"]
