"""`edgekit doctor`: what works is tried, what is missing is no fault, what is broken is named and ends with 1."""

import json
import os

import numpy as np
import pytest
from conftest import ROOT
from tiny_bundle import make_bundle, quarter_weights

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.versions import ENGINE_PACKAGES
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.doctor import diagnosis
from edgekit.edge_runtime.doctor.probe import PROBES
from edgekit.edge_runtime.engines import ENGINES
from edgekit.edge_runtime.machine import cpu


def test_every_engine_can_be_asked_about_itself():
    assert set(PROBES) == set(diagnosis.NAMES)
    assert set(ENGINES) == set(ENGINE_PACKAGES)
    assert {format: next(iter(engines)) for format, engines in ENGINES.items()} == ENGINE_PACKAGES


def test_openvino_runs_the_same_int8_model():
    report = diagnosis.examine("onnx@openvino")
    assert (report.state, report.remedy) == ("works", "")
    assert "INT8" in report.provides
    assert float(report.result.split()[1]) > 20
    assert "on openvino 20" in report.result


def test_onnx_runs_its_int8_model():
    report = diagnosis.examine("onnx")
    assert (report.state, report.remedy) == ("works", "")
    assert "CPUExecutionProvider" in report.provides
    assert float(report.result.split()[1]) > 20  # SQNR 43.1 dB …


def test_executorch_runs_its_int8_model_and_says_through_what():
    pytest.importorskip("executorch")
    report = diagnosis.examine("executorch")
    assert report.state == "works"
    assert "XnnpackBackend" in report.provides
    assert any(name.endswith("quantized operators") and not name.startswith("0 ") for name in report.provides)
    assert set(report.facts) >= {"runtime", "compiler"}


def test_what_is_not_installed_is_not_broken_and_has_a_line_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.path", [str(tmp_path)])  # where nothing is installed
    found = diagnosis.diagnose(["onnx"])
    assert found.healthy
    assert found.engines[0].state == "not installed"
    assert found.engines[0].remedy == install("onnx")


def test_an_engine_that_compiles_first_is_tried_only_when_asked():
    report = diagnosis.examine("aot")
    assert (report.state, report.remedy) == ("not tried", "add --deep")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise ImportError('libonnx.so.9 is missing')", "ImportError: libonnx.so.9 is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process was killed by SIGSEGV"),
        ("import os; os._exit(7)", "its process ended with status 7"),
    ],
)
def test_a_library_that_cannot_be_imported_is_broken(tmp_path, monkeypatch, module, said):
    (tmp_path / "onnxruntime.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = diagnosis.examine("onnx")
    assert report.state == "broken"
    assert said in report.result
    assert report.remedy == install("onnx", again=True)


def test_an_engine_that_answers_wrongly_is_broken(tmp_path):
    folder = make_bundle(tmp_path, name="wrong", weights=quarter_weights()[:, ::-1])
    Bundle.open(folder).save_zip(tmp_path / "onnx.zip")
    found = diagnosis.diagnose(["onnx"], models=tmp_path)
    assert not found.healthy
    assert found.engines[0].state == "broken"
    assert "required: SQNR ≥ 10 dB" in found.engines[0].result


def test_a_damaged_model_is_broken(tmp_path):
    (tmp_path / "onnx.zip").write_bytes(diagnosis.model_path("onnx").read_bytes()[:-50])
    assert diagnosis.examine("onnx", models=tmp_path).state == "broken"


def test_the_command_tells_all_and_ends_with_1_when_something_is_broken(edgekit, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnx.so.9 is missing')")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = edgekit("doctor", env=env)
    text = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"onnx: ImportError: libonnx.so.9 is missing → {install('onnx', again=True)}" in text
    assert "torchscript: int8 model: exact" in text
    assert "Broken: onnx." in text
    assert "Traceback" not in done.stdout + done.stderr


def test_json_is_alone_on_standard_output_and_torch_is_not_needed(edgekit, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    done = edgekit("doctor", "--json", env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])})
    found = json.loads(done.stdout)
    states = {engine["engine"]: engine["state"] for engine in found["engines"]}
    assert states | {"executorch": ""} == {
        "onnx": "works",
        "onnx@openvino": "works",
        "executorch": "",
        "torchscript": "broken",
        "aot": "not tried",
        "torch_export": "broken",
    }
    assert (found["healthy"], done.returncode) == (False, 1)
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_bytes"] > 1e8


def test_building_without_a_compiler_says_what_to_install(edgekit, tmp_path):
    pytest.importorskip("executorch")
    done = edgekit("doctor", "--build", env={"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "CXX": ""})
    assert done.returncode == 1
    assert "no C++ compiler. Install g++ or set CXX to your compiler" in done.stderr


@pytest.mark.parametrize("engine", ["onnx", "executorch"])
def test_the_models_are_small_int8_and_verified(engine):
    with Bundle.open(diagnosis.model_path(engine)) as bundle:
        assert (bundle.manifest.status, bundle.manifest.recipe) == ("verified", "w8a8_static")
        assert bundle.manifest.artifact.format == engine
        assert str(ROOT).encode() not in bundle.model_path.read_bytes()
    assert sum(path.stat().st_size for path in diagnosis.MODELS.iterdir()) < 20_000


def test_the_models_can_be_made_again(tmp_path):
    from experiments.doctor_models import make

    make("onnx", tmp_path / "onnx.zip")
    with Bundle.open(tmp_path / "onnx.zip") as made, Bundle.open(diagnosis.model_path("onnx")) as kept:
        found, wanted = made.golden().own_answers()["probabilities"], kept.golden().own_answers()["probabilities"]
        assert np.abs(found - wanted).max() < 1e-3
        assert 0.3 < wanted.max() < 0.99  # not so sure that an error would not show


def test_a_processor_knows_what_it_lacks():
    assert cpu.missing(["no_such_instruction"]) == (("no_such_instruction",) if cpu.flags() else ())
    assert cpu.missing(flag.replace("_", "") for flag in cpu.flags()) == ()
    assert cpu.name()
