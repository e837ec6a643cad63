"""OpenVINO runs what onnxruntime runs, in float32, with answers of its own; it reports and writes nothing."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT
from engine_bundles import free_batch_bundle, large_product_model, onnxruntime_only_bundle
from more_bundles import make_float_bundle, make_two_programs
from onnx import TensorProto, helper
from tiny_bundle import SIDE, make_bundle, quarter_pictures, with_program

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import OutputSpec, TensorSpec
from edgekit.edge_runtime.doctor.diagnosis import model_path
from edgekit.edge_runtime.engines import Engine, Options, load
from edgekit.edge_runtime.engines.openvino import open_session
from edgekit.edge_runtime.errors import EngineError, UsageError
from edgekit.edge_runtime.machine import cpu
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.edge_runtime.worker.parent import Worker

PICTURES = quarter_pictures()[0]


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    return free_batch_bundle(tmp_path_factory.mktemp("free"))


def both(bundle, **options):
    return load(bundle, **options), load(bundle, engine="openvino", **options)


def compared(bundle, program=None):
    """The lowest SQNR in dB of OpenVINO's answers to the golden samples against onnxruntime's."""
    golden = bundle.golden(program)
    usual, other = both(bundle, program=program)
    pairs = [(usual.run(golden.sample(i)), other.run(golden.sample(i))) for i in range(golden.samples)]
    return min(sqnr_db(*(np.concatenate([pair[i][name] for pair in pairs]) for i in (0, 1))) for name in golden.outputs)


@pytest.mark.parametrize("make", [make_bundle, make_float_bundle, free_batch_bundle])
def test_float_nets_answer_as_in_onnxruntime(make, tmp_path):
    assert compared(Bundle.open(make(tmp_path, name="net"))) > 100


@pytest.mark.parametrize("program", ["encoder", "step"])
def test_so_does_each_of_several_programs(program, tmp_path):
    assert compared(Bundle.open(make_two_programs(tmp_path)), program) > 100


def test_an_int8_net_answers_as_in_onnxruntime_within_a_level():
    with Bundle.open(model_path("onnx")) as bundle:
        assert compared(bundle) > 40


def test_the_batch_is_free_and_may_change_from_run_to_run(free):
    usual, other = both(Bundle.open(free))
    for rows in (3, 8, 1, 5):
        arrays = {"image": PICTURES[:rows]}
        answer, wanted = (engine.run(arrays)["probabilities"] for engine in (other, usual))
        assert answer.shape == (rows, 4)
        assert np.abs(answer - wanted).max() < 1e-6


def test_eight_threads_get_their_own_answers_to_the_last_bit(free):
    engine = load(Bundle.open(free), engine="openvino")
    inputs = [[{"image": np.roll(PICTURES, n + i, axis=1)[: 1 + (n + i) % 8]} for i in range(30)] for n in range(8)]
    wanted = [[engine.run(arrays)["probabilities"] for arrays in row] for row in inputs]
    found, start = [[] for _ in inputs], threading.Barrier(8)

    def work(number):
        start.wait()
        found[number] += [engine.run(arrays)["probabilities"] for arrays in inputs[number]]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = [pair for mine, theirs in zip(found, wanted, strict=True) for pair in zip(mine, theirs, strict=True)]
    same = [np.array_equal(*pair) for pair in pairs]
    assert (len(same), sum(same)) == (240, 240)


def test_answers_are_arrays_of_their_own_and_inputs_stay_as_they_are(tmp_path):
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("same", "positive")]
    nodes = [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("Relu", ["x"], ["positive"])]
    model = helper.make_model(
        helper.make_graph(nodes, "alias", [taken], given), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    engine = engine_of(tmp_path / "model.onnx", ["same", "positive"], (2, 3))
    array = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    before = array.copy()
    first, second = engine.run({"x": array}), engine.run({"x": -array})
    assert np.array_equal(array, before)
    assert np.array_equal(first["same"], before)  # the second run did not write into it
    assert np.array_equal(second["positive"], np.maximum(-before, 0))
    assert not np.shares_memory(first["same"], array)
    first["same"][:] = 7
    assert np.array_equal(engine.run({"x": array})["same"], before)


def engine_of(path, outputs, shape, **options):
    inputs = (TensorSpec(name="x", dtype="float32", shape=shape),)
    specs = tuple(OutputSpec(name=name, dtype="float32", shape=shape, holds="values") for name in outputs)
    manifest = type("Names", (), {"inputs": inputs, "outputs": specs})
    return Engine("onnx", open_session(path, manifest, Options(**options)), inputs, specs)


def test_it_computes_in_float32_unless_bfloat16_is_asked_for(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(large_product_model())
    x = np.random.default_rng(1).normal(size=(SIDE, 256)).astype(np.float32)
    weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    exact = x.astype(np.float64) @ weights
    engine = engine_of(path, ["y"], (SIDE, 256))
    assert sqnr_db(exact, engine.run({"x": x})["y"]) > 100
    assert engine.version.split()[0] == "openvino"
    if not {"avx512f", "avx_ne_convert"} & cpu.flags():  # it emulates the type with these instructions
        with pytest.raises(EngineError, match=r"on this processor, not in bfloat16. Leave the precision out"):
            engine_of(path, ["y"], (SIDE, 256), precision="bfloat16")
        return
    rough = engine_of(path, ["y"], (SIDE, 256), precision="bfloat16")
    assert rough.version.endswith("(bfloat16)")
    assert 30 < sqnr_db(exact, rough.run({"x": x})["y"]) < 70


def test_a_precision_that_an_engine_does_not_have_is_refused(tmp_path):
    with pytest.raises(UsageError, match="onnxruntime computes in float32, not in 'bfloat16'.*: openvino: bfloat16"):
        load(Bundle.open(make_bundle(tmp_path, name="tiny")), precision="bfloat16")


def test_it_uses_the_threads_it_is_given(free):
    with load(Bundle.open(free), engine="openvino", num_threads=2) as engine:
        assert engine.num_threads == 2
    with Worker.for_bundle(free, engine="openvino") as worker:
        assert worker.load()["version"].startswith("openvino 20")


def test_names_in_the_file_and_in_the_manifest_must_be_the_same(tmp_path):
    bundle = Bundle.open(make_bundle(tmp_path, name="tiny"))
    bundle.manifest = with_program(bundle.manifest, inputs=(replace(bundle.manifest.inputs[0], name="other"),))
    with pytest.raises(EngineError, match=r"model.onnx has the inputs \['image'\], but the manifest says \['other'\]"):
        load(bundle, engine="openvino")


def test_what_it_cannot_run_is_named_without_its_source_files(tmp_path):
    with pytest.raises(EngineError) as error:
        load(Bundle.open(onnxruntime_only_bundle(tmp_path)), engine="openvino")
    assert "could not load model.onnx" in str(error.value)
    assert "operations: Det" in str(error.value)
    assert "src/" not in str(error.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(os.urandom(400))
    with pytest.raises(EngineError, match="could not load model.onnx"):
        engine_of(tmp_path / "model.onnx", ["y"], (1, 1))


def test_a_model_that_names_a_file_elsewhere_gets_nothing_from_it(tmp_path):
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "bundle").mkdir()
    for place in ("../secret.bin", str(tmp_path / "secret.bin")):
        tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", place), ("offset", "0"), ("length", "16")):
            tensor.external_data.add(key=key, value=value)
        x, y = (helper.make_tensor_value_info(name, 1, [4]) for name in "xy")
        graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        path = tmp_path / "bundle" / "model.onnx"
        path.write_bytes(model.SerializeToString())
        # Others leave away what leads out of the folder, and then find no such file in it.
        with pytest.raises(EngineError, match="outside the base directory|invalid external data"):
            engine_of(path, ["y"], (4,))


QUIET = """
import sys, numpy as np
from edgekit import Bundle, load_engine
for engine in ("openvino", "onnxruntime"):
    with Bundle.open(sys.argv[1]) as bundle, load_engine(bundle, engine=engine) as loaded:
        loaded.run({"image": np.zeros((1, 8, 8, 1), np.uint8)})
print(*(name for name in sys.modules if "telemetry" in name or name.startswith("openvino.tools")))
"""


def test_neither_engine_reports_its_use_or_writes_into_the_home(tmp_path):
    bundle = make_bundle(tmp_path, name="tiny")
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir(), cache.mkdir()
    paths = {"HOME": str(home), "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "ORT_DISABLE_TELEMETRY"} | paths
    command = [sys.executable, "-c", QUIET, bundle]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert [path for folder in (home, cache) for path in folder.rglob("*")] == []


def test_a_file_whose_ending_means_another_reader_is_not_read(tmp_path):
    manifest = Bundle.open(make_bundle(tmp_path, name="x")).manifest
    (tmp_path / "model.xml").write_bytes((tmp_path / "x" / "model.onnx").read_bytes())
    with pytest.raises(EngineError, match=r"reads ONNX from files that end in \.onnx; this one is called model\.xml"):
        open_session(tmp_path / "model.xml", manifest, Options())
