"""Model files spoiled by a hostile packer, checksums and all, meet the native library in a process of their own: it
refuses them, answers, dies or is stopped, and this process lives on and says which."""

import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from corruptions import damaged, flipped, refit
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import SIDE, make_bundle, onnx_model, quarter_weights

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.worker.parent import Worker

CASES = 20


def fate(path, *, timeout_s=60.0):
    """ "answered", or what the worker's end said."""
    with Bundle.open(path) as bundle, Worker.for_bundle(path, timeout_s=timeout_s) as worker:
        try:
            worker.load()
            found = worker.run(bundle.golden().sample(0))
        except EdgekitError as error:
            return str(error)
        assert [(rows.dtype, rows.shape) for rows in found.values()] == [
            (np.dtype(spec.dtype), spec.shape) for spec in bundle.manifest.outputs
        ]
        return "answered"


def spoiled(bundle, folder, seed):
    """A copy whose model file had one to nine accidents, on every second seed only flipped bits; checksums that fit."""
    chance, path = random.Random(seed), shutil.copytree(bundle, folder / f"{bundle.name}-{seed}")
    model = Bundle.open(bundle).manifest.artifact.file
    raw = (path / model).read_bytes()
    for _ in range(chance.randint(1, 9)):
        raw = flipped(raw, chance) if seed % 2 else damaged(raw, chance)
    (path / model).write_bytes(raw)
    refit(path, "artifact")
    return path


def fates(bundle, folder, count):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(fate, [spoiled(bundle, folder, seed) for seed in range(count)]))


def test_damaged_onnx_files_are_refused_or_answer(tmp_path):
    found = fates(make_bundle(tmp_path, name="x"), tmp_path, CASES)
    assert len(found) == CASES
    assert sum("model.onnx could not be loaded" in said for said in found) >= CASES // 4
    assert all(said and "Traceback" not in said for said in found)


def test_damaged_executorch_programs_are_refused_or_answer(quickstart, tmp_path):
    found = fates(quickstart.bundle("executorch_xnnpack-fp32"), tmp_path, CASES // 2)
    assert sum("model.pte could not be loaded" in said for said in found) >= CASES // 8
    assert all(said and "Traceback" not in said for said in found)


def hostile_model(folder, nodes, constants=()):
    """A bundle around a graph that is valid ONNX and means no good: image -> probabilities."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return make_bundle(folder, name="hostile", model_bytes=model.SerializeToString())


def test_a_model_that_never_ends_is_stopped(tmp_path):
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [1, 4])],
        [value("go_on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, [1, 4])],
    )
    loop = helper.make_node("Loop", ["often", "yes", "start"], ["probabilities"], body=body)
    constants = [("often", np.int64(2**62)), ("yes", np.bool_(True)), ("start", np.ones((1, 4), np.float32))]
    said = fate(hostile_model(tmp_path, [loop], constants), timeout_s=8.0)
    assert "no answer to 'run' within 8 s and was ended" in said


def test_a_model_that_wants_all_memory_is_refused(tmp_path):
    fill = helper.make_node("ConstantOfShape", ["sides"], ["probabilities"])
    path = hostile_model(tmp_path, [fill], [("sides", np.array([1 << 44], np.int64))])
    assert "could not be loaded" in fate(path) or "failed to run" in fate(path)


def test_a_model_that_answers_in_another_shape_is_refused(tmp_path):
    fill = helper.make_node("ConstantOfShape", ["sides"], ["probabilities"])
    said = fate(hostile_model(tmp_path, [fill], [("sides", np.array([2, 3], np.int64))]))
    assert "[2, 3]" in said
    assert "[1, 4]" in said


@pytest.mark.parametrize("location", ["/etc/hostname", "../outside.bin", "missing.bin"])
def test_weights_outside_the_bundle_are_not_read(tmp_path, location):
    (tmp_path / "outside.bin").write_bytes(bytes(64 * 4 * 4))
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    said = fate(make_bundle(tmp_path, name="x", model_bytes=model.SerializeToString()))
    assert "model.onnx has some of its numbers in another file" in said
