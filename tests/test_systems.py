"""What only one operating system has is used where there is an equal for the others, and the equals are tried here."""

import ast
import functools
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import ENVIRONMENT, ROOT
from test_layers import FILES

from edgekit.edge_runtime.errors import NoHome, UsageError
from edgekit.edge_runtime.files import cached, keep, user_cache
from edgekit.edge_runtime.locking import alone_in, lock, lock_folder
from edgekit.edge_runtime.machine.machine_state import by_psutil, read_counters
from edgekit.edge_runtime.worker.pipe import SelectingReader, ThreadedReader
from edgekit.train.loop.fit import fit
from edgekit.train.registry import book_model

ONE_SYSTEM_ONLY = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "tty", "msvcrt", "winreg", "_winapi", "syslog"}
NOT_ON_WINDOWS = {
    *("getuid", "geteuid", "getpgrp", "killpg", "setsid", "fork", "register_at_fork", "sched_getaffinity", "sysconf"),
    *("uname", "wait4", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "pthread_sigmask", "SIGKILL", "SIGSTOP", "SIGCONT"),
}
# Each asks `hasattr`, `sys.platform` or catches AttributeError first.
GUARDED = {
    "edge_runtime.child_start": {"getpgrp", "killpg", "pthread_sigmask", "SIGKILL", "SIGCONT"},
    "edge_runtime.locking": {"getuid", "O_DIRECTORY", "O_NOFOLLOW"},
    "edge_runtime.machine.cpu": {"sched_getaffinity"},
    "edge_runtime.machine.machine_state": {"sysconf"},
    "edge_runtime.machine.memory": {"sysconf"},
    "edge_runtime.processes": {"killpg", "SIGKILL"},
    "edge_runtime.python_child": {"register_at_fork"},
}
PRODUCT = {name: path for name, path in FILES.items() if not name.startswith("experiments")}


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_file_imports_what_one_system_lacks_when_it_is_itself_imported():
    found = set()
    for name, path in FILES.items():
        parsed = tree(path)
        inside = {id(n) for f in ast.walk(parsed) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
        for node in ast.walk(parsed):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in inside:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                found |= {(name, one) for one in names if one.split(".")[0] in ONE_SYSTEM_ONLY}
    assert found == set()


def test_what_windows_lacks_is_named_only_where_it_is_asked_for_first():
    found = {}
    for name, path in PRODUCT.items():
        used = {
            node.attr
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("os", "signal")
        } & NOT_ON_WINDOWS
        if used:
            found[name] = used
    assert found == GUARDED


def test_every_text_file_says_that_it_is_utf8():
    """Windows would take the encoding of the country otherwise."""
    wrong = []
    for name, path in FILES.items():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            of = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            binary = any(set(text) <= set("rwaxb+") and "b" in text for text in texts)
            if of in ("read_text", "write_text") and isinstance(node.func, ast.Attribute):
                module = getattr(node.func.value, "id", "") == "austen"  # a function of this name
                ok = module or "encoding" in given or len(node.args) > (of == "write_text")
            elif of == "fdopen" or (of == "open" and isinstance(node.func, ast.Name)):
                ok = binary or "encoding" in given or isinstance(node.args[0], ast.Call)  # of os.open, for bytes
            elif of == "run" and getattr(getattr(node.func, "value", None), "id", "") == "subprocess":
                ok = "text" not in given or "encoding" in given
            else:
                continue
            if not ok:
                wrong.append(f"{name}:{node.lineno}")
    assert wrong == []


def test_only_ages_of_files_are_told_by_a_clock_that_may_jump():
    """Durations come from `time.monotonic` or `time.perf_counter`."""
    of_files = {"edge_runtime.temporary", "edge_runtime.owner"}
    named = {name for name, path in PRODUCT.items() if "time.time()" in path.read_text(encoding="utf-8")}
    assert named <= of_files


AS_ON_WINDOWS = """
import importlib, os, signal, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty"):
    sys.modules[name] = None
for module, names in ((os, %r), (signal, %r)):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in sys.argv[1:]:
    importlib.import_module(name)
from pathlib import Path
from edgekit.edge_runtime import Bundle, load_engine
from edgekit.edge_runtime.locking import lock_folder
from edgekit.edge_runtime.temporary import LockedFolder
with Bundle.open("tests/data/format1/digits_cnn-onnx-w8a8_static") as bundle, load_engine(bundle) as engine:
    print(len(engine.run(bundle.golden().sample(0))))
"""


def test_everything_is_imported_and_a_bundle_runs_where_posix_has_nothing_to_offer():
    """Stands in for Windows as far as Linux can: its own modules and calls cannot be tried here."""
    skipped = ("edge_runtime.engines.", "edge_runtime.profiling.", "edge_runtime.loadgen.", "edge_runtime.doctor.")
    names = [f"edgekit.{n}" for n in PRODUCT if n.startswith("edge_runtime") and not n.startswith(skipped)]
    # Kept: what the standard library itself and numpy take for granted on this system.
    gone = sorted(NOT_ON_WINDOWS - {"O_NONBLOCK", "register_at_fork", "uname", "sysconf", "sched_getaffinity", "fork"})
    code = AS_ON_WINDOWS % (gone, gone)
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *names, "edgekit.cli.verbs"]
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr[-2000:]


@pytest.mark.parametrize("reader", [SelectingReader, ThreadedReader])
def test_a_pipe_is_read_with_a_deadline_by_either_reader(reader):
    out, into = os.pipe()
    pipe = reader(out)
    assert pipe.read(5, time.monotonic() + 0.05) is None
    os.write(into, b"0123456789")
    got = b""
    while len(got) < 4:
        got += pipe.read(4 - len(got), time.monotonic() + 5)
    assert got == b"0123"
    assert pipe.read(100, time.monotonic() + 5) == b"456789"
    os.close(into)
    assert pipe.read(1, time.monotonic() + 5) == b""
    assert pipe.read(1, time.monotonic() + 5) == b""
    os.close(out)


def test_psutil_counts_what_proc_counts():
    here, there = read_counters([os.getpid()]), by_psutil([os.getpid()])
    assert there.own_cpu_s == pytest.approx(here.own_cpu_s, abs=0.2)
    assert there.busy_cpu_s == pytest.approx(here.busy_cpu_s, rel=0.02)
    assert there.load_1min == pytest.approx(here.load_1min, abs=0.5)
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(2**22 + 1)
    assert by_psutil([2**22 + 1]).own_cpu_s <= there.own_cpu_s + 1  # one that has gone counts nothing


def test_a_lock_is_held_once(tmp_path):
    first = lock_folder(tmp_path)
    with pytest.raises(BlockingIOError):
        lock_folder(tmp_path)
    os.close(first)
    os.close(lock_folder(tmp_path))
    with (tmp_path / "file").open("wb") as one, (tmp_path / "file").open("wb") as other:
        lock(one.fileno())
        with pytest.raises(BlockingIOError):
            lock(other.fileno())


def test_without_a_home_folder_what_only_saves_time_is_not_kept_and_the_rest_says_what_to_set(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(NoHome, match="Set HOME, or XDG_CACHE_HOME and EDGEKIT_DATA"):
        user_cache()
    assert cached("engines", "x.json") is None
    keep(cached("engines", "x.json"), b"nothing")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    keep(tmp_path / "file" / "below" / "x.json", b"nothing")
    assert (tmp_path / "file").read_bytes() == b""
    assert np.array_equal([p.name for p in tmp_path.iterdir()], ["file"])


def test_two_do_not_work_in_one_folder(tmp_path):
    with alone_in(tmp_path / "run"):
        (tmp_path / "link").symlink_to(tmp_path / "run")
        for place in ("run", "link"):
            said = f"another process works in {tmp_path / place}, and two would mix"
            with pytest.raises(UsageError, match=said), alone_in(tmp_path / place):
                pass
    assert not (tmp_path / "run").exists()  # nothing came into it
    with alone_in(tmp_path / "none", make=False):
        pass
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_bytes(b"")
    with alone_in(tmp_path / "file" / "below"):  # who writes there says what is wrong
        pass


def test_a_second_training_into_the_same_folder_is_refused_before_it_reads_anything(tmp_path):
    with alone_in(tmp_path / "run"):
        with pytest.raises(UsageError, match="another process works in .*give another --runs"):
            fit(book_model("digits_cnn"), tmp_path / "run", device="cpu")
        assert list((tmp_path / "run").iterdir()) == []
