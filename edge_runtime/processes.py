"""Groups of processes and what they inherit, in each system's own way. Knows nothing about what they run.

POSIX has sessions, signals and descriptors by number; Windows has process groups, a tree of processes and handles.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SIGKILL: int | None = getattr(signal, "SIGKILL", None)
"""The signal that no process survives; None where there are no signals to kill with."""


def apart(inherited: Sequence[int]) -> dict[str, Any]:
    """Arguments of Popen for a child of which Ctrl-C is not heard, and that holds these descriptors too."""
    if sys.platform != "win32":
        return {"start_new_session": True, "pass_fds": tuple(inherited)}
    import msvcrt

    handles = [msvcrt.get_osfhandle(descriptor) for descriptor in inherited]
    for handle in handles:
        os.set_handle_inheritable(handle, True)
    about = subprocess.STARTUPINFO(lpAttributeList={"handle_list": handles})
    return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP, "startupinfo": about, "close_fds": True}


def name_of(descriptor: int) -> str:
    """What a child made with `apart` is told to find an inherited descriptor by; see `child_start`."""
    if sys.platform != "win32":
        return str(descriptor)
    import msvcrt

    return str(msvcrt.get_osfhandle(descriptor))


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kills a child made with `apart` and what it has started; one that has ended is left alone."""
    if process.returncode is not None:  # its number may be another's by now
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()


def interrupt(process: subprocess.Popen[Any]) -> None:
    """Asks a child made with `apart` to end as after Ctrl-C."""
    with contextlib.suppress(OSError, ValueError):
        process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
