"""The parent survives whatever happens to the process that runs a model, and says what happened and what to do."""

import signal
import time

import numpy as np
import pytest
from conftest import HELPERS, ROOT

from edgekit.edge_runtime.errors import EngineError, InputError
from edgekit.edge_runtime.worker.parent import Worker

ARRAYS = {"x": np.zeros((1, 2), np.float32)}


@pytest.fixture(autouse=True)
def code_child_is_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


def child(code, *, timeout_s=30.0):
    """A worker process that runs `code` instead of serving; native ways to die need no model."""
    prelude = "import ctypes, faulthandler, json, os, signal, sys, time; "
    return Worker("code_child", [prelude + code], name="bundles/x", timeout_s=timeout_s)


def failure(code, **options):
    with child(code, **options) as worker, pytest.raises(EngineError) as error:
        worker.load()
    assert str(error.value).startswith("bundles/x: ")
    return str(error.value)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("sys.stdin.readline(); ctypes.string_at(0)", "SIGSEGV"),
        ("sys.stdin.readline(); os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGBUS)", "SIGBUS"),
        ("os.kill(os.getpid(), signal.SIGFPE)", "SIGFPE"),
        ("os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
    ],
)
def test_a_native_crash_is_named_with_what_to_do(code, name):
    said = failure(code)
    assert f"its process was killed by {name} during 'load'. The native library crashed" in said
    assert "fetch or pack the bundle again, or update the engine" in said


def test_running_out_of_memory_is_told_from_a_crash():
    assert "killed by SIGKILL during 'load'. The system does that when memory runs out" in failure(
        "os.kill(os.getpid(), signal.SIGKILL)"
    )


def test_a_signal_without_a_name_is_a_number():
    assert "was killed by signal 41" in failure("signal.signal(41, signal.SIG_DFL); os.kill(os.getpid(), 41)")


def test_its_last_words_are_passed_on_and_not_all_of_them():
    said = failure("print('x' * 10**6, file=sys.stderr); print('assertion failed', file=sys.stderr); sys.exit(7)")
    assert "ended with status 7" in said
    assert said.endswith(" | assertion failed")
    assert len(said) < 2500


def test_a_process_that_hangs_is_stopped():
    start = time.monotonic()
    with child("time.sleep(60)", timeout_s=0.3) as worker:
        with pytest.raises(EngineError, match="no answer to 'load' within 0 s and was ended"):
            worker.load()
        assert worker._process.wait(5) == -signal.SIGKILL
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "answer",
    ["nonsense", "[]", "{}", '{"nbytes": "x"}', '{"nbytes": 3}xyz'],
)
def test_an_answer_that_cannot_be_read_is_no_traceback(answer):
    line, _, rest = answer.partition("}")
    raw = f"{line}{'}' if '}' in answer else ''}\n{rest}"
    assert failure(f"os.write(1, {raw.encode()!r}); sys.stdin.read()")


@pytest.mark.parametrize(
    ("kind", "raised"), [("InputError", InputError), ("annotations", EngineError), ("x", EngineError)]
)
def test_an_error_keeps_its_class_and_nothing_else_is_raised(kind, raised):
    head = f'{{"nbytes": 0, "error": "too dark", "kind": "{kind}"}}\n'
    with (
        child(f"os.write(1, {head.encode()!r}); sys.stdin.read()") as worker,
        pytest.raises(raised, match="^too dark$"),
    ):
        worker.run(ARRAYS)


def test_python_in_the_current_folder_is_not_imported_by_the_worker(tmp_path, monkeypatch):
    """A download folder may hold a file called numpy.py."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('this should not run')")
    monkeypatch.chdir(tmp_path)
    with Worker.for_bundle(ROOT / "no-such-bundle") as worker, pytest.raises(Exception, match="no bundle at"):
        worker.load()
