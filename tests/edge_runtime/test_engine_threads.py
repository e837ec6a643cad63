"""Several threads on one engine, and threads inside one run: exact answers, no crash, no more cores than asked for."""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ENVIRONMENT, HELPERS, ROOT
from onnx import TensorProto, helper, numpy_helper
from pair_model import pair_arrays

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.engines import RUNS_CODE, Engine, Options, load
from edgekit.edge_runtime.engines.onnx import OnnxSession, open_session
from edgekit.edge_runtime.errors import EngineError

EVERY = ["onnx", "onnx@openvino", "executorch_xnnpack", "torchscript_traced"]
BIG = TensorSpec(name="x", dtype="float32", shape=(512, 512))


@pytest.fixture(params=EVERY)
def engine(pair_bundles, request):
    exporter, _, name = request.param.partition("@")
    with load(Bundle.open(pair_bundles[1][exporter]), engine=name or None, allow=RUNS_CODE) as engine:
        yield engine


def all_at_once(work, count=8):
    """Runs `work(number)` in `count` threads that start together; what they raised."""
    start, raised = threading.Barrier(count), []

    def run(number):
        start.wait()
        try:
            work(number)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_eight_threads_get_their_own_answers_to_the_last_bit(engine):
    inputs = [[pair_arrays(1 + (number + i) % 8, seed=50 * number + i) for i in range(50)] for number in range(8)]
    wanted = [[engine.run(arrays) for arrays in row] for row in inputs]
    found = [[] for _ in inputs]
    assert all_at_once(lambda number: found[number].extend(engine.run(arrays) for arrays in inputs[number])) == []
    same = [
        all(one[name].tobytes() == other[name].tobytes() for name in one)
        for mine, theirs in zip(found, wanted, strict=True)
        for one, other in zip(mine, theirs, strict=True)
    ]
    assert (len(same), sum(same)) == (400, 400)


def test_closing_lets_running_ones_finish_and_refuses_later_ones(engine):
    finished = []

    def work(number):
        for i in range(200):
            if number == 0 and i == 5:
                engine.close()
            finished.append(engine.run(pair_arrays(3))["odd"].shape)

    raised = all_at_once(work, count=4)
    assert set(finished) == {(3, 5)}
    assert {str(error) for error in raised} == {f"this {engine.name} engine was closed. Load the bundle again"}
    assert {type(error) for error in raised} == {EngineError}


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Eight products of 512 x 512 matrices: milliseconds, so that a second thread would be worth using."""
    weights = numpy_helper.from_array(np.eye(512, dtype=np.float32), "w")
    names = ["x", *(f"h{i}" for i in range(7)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, BIG.shape) for name in "xy")
    graph = helper.make_graph(nodes, "big", [x], [y], [weights])
    path = tmp_path_factory.mktemp("big") / "big.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


class Names:
    """As much of a manifest as a session reads."""

    inputs = (BIG,)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(512, 512)),)


STARTED = """
import os, sys
from pathlib import Path
import numpy as np
from edgekit.edge_runtime.engines.onnx import OnnxSession
from test_engine_threads import Names

kept = [OnnxSession(Path(sys.argv[1]), Names, 1)]
for number in (1, 2, 3):
    before = len(os.listdir("/proc/self/task"))
    kept.append(OnnxSession(Path(sys.argv[1]), Names, number))
    kept[-1].run([np.ones(Names.inputs[0].shape, np.float32)])
    print(kept[-1].num_threads, len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="only Linux shows its threads there")
def test_onnxruntime_starts_no_more_threads_than_asked_for(big):
    folders = ROOT, ROOT / "tests", HELPERS, Path(__file__).parent
    paths = {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run([sys.executable, "-c", STARTED, big], env=ENVIRONMENT | paths, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "0", "2", "1", "3", "2"], done.stderr


def cpu_share(engine, arrays, seconds=0.4):
    """CPU time of this process over wall time while the engine runs: about how many cores it kept busy."""
    engine.run(arrays)
    cpu, wall = time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < seconds:
        engine.run(arrays)
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def test_one_thread_keeps_about_one_core_busy(big):
    engine = Engine("onnx", OnnxSession(big, Names, 1), Names.inputs, Names.outputs)
    assert cpu_share(engine, {"x": np.ones(BIG.shape, np.float32)}) < 1.3


@pytest.mark.parametrize("spin", [False, True])
def test_threads_spin_between_runs_only_where_that_was_asked_for(big, spin):
    session = open_session(big, Names, Options(num_threads=2, spin=spin))
    entry = session._session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning")
    assert entry == str(int(spin))
    assert np.array_equal(session.run([np.eye(512, dtype=np.float32)])[0], np.eye(512, dtype=np.float32))


@pytest.mark.parametrize("exporter", ["executorch_xnnpack", "torchscript_traced"])
def test_every_engine_says_how_many_threads_it_uses(pair_bundles, exporter):
    for num_threads in (1, 2, 1):
        with load(Bundle.open(pair_bundles[1][exporter]), num_threads=num_threads, allow=RUNS_CODE) as engine:
            assert engine.num_threads == num_threads
            assert engine.run(pair_arrays(2))["odd"].shape == (2, 5)
