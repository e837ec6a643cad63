"""Children run nothing of the current folder, keep their environment clean, and end with whoever started them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, HELPERS, ROOT
from killed import command, descendants, kill_and_wait, until

from edgekit.edge_runtime.python_child import PythonChild, process_pool, run

PATHS = os.pathsep.join([str(ROOT), str(HELPERS)])
TELL = "import json, os, sys; print(json.dumps([sys.path, dict(os.environ), os.getcwd()]))"


@pytest.fixture(autouse=True)
def code_child_is_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)


def told(**options):
    return json.loads(run("code_child", [TELL], timeout_s=60, **options).stdout)


def test_the_current_folder_is_not_searched_however_it_is_named(tmp_path, monkeypatch):
    for name in ("numpy", "json", "edgekit", "code_child"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this should not run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{PATHS}{os.pathsep}")  # two empty entries
    paths, environment, place = told()
    assert str(tmp_path) not in paths
    assert "" not in paths
    assert place == str(tmp_path)
    assert environment["PYTHONPATH"] == PATHS
    assert environment["PYTHONSAFEPATH"] == "1"  # for what the child starts in its turn


def test_a_relative_entry_means_what_it_means_here(tmp_path, monkeypatch):
    monkeypatch.chdir(HELPERS)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}.")
    with PythonChild("code_child", [TELL], in_own_folder=True, stdout=subprocess.PIPE) as child:
        paths, _, place = json.loads(child.process.communicate()[0])
    assert str(HELPERS) in paths
    assert Path(place) == child.folder


def test_what_makes_python_do_something_else_first_is_dropped(monkeypatch):
    monkeypatch.setenv("PYTHONINSPECT", "1")  # would read its standard input as a program
    monkeypatch.setenv("PYTHONSTARTUP", "x.py")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    _, environment, _ = told(num_threads=3)
    kept = {name for name in environment if name.startswith("PYTHON")}
    ours = {"PYTHONPATH", "PYTHONSAFEPATH", "PYTHONIOENCODING"}
    assert kept - {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} == ours | {"PYTHONHASHSEED"}
    assert {environment[f"{library}_NUM_THREADS"] for library in ("OMP", "MKL", "OPENBLAS")} == {"3"}


@pytest.mark.parametrize("last", ["", "os.kill(os.getpid(), 9)"])
def test_its_temporary_folder_goes_with_it_however_it_ends(last):
    write = "import os, tempfile; print(tempfile.mkdtemp(), flush=True); input(); " + last
    child = PythonChild("code_child", [write], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    inside = Path(child.process.stdout.readline().strip())
    assert (inside.parent, inside.is_dir()) == (child.folder, True)
    child.process.communicate("go on\n")
    child.end()
    child.end()
    assert list(child.folder.parent.glob(f"{child.folder.name}*")) == []


def test_a_child_has_the_edgekit_of_its_parent_and_not_the_first_on_the_path(tmp_path):
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit" / "__init__.py").write_text("raise SystemExit('another edgekit')")
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from edgekit.edge_runtime.python_child import run
print(run("code_child", ["import edgekit.edge_runtime.files as f; print(f.__file__)"], timeout_s=60).stdout)
"""
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(HELPERS)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(ROOT / "edge_runtime" / "files.py"), done.stderr


def test_its_status_and_its_words_come_back():
    done = run("code_child", ["import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"], timeout_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_one_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    start = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); open(arguments[0], 'w').write(str(p.pid))"
    )
    pid = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        run("code_child", [f"{start}; time.sleep(60)", str(pid)], timeout_s=5)
    assert until(lambda: not command(int(pid.read_text())))


def start_parent(program, *arguments, cwd=None):
    """A process that runs `program`, code or a file, which prints one line when all is up; and that line."""
    what = [program] if isinstance(program, Path) else ["-c", program]
    process = subprocess.Popen(
        [sys.executable, *what, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT | {"PYTHONPATH": PATHS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


SLEEPS = """
import subprocess, sys
from edgekit.edge_runtime.python_child import PythonChild
child = PythonChild("code_child", [sys.argv[1]], stdout=subprocess.PIPE, text=True)
child.process.stdout.readline()
print(child.folder, flush=True)
child.process.wait()
"""
GRANDCHILD = """
import multiprocessing, signal, subprocess, time
def stay():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
multiprocessing.get_context("fork").Process(target=stay).start()
subprocess.Popen(["sleep", "60"])
"""


@pytest.mark.parametrize("before", ["", GRANDCHILD], ids=["alone", "with children of its own"])
def test_it_ends_when_its_parent_is_killed(before):
    parent, folder = start_parent(SLEEPS, f"{before}\nprint('up', flush=True)\nwhile True: pass")
    started = descendants(parent.pid)
    assert len(started) == (3 if before else 1)
    assert Path(folder).is_dir()
    assert kill_and_wait(parent, started) == set()
    assert until(lambda: not Path(folder).exists())


def test_it_cleans_up_first_where_it_handles_sigterm(tmp_path):
    child = f"""
import pathlib, time
from edgekit.edge_runtime.program import sigterm_interrupts
with sigterm_interrupts():
    try:
        print('up', flush=True)
        time.sleep(60)
    finally:
        pathlib.Path({str(tmp_path)!r}, 'clean').touch()
"""
    parent, folder = start_parent(SLEEPS, child)
    assert kill_and_wait(parent, descendants(parent.pid)) == set()
    assert (tmp_path / "clean").is_file()
    assert until(lambda: not Path(folder).exists())


def test_one_that_does_not_heed_sigterm_is_ended_after_a_while():
    child = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); print('up', flush=True); time.sleep(60)"
    )
    parent, _ = start_parent(SLEEPS, child)
    began = time.monotonic()
    assert kill_and_wait(parent, descendants(parent.pid)) == set()
    assert 4 < time.monotonic() - began < 25


def test_one_that_was_stopped_ends_too():
    parent, _ = start_parent(SLEEPS, "print('up', flush=True)\nwhile True: pass")
    (child,) = descendants(parent.pid)
    os.kill(child, signal.SIGSTOP)
    assert until(lambda: "\nState:\tT" in Path(f"/proc/{child}/status").read_text())
    assert kill_and_wait(parent, {child}) == set()


def test_a_fork_of_the_parent_does_not_keep_its_children(tmp_path):
    code = "import os, sys, time" + SLEEPS.replace("print(", "if not os.fork(): time.sleep(60); os._exit(0)\nprint(")
    parent, _ = start_parent(code, "print('up', flush=True)\nwhile True: pass")
    started = descendants(parent.pid)
    (child,) = (pid for pid in started if "child_start" in command(pid))
    (fork,) = started - {child}
    try:
        assert kill_and_wait(parent, {child}) == set()
    finally:
        os.kill(fork, signal.SIGKILL)


WORKER = """
import sys
from edgekit import Bundle
from edgekit.edge_runtime.worker.parent import Worker
with Worker.for_bundle(sys.argv[1]) as worker:
    worker.load()
    with Bundle.open(sys.argv[1]) as bundle:
        worker.set_samples(bundle.golden().inputs)
    print(worker._child.folder, flush=True)
    if sys.argv[2] == "busy":
        worker.time(nanoseconds=10**12, count=1)
    input()
"""


@pytest.mark.parametrize("what", ["busy", "idle"])
def test_a_worker_ends_when_its_parent_is_killed(what):
    parent, folder = start_parent(WORKER, ROOT / "tests/data/format1/digits_cnn-onnx-fp32.zip", what)
    started = descendants(parent.pid)
    assert [command(pid).split()[6] for pid in started] == ["edgekit.edge_runtime.worker.child"]
    assert len(list(Path(folder).glob("edgekit-process-*"))) == 1  # the .zip is unpacked in the child's own folder
    assert kill_and_wait(parent, started) == set()
    assert until(lambda: not Path(folder).exists())


POOL = """
import time
from edgekit.train.data.scan_tasks import run_scans
if __name__ == "__main__":
    print("up", flush=True)
    list(run_scans(time.sleep, [60, 60], processes=2))
"""


def test_the_processes_of_a_pool_end_when_their_parent_is_killed(tmp_path):
    program, here = tmp_path / "program.py", tmp_path / "here"
    program.write_text(POOL)
    here.mkdir()
    for name in ("multiprocessing", "pickle", "numpy"):
        (here / f"{name}.py").write_text("raise SystemExit('this should not run')")
    parent, _ = start_parent(program, cwd=here)
    assert until(lambda: sum("spawn_main" in command(pid) for pid in descendants(parent.pid)) == 2)
    assert kill_and_wait(parent, descendants(parent.pid)) == set()


FORKED = """
import multiprocessing, time
from edgekit.edge_runtime.python_child import end_with_parent
def work():
    end_with_parent()
    print("up", flush=True)
    time.sleep(60)
multiprocessing.get_context("fork").Process(target=work).start()
"""


def test_a_forked_process_can_end_with_its_parent_too():
    parent, _ = start_parent(FORKED)
    started = descendants(parent.pid)
    assert len(started) == 1
    assert kill_and_wait(parent, started) == set()


def test_the_folder_of_a_pool_is_removed_at_its_end():
    with process_pool(1) as pool:
        folder = Path(pool.submit(os.getenv, "TMPDIR").result())
        assert folder.is_dir()
        assert pool.submit(os.getenv, "PYTHONSAFEPATH").result() == "1"
    assert not folder.exists()
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_pool_finds_edgekit_in_a_checkout_that_is_not_installed(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from edgekit.edge_runtime.python_child import process_pool
sys.path.pop(0)
with process_pool(2) as pool:
    print(list(pool.map(abs, [-1, -2])))
print({str(ROOT)!r} in sys.path)
"""
    done = subprocess.run([sys.executable, "-E", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[1, 2]\nFalse\n", done.stderr
