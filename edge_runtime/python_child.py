"""The one place that starts Python processes. They run nothing of the user's folder, and none outlives this process.

    child  = PythonChild("edgekit.edge_runtime.worker.child", ["bundles/x"], stdin=PIPE, stdout=PIPE)
    done   = run("edgekit.edge_runtime.doctor.probe", ["onnx"], timeout_s=60)
    with process_pool(2) as pool: ...

Each has a safe path (a numpy.py in the current folder is not ours to run), an environment without what makes Python do
something else first, a temporary folder of its own that is removed with it, and a pipe whose other end this process
holds: when that closes, by whatever death, the child ends, and what it has started with it (`child_start`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .child_start import end_after
from .processes import apart, kill_group, name_of
from .temporary import LockedFolder

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

# Not imported by its name: that would close a circle, since edgekit offers what starts children.
_PACKAGE = Path(str(sys.modules["edgekit"].__file__)).resolve().parent
_START = Path(__file__).with_name("child_start.py")
# What makes an interpreter run or print something of its own, or slow.
_DROPPED = (
    *("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONBREAKPOINT", "PYTHONDEBUG", "PYTHONVERBOSE", "PYTHONDEVMODE"),
    *("PYTHONPROFILEIMPORTTIME", "PYTHONTRACEMALLOC", "PYTHONDUMPREFS", "PYTHONDUMPREFSFILE", "PYTHONEXECUTABLE"),
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class PythonChild:
    """A Python process that runs a module of ours, in a session of its own: Ctrl-C is the parent's to handle.

    `process` is its Popen, `folder` its temporary folder. Call `end`, or use it as a context.

    Args:
        module: as after `python -m`.
        environment: in place of this process's; filtered all the same.
        num_threads: how many threads its numerical libraries take; None leaves that to the environment.
        in_own_folder: its current folder is its temporary one, so that nothing is looked up in the user's.
        python: the interpreter, of another environment that need not have edgekit; empty: this one.
        stdin, stdout, stderr, text: as for Popen; text is UTF-8 on every system.
        pass_fds: descriptors that the child holds as well.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        num_threads: int | None = None,
        in_own_folder: bool = False,
        python: str = "",
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        pass_fds: Sequence[int] = (),
    ):
        self._folder = LockedFolder()
        self.folder = self._folder.path
        reader, writer = os.pipe()
        self._alive = FileIO(writer, "wb")  # closed with this object, or with this process
        _pipes.add(self._alive)
        try:
            self.process: subprocess.Popen[Any] = subprocess.Popen(
                [python or sys.executable, "-P", _START, name_of(reader), self.folder, _PACKAGE, module, *arguments],
                env=_filtered(os.environ if environment is None else environment, self.folder, num_threads),
                cwd=self.folder if in_own_folder else None,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=text,
                encoding="utf-8" if text else None,
                errors="replace" if text else None,
                **apart((reader, self._folder.descriptor, *pass_fds)),
            )
        except BaseException:
            self._alive.close()
            self._folder.remove()
            raise
        finally:
            os.close(reader)

    def end(self, *, grace_s: float = 0.0) -> None:
        """Ends the process and what it started, waits for it, and removes its folder; one that has ended is no error.

        Args:
            grace_s: terminate it first, and give it so many seconds to clean up.
        """
        if grace_s and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        self.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):  # a dead child's unflushed pipe
                if stream:
                    stream.close()
        self._alive.close()
        self._folder.remove()

    def kill(self) -> None:
        """Kills the process and what it started."""
        kill_group(self.process)

    def __enter__(self) -> PythonChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def run(
    module: str, arguments: Sequence[str] = (), *, timeout_s: float, num_threads: int | None = None, python: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a module of ours to its end; status, standard output and error as text. Raises subprocess.TimeoutExpired."""
    with PythonChild(
        module,
        arguments,
        num_threads=num_threads,
        python=python,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        out, err = child.process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(module, child.process.returncode, out, err)


@contextlib.contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `processes` fresh interpreters for picklable work; tasks that have not begun are dropped at the end."""
    from concurrent.futures import ProcessPoolExecutor  # few need them, and their import is not free
    from multiprocessing import get_context

    with LockedFolder() as folder, _found_by_others():
        context, arguments = get_context("spawn"), (str(folder.path),)
        pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_join_pool, initargs=arguments)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _join_pool(folder: str) -> None:
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    end_with_parent(folder)


def end_with_parent(folder: str = "") -> None:
    """Ends this process of `multiprocessing` when the process that started it is gone, and removes `folder`."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None
    end_after(parent.join, folder)


@contextlib.contextmanager
def _found_by_others() -> Iterator[None]:
    """Lets processes that a library starts find edgekit, from a source checkout too, and search no current folder."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    root = str(_PACKAGE.parent)
    missing = all(finder.find_spec("edgekit", None) is None for finder in sys.meta_path)
    if missing:
        sys.path.append(root)
    try:
        yield
    finally:
        if missing:
            sys.path.remove(root)
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _filtered(given: Mapping[str, str], folder: Path, num_threads: int | None) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name not in _DROPPED}
    # An empty entry would mean the current folder; a relative one means what it means here.
    paths = [os.path.abspath(entry) for entry in kept.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    if paths:
        kept["PYTHONPATH"] = os.pathsep.join(paths)
    threads = {} if num_threads is None else dict.fromkeys(_THREADS, str(num_threads))
    # UTF-8, whatever the terminal has: what the child prints is read by us.
    own = {"PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8:backslashreplace", "TMPDIR": str(folder)}
    return kept | threads | own


_pipes: weakref.WeakSet[FileIO] = weakref.WeakSet()


def _let_go() -> None:
    """A fork of this process must not keep the children of a parent that is gone."""
    for pipe in list(_pipes):
        pipe.close()


if hasattr(os, "register_at_fork"):  # without forks there is no such child
    os.register_at_fork(after_in_child=_let_go)
