"""A bundle of two programs opens, is checked, verified, packed, signed, replayed and run, program by program."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from corruptions import rewrite_manifest
from more_bundles import make_two_programs, step_in_numpy
from tiny_bundle import make_bundle, quarter_pictures, quarter_weights
from typer.testing import CliRunner

from edgekit import load_engine
from edgekit.cli import app
from edgekit.demo_app.shelf import read_shelf
from edgekit.edge_runtime.benchmark.measure import bundle_candidate
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import BundleError, EngineError, UsageError
from edgekit.edge_runtime.worker.parent import Worker
from edgekit.edge_runtime.worker.replay import replay


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make_two_programs(tmp_path_factory.mktemp("programs"))


def test_both_run_one_after_the_other(two):
    pixels, _ = quarter_pictures(3)
    state = np.zeros((1, 4), np.float32)
    with (
        Bundle.open(two) as bundle,
        load_engine(bundle, program="encoder") as encoder,
        load_engine(bundle, program="step") as step,
    ):
        for picture in pixels:
            features = encoder.run({"image": picture[None]})["features"]
            wanted = step_in_numpy(picture.reshape(1, -1) @ quarter_weights() / 255, state)
            found = step.run({"features": features, "state": state})
            np.testing.assert_allclose(found["answer"], wanted["answer"], atol=1e-4)
            np.testing.assert_allclose(found["next_state"], wanted["next_state"], atol=1e-4)
            state = found["next_state"]


def test_one_has_to_be_named(two):
    with Bundle.open(two) as bundle:
        with pytest.raises(
            UsageError, match=r"has several programs, encoder and step.*load_engine\(bundle, program='encoder'\)"
        ):
            load_engine(bundle)
        with pytest.raises(UsageError, match="has no program 'decoder'. It has encoder and step"):
            load_engine(bundle, program="decoder")
        with pytest.raises(UsageError, match="has several programs, encoder and step"):
            _ = bundle.model_path
        assert bundle.path_of("step").name == "step.onnx"
        assert list(bundle.golden("step").inputs) == ["features", "state"]


def test_a_worker_runs_the_one_that_is_asked_for(two):
    with Bundle.open(two) as bundle, Worker.for_bundle(two, program="step") as worker:
        worker.load()
        golden = bundle.golden("step")
        found = worker.run(golden.inputs)
        np.testing.assert_allclose(found["answer"], golden.outputs["answer"], atol=1e-5)
    with Worker.for_bundle(two) as worker, pytest.raises(UsageError, match="has several programs, encoder and step"):
        worker.load()


def test_each_output_of_each_is_replayed(two):
    found = replay(two)
    assert [(o.program, o.output) for o in found.outputs] == [
        ("encoder", "features"),
        ("step", "answer"),
        ("step", "next_state"),
    ]
    assert (found.passed, found.samples, found.agreement) == (True, 12, 1.0)
    assert found.sqnr_db == min(output.sqnr_db for output in found.outputs) > 100


def test_one_program_that_answers_wrongly_fails_the_bundle(tmp_path):
    found = replay(make_two_programs(tmp_path, decay=0.4))
    assert [(output.output, output.passed) for output in found.outputs] == [
        ("features", True),
        ("answer", False),
        ("next_state", False),
    ]
    assert (found.passed, found.outputs[0].sqnr_db > 100, 10 < found.sqnr_db < 30) == (False, True, True)


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.npz", "step.onnx", "step.npz"])
def test_a_changed_byte_in_any_file_is_seen(two, tmp_path, name):
    copy = shutil.copytree(two, tmp_path / "two")
    raw = bytearray((copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(BundleError, match=f"{name} was changed or damaged"):
        Bundle.open(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.open(copy)


def test_a_file_of_neither_is_refused(two, tmp_path):
    copy = shutil.copytree(two, tmp_path / "two")
    (copy / "model.onnx").write_bytes(b"weights that no checksum covers")
    with pytest.raises(BundleError, match=r"holds 'model\.onnx', which is not part of the bundle"):
        Bundle.open(copy)


def test_swapped_model_files_with_fitting_checksums_are_refused_by_the_engine(two, tmp_path):
    copy = shutil.copytree(two, tmp_path / "two")

    def swap(data):
        first, second = data["programs"]
        first["artifact"], second["artifact"] = second["artifact"], first["artifact"]

    rewrite_manifest(copy, swap)
    with Bundle.open(copy) as bundle, pytest.raises(EngineError, match="the manifest says"):
        load_engine(bundle, program="encoder")


def test_packed_into_one_zip_it_is_the_same(two, tmp_path):
    with Bundle.open(two) as bundle:
        packed = bundle.save_zip(tmp_path / "two.zip")
    with Bundle.open(packed) as bundle:
        assert sorted(path.name for path in bundle.folder.iterdir()) == [
            "encoder.npz",
            "encoder.onnx",
            "manifest.json",
            "step.npz",
            "step.onnx",
        ]
    assert replay(packed).passed


def test_the_commands_say_what_they_do_with_it(two, tmp_path):
    run = CliRunner().invoke
    done = run(app, ["inspect", str(two)])
    assert done.exit_code == 0
    assert "encoder inputs  image uint8 [1, 8, 8, 1]" in done.stdout
    assert (
        "step outputs  answer float32 [1, 4] (log_probabilities); next_state float32 [1, 4] (features)" in done.stdout
    )
    done = run(app, ["verify", str(two)])
    assert (done.exit_code, "step next_state: SQNR" in done.stdout) == (0, True)
    (found,) = json.loads(run(app, ["verify", str(two), "--json"]).stdout)
    assert [output["output"] for output in found["outputs"]] == ["features", "answer", "next_state"]


def test_what_takes_one_program_refuses_two(two, tmp_path):
    make_bundle(tmp_path, name="one")
    shutil.copytree(two, tmp_path / "two")
    with pytest.raises(UsageError, match="has several programs, encoder and step"):
        bundle_candidate(two)
    shelf = read_shelf(tmp_path, lambda path, signature: Bundle.open(path))
    assert [bundle.name for bundle in shelf.models["quarters"]] == ["one"]
    assert "has several programs, encoder and step" in shelf.refused[0].reason


def test_a_program_that_is_called_main_is_the_one_that_tools_take(two, tmp_path):
    copy = shutil.copytree(two, tmp_path / "two")
    rewrite_manifest(copy, lambda data: data["programs"][0].update(name="main"))
    with Bundle.open(copy) as bundle, load_engine(bundle) as engine:
        assert engine.run(bundle.golden().sample(0))["features"].shape == (1, 4)
        assert bundle.manifest.only("step") == replace(
            bundle.manifest, programs=bundle.manifest.programs[1:], preprocessing=None
        )


@pytest.mark.parametrize("path", ["x" * 5000, "/tmp/" + "x/" * 3000, "a\0b"])
def test_a_path_that_can_be_none_is_refused_in_a_sentence(path):
    with pytest.raises(BundleError, match="not a path to a bundle|no bundle at") as error:
        Bundle.open(path)
    assert len(str(error.value)) < 500


def test_a_file_that_is_taken_away_meanwhile_is_a_refusal(two, monkeypatch):
    def gone(path):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr("edgekit.edge_runtime.bundle.bundle.sha256_file", gone)
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        Bundle.open(two)
