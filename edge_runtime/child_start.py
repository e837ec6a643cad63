"""The first code of every Python child that `python_child` starts: `child_start.py DESCRIPTOR FOLDER EDGEKIT MODULE …`.

It ends the child when its parent dies, takes edgekit from where the parent has it, and runs MODULE like `python -m`.
Run by its path, before edgekit can be imported: it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
GRACE_S = 5.0  # for cleaning up, before the process is ended the hard way
_orphaned = threading.Event()


def end_after(wait: Callable[[], object], folder: str) -> None:
    """Ends this process when `wait` returns, as it does when the parent is gone: in order, or after `GRACE_S` anyway.

    A thread waits, so a library that computes for minutes is no hindrance. Linux could end it by a signal instead
    (PR_SET_PDEATHSIG), but sends that as soon as the *thread* ends that started the child, and leaves no time to clean
    up. So it only wakes a child that is stopped at that moment, which no thread of its own could do.

    Args:
        folder: the temporary one that goes with the process.
    """

    def watch() -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are the main thread's
        wait()
        _orphaned.set()
        # Without a handler SIGTERM would end the process at once, and this thread with it: nothing wants to clean up.
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN):
            if sys.platform == "win32":
                signal.raise_signal(signal.SIGTERM)  # os.kill would end the process at once there
            else:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_S)
        _end(folder)

    threading.Thread(target=watch, name="edgekit-parent", daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def _remove(folder: str) -> None:
    if not folder:
        return
    ended = f"{folder}-ended"
    try:
        os.rename(folder, ended)  # under its old name a library's thread would go on to put files into it
    except OSError:  # it is gone; or Windows, which renames no folder with an open file
        ended = folder
    shutil.rmtree(ended, ignore_errors=True)


def _end(folder: str) -> None:
    """Removes the temporary folder and ends this process; where it leads its group, with all that it started."""
    _remove(folder)
    if not hasattr(os, "getpgrp"):
        _kill_children()
    elif os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _kill_children() -> None:
    """Ends what this process has started, where there are no groups of processes."""
    with contextlib.suppress(Exception):  # without psutil they stay; an end must not fail
        import psutil

        for child in psutil.Process().children(recursive=True):
            child.kill()


def _opened(name: str) -> int:
    """The descriptor that the parent names: its number, or on Windows the handle that leads to it."""
    if sys.platform != "win32":
        return int(name)
    import msvcrt

    return msvcrt.open_osfhandle(int(name), os.O_RDONLY)


def _adopt(package: Path) -> None:
    """Makes the folder `package` the package edgekit, whatever the search path has of that name, or has not."""
    place = [str(package)]
    spec = importlib.util.spec_from_file_location("edgekit", package / "__init__.py", submodule_search_locations=place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["edgekit"] = module
    spec.loader.exec_module(module)


def main() -> None:
    descriptor, folder, package, module = sys.argv[1:5]
    reader = _opened(descriptor)
    os.set_inheritable(reader, False)
    end_after(lambda: os.read(reader, 1), folder)  # nothing is ever written: it ends when the other end is closed
    _adopt(Path(package))
    sys.argv[:] = ["", *sys.argv[5:]]  # the first is filled in
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # Its parent would do so as well, but the end of that may be why it ends: what it reads from is closed then.
        _remove(folder)
        if _orphaned.is_set():
            _end(folder)


if __name__ == "__main__":
    main()
