"""Programs through the C++ runtime: the Python runtime's answers to the last bit, no torch, no crash by bad files."""

import json
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.edge_runtime.engines import executorch_build, executorch_native
from edgekit.edge_runtime.engines.executorch_native import NativeSession
from edgekit.edge_runtime.errors import EngineError, InputError

if reason := executorch_native.missing():
    pytest.skip(f"no native ExecuTorch: {reason}", allow_module_level=True)
torch = pytest.importorskip("torch")

PICTURE = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), np.uint8)
PAIR = [np.arange(12, dtype=np.float32).reshape(3, 4), np.full((3, 4), 0.1, np.float32)]


class Net(torch.nn.Module):
    """Like our exported models: the cast and the permutation stay outside the delegate."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.head = torch.nn.Linear(8 * 16, 10)

    def forward(self, image):
        x = image.permute(0, 3, 1, 2).to(torch.float32) / 255
        x = torch.nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return torch.softmax(self.head(x.flatten(1)), 1)


class Pair(torch.nn.Module):
    """Two inputs; three outputs, of which one is an input and one is of another type."""

    def forward(self, a, b):
        return a, a + b, a > 3


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Small programs, each with its inputs and the Python runtime's answers."""
    folder = tmp_path_factory.mktemp("programs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: (path, *rest) for name, path, *rest in _export(folder)}


def _export(folder):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.edge_runtime.engines.executorch_python import ExecuTorchSession

    torch.manual_seed(0)
    net, picture = Net().eval(), (torch.from_numpy(PICTURE),)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(net, picture).module(), quantizer)
    prepared(*picture)
    batch = {"image": {0: torch.export.Dim("n", min=1, max=8)}}
    captured = {
        "fp32": (torch.export.export(net, picture), [PICTURE]),
        "int8": (torch.export.export(convert_pt2e(prepared), picture), [PICTURE]),
        "dynamic": (
            torch.export.export(net, (torch.from_numpy(PICTURE.repeat(2, 0)),), dynamic_shapes=batch),
            [PICTURE.repeat(5, 0)],
        ),
        "pair": (torch.export.export(Pair(), tuple(map(torch.from_numpy, PAIR))), PAIR),
    }
    for name, (program, inputs) in captured.items():
        partitioner = [] if name == "pair" else [XnnpackPartitioner()]
        lowered = to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch()
        (path := folder / f"{name}.pte").write_bytes(lowered.buffer)
        yield name, path, inputs, [np.array(out) for out in ExecuTorchSession(path, 1).run(inputs)]


def python(code, *arguments, **environment):
    """A fresh interpreter; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("name", ["fp32", "int8", "dynamic", "pair"])
def test_the_answers_are_the_python_runtimes_to_the_last_bit(programs, name, num_threads):
    path, inputs, expected = programs[name]
    session = NativeSession(path, num_threads)
    for _ in range(2):
        found = session.run(inputs)
        assert [(out.shape, out.dtype) for out in found] == [(out.shape, out.dtype) for out in expected]
        assert [out.tobytes() for out in found] == [out.tobytes() for out in expected]
    assert session.version == f"executorch {executorch_build.version_of(executorch_build.package_folder())} (native)"


def test_outputs_are_copies(programs):
    path, (a, b), _ = programs["pair"]
    session = NativeSession(path, 1)
    first = session.run([a, b])
    before = [out.copy() for out in first]
    session.run([b, a])
    a_view = first[0]
    assert all(np.array_equal(out, kept) for out, kept in zip(first, before, strict=True))
    assert not np.shares_memory(a_view, a)


def test_inputs_in_any_memory_layout(programs):
    path, _, _ = programs["pair"]
    a = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]  # (3, 4), strided
    b = np.broadcast_to(np.float32(1), (3, 4))  # no stride at all, read only
    assert np.array_equal(NativeSession(path, 1).run([a, b])[1], a + b)


def test_the_shape_may_change_between_runs(programs):
    path, (pictures,), (expected,) = programs["dynamic"]
    session = NativeSession(path, 1)
    for count in (5, 1, 3, 5):
        assert np.allclose(session.run([pictures[:count]])[0], expected[:count], atol=1e-6)
    with pytest.raises(EngineError, match=r"an input does not fit: \w+ \(0x"):
        session.run([PICTURE.repeat(9, 0)])
    assert np.allclose(session.run([pictures])[0], expected, atol=1e-6)


def test_wrong_inputs_say_what_was_expected(programs):
    session = NativeSession(programs["fp32"][0], 1)
    with pytest.raises(InputError, match="takes 1 inputs, found 2"):
        session.run([PICTURE, PICTURE])
    with pytest.raises(InputError, match="is uint8, found float32"):
        session.run([PICTURE.astype(np.float32)])
    with pytest.raises(InputError, match=r"is \[1, 8, 8, 1\], found \[8, 8\]"):
        session.run([PICTURE[0, :, :, 0]])
    with pytest.raises(EngineError, match="an input does not fit: "):
        session.run([np.zeros((1, 8, 9, 1), np.uint8)])


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"aten::add", b"aten::odd", r"OperatorMissing \(0x14\): .*aten::odd"),
        (b"forward", b"farward", r"no method 'forward': InvalidArgument \(0x12\)"),
        (b"ET12", b"ET99", r"no sound program: InvalidProgram \(0x23\)"),
    ],
)
def test_what_executorch_refuses_is_an_error_with_its_name(programs, tmp_path, old, new, text):
    raw = programs["pair"][0].read_bytes()
    assert old in raw
    (path := tmp_path / "bad.pte").write_bytes(raw.replace(old, new))
    with pytest.raises(EngineError, match=text):
        NativeSession(path, 1)


def test_an_unknown_delegate_and_a_missing_file_are_errors(programs, tmp_path):
    (path := tmp_path / "bad.pte").write_bytes(programs["fp32"][0].read_bytes().replace(b"XnnpackB", b"NobodysB"))
    with pytest.raises(EngineError, match=r"NotFound \(0x20\): .*NobodysBackend"):
        NativeSession(path, 1)
    with pytest.raises(EngineError, match=r"absent.pte could not be loaded: .*AccessFailed \(0x22\)"):
        NativeSession(tmp_path / "absent.pte", 1)


CORRUPT = """
import collections, json, pathlib, random, sys
import numpy as np
from edgekit.edge_runtime.engines.executorch_native import NativeSession
from edgekit.edge_runtime.errors import EngineError

raw, target, count = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2]), collections.Counter()
for seed in range(int(sys.argv[3])):
    chance, data = random.Random(seed), bytearray(raw)
    if seed % 3 == 0:
        del data[chance.randrange(len(data)):]
    for _ in range(chance.randint(1, 16) if seed % 3 else 0):
        data[chance.randrange(min(len(data), 4096) if seed % 3 == 1 else len(data))] ^= 1 << chance.randrange(8)
    target.write_bytes(data)
    try:
        NativeSession(target, 1).run([np.zeros((1, 8, 8, 1), np.uint8)])
        count["ran"] += 1
    except EngineError as error:
        assert "(0x" in str(error) or "gave up" in str(error) or "memory" in str(error), error
        count["refused"] += 1
print(json.dumps(count))
"""


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_damaged_files_are_refused_or_run_but_never_end_the_process(programs, tmp_path, name):
    count = json.loads(python(CORRUPT, programs[name][0], tmp_path / "damaged.pte", 240))
    assert count["ran"] + count["refused"] == 240
    assert count["refused"] >= 80  # every truncation, at the least


FRESH = """
import pathlib, resource, sys
import numpy as np
from edgekit.edge_runtime.engines import Options
from edgekit.edge_runtime.engines.executorch import open_session
from edgekit.edge_runtime.machine.memory import peak_rss_bytes

session = open_session(pathlib.Path(sys.argv[1]), None, Options())
session.run([np.zeros((1, 8, 8, 1), np.uint8)])
used = resource.getrusage(resource.RUSAGE_SELF)
print(session.version, "torch" in sys.modules, peak_rss_bytes(), used.ru_utime + used.ru_stime, sep="|")
"""


def test_a_process_that_runs_a_program_has_no_torch_and_stays_small(programs):
    version, torch_loaded, peak, cpu_seconds = python(FRESH, programs["int8"][0]).strip().split("|")
    assert version.endswith("(native)")
    assert torch_loaded == "False"
    assert int(peak) < 80e6
    assert float(cpu_seconds) < 1  # 0.2 on an idle machine; importing torch alone takes more than a second


def test_the_python_runtime_runs_where_it_is_asked_for_or_nothing_else_can(programs, tmp_path):
    path, _, _ = programs["fp32"]
    assert "(Python runtime)|True" in python(FRESH, path, EDGEKIT_EXECUTORCH="python")
    nothing = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "CXX": ""}
    assert "(Python runtime: there is no C++ compiler)|True" in python(FRESH, path, **nothing)
    with pytest.raises(AssertionError, match="EDGEKIT_EXECUTORCH=native is set, but "):
        python(FRESH, path, EDGEKIT_EXECUTORCH="native", **nothing)
    with pytest.raises(AssertionError, match="unknown EDGEKIT_EXECUTORCH 'c'. Known: native, python"):
        python(FRESH, path, EDGEKIT_EXECUTORCH="c")


def test_one_session_from_many_threads(programs):
    path, _, _ = programs["pair"]
    session, wrong = NativeSession(path, 1), []

    def work(number):
        a = np.full((3, 4), number, np.float32)
        wrong.extend(i for i in range(300) if not np.array_equal(session.run([a, a])[1], a + a))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_thread_pool_in_use_is_not_replaced(programs):
    path, inputs, expected = programs["fp32"]
    two = NativeSession(path, 2)
    with pytest.raises(EngineError, match="uses it with 2 threads; 3 were asked for"):
        NativeSession(path, 3)
    assert NativeSession(path, 1).run(inputs)[0].tobytes() == two.run(inputs)[0].tobytes() == expected[0].tobytes()
    del two
    assert NativeSession(path, 3).run(inputs)[0].tobytes() == expected[0].tobytes()
