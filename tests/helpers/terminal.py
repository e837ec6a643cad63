"""The command as it runs in a real terminal: under a pseudo-terminal of a stated width and encoding."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
from dataclasses import dataclass

import pytest
from conftest import ENVIRONMENT, ROOT, can_be_warm, warm_command

try:
    import pty
    import termios
    from fcntl import ioctl
except ImportError:  # Windows has no pseudo-terminals
    pty = None

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")  # colours, the cursor, links


@dataclass(frozen=True)
class Shown:
    """What stood in the terminal, control codes included, and how the command ended."""

    text: str
    returncode: int

    @property
    def lines(self) -> list[str]:
        """Every line that was drawn, one on top of another or not, without control codes and what pads it."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", self.text)) if line.strip()]


def in_terminal(*arguments: object, columns: int = 120, env: dict[str, str] | None = None, cwd=ROOT, timeout=300):
    """Runs `edgekit …` with standard output and error in one pseudo-terminal."""
    if pty is None or not can_be_warm(env):
        return command_in_terminal(["-m", "edgekit", *arguments], columns=columns, env=env, cwd=cwd, timeout=timeout)
    parent, child = _opened(columns)

    def read() -> bytes:
        return os.read(parent, 65536) if select.select([parent], [], [], 0.05)[0] else b""

    try:
        said, status = warm_command().run_in_terminal(
            arguments, os.ttyname(child), read, env=_around(env), cwd=cwd, timeout=timeout
        )
        return Shown(said.decode("utf-8", "replace"), status)
    finally:
        os.close(child)
        os.close(parent)


def command_in_terminal(words, *, columns: int = 120, env: dict[str, str] | None = None, cwd=ROOT, timeout=300):
    """Runs `python …` with standard output and error in one pseudo-terminal."""
    if pty is None:
        pytest.skip("this system has no pseudo-terminals")
    parent, child = _opened(columns)
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=cwd, env=_around(env), stdout=child, stderr=child
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


def _opened(columns: int) -> tuple[int, int]:
    parent, child = pty.openpty()
    ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    return parent, child


def _around(env: dict[str, str] | None) -> dict[str, str]:
    around = {k: v for k, v in ENVIRONMENT.items() if k not in ("COLUMNS", "NO_COLOR")}
    return around | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | (env or {})


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the last writer is gone
        return b""
