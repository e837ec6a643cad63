"""Kills processes with SIGKILL and watches what becomes of those that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """The processes that `pid` has started, and that these have started, as Linux lists them."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listed.read_text().split()):
            found |= {child} | descendants(child)
    return found


def command(pid: int) -> str:
    """The command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def until(true: Callable[[], object], *, within_s: float = 30) -> bool:
    """Whether `true` comes to be true in time."""
    end = time.monotonic() + within_s
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(found)


def kill_and_wait(process: subprocess.Popen, started: set[int]) -> set[int]:
    """Kills `process` with SIGKILL; those of `started` that live on for half a minute, which are then ended."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not any(map(command, started)))
    left = {pid for pid in started if command(pid)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left
