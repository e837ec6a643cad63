"""The command as it runs in a real terminal: under a pseudo-terminal of a stated width and encoding."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from fcntl import ioctl

from conftest import ENVIRONMENT, ROOT


@dataclass(frozen=True)
class Shown:
    """What stood in the terminal, control codes included, and how the command ended."""

    text: str
    returncode: int


def in_terminal(*arguments: object, columns: int = 120, env: dict[str, str] | None = None, cwd=ROOT, timeout=300):
    """Runs `edgekit …` with standard output and error in one pseudo-terminal."""
    parent, child = pty.openpty()
    ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    around = {k: v for k, v in ENVIRONMENT.items() if k not in ("COLUMNS", "NO_COLOR")}
    around |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | (env or {})
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, arguments)], cwd=cwd, env=around, stdout=child, stderr=child
    )
    os.close(child)
    said = b""
    try:
        while chunk := _read(parent):
            said += chunk
        return Shown(said.decode("utf-8", "replace"), process.wait(timeout))
    finally:
        process.kill()
        os.close(parent)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the last writer is gone
        return b""
