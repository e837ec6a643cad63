"""One command killed at random moments, its leftovers looked at, and run again. Knows no command."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edgekit.edge_runtime.errors import EdgekitError

ROOT = Path(__file__).resolve().parent.parent.parent
END_S = 30.0  # for the processes that a killed command had started
LONGEST_S = 900.0
_OWNER = "EDGEKIT_KILLS"  # in the environment of every process that belongs to one command


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that is killed, and what its result is."""

    name: str
    """As a person calls it."""
    arguments: tuple[str, ...]
    """After `edgekit`, run in a folder of its own."""
    result: Callable[[Path], object]
    """What it left in that folder, for a comparison with an undisturbed run."""
    offered: Callable[[Path], None]
    """Raises where something half-made is offered as if it were whole."""
    given: tuple[Path, ...] = ()
    """What is copied into the folder first."""


@dataclass(kw_only=True)
class Outcome:
    """What the kills of one command came to."""

    name: str
    """The command's."""
    undisturbed_s: float
    """How long it took when nobody killed it."""
    moments_s: list[float] = field(default_factory=list)
    """When it was killed, after its start."""
    ended_before: int = 0
    """How often it had ended by then."""
    faults: list[str] = field(default_factory=list)
    """What was found that should not be, with the moment."""


def kill_at_random(
    command: Command, kills: int, *, seed: int, place: Path, kills_before_rerun: int = 1, log: Callable[[str], None]
) -> Outcome:
    """Kills `command` so many times, each time after a moment drawn from `seed`.

    Args:
        place: a folder for all of it.
        kills_before_rerun: how many kills meet each other's leftovers before the command may end.
    """
    draw = random.Random(f"{command.name} {seed}")
    began = time.monotonic()
    with _folder(command, place / "undisturbed") as folder:
        _run_to_end(command, folder)
        outcome = Outcome(name=command.name, undisturbed_s=time.monotonic() - began)
        expected = command.result(folder)
        outcome.faults += [f"undisturbed: {left}" for left in _left_over(folder)]
    for first in range(0, kills, kills_before_rerun):
        with _folder(command, place / f"{command.name.replace(' ', '-')}-{first}") as folder:
            for _ in range(min(kills_before_rerun, kills - first)):
                moment = draw.uniform(0, 1.05 * outcome.undisturbed_s)
                outcome.moments_s.append(round(moment, 3))
                alive = _kill_after(command, folder, moment, outcome)
                for fault in [*alive, *_faults(lambda: command.offered(folder))]:
                    outcome.faults.append(f"after {moment:.3f} s: {fault}")
            for fault in _faults(lambda: _check_rerun(command, folder, expected)):
                outcome.faults.append(f"rerun after {moment:.3f} s: {fault}")
        log(f"{command.name}: {len(outcome.moments_s)} of {kills}, {len(outcome.faults)} faults")
    return outcome


def _check_rerun(command: Command, folder: Path, expected: object) -> None:
    _run_to_end(command, folder)
    found = command.result(folder)
    if found != expected:
        raise AssertionError(f"another result: {json.dumps(found)[:300]} instead of {json.dumps(expected)[:300]}")
    if left := _left_over(folder):
        raise AssertionError(f"left behind: {', '.join(left)}")


def _kill_after(command: Command, folder: Path, moment: float, outcome: Outcome) -> list[str]:
    """What lives on half a minute after the kill."""
    with _started(command, folder) as (process, owner):
        try:
            process.wait(moment)
            outcome.ended_before += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return [f"process {left.pid} lives on: {_words(left)}" for left in _still_alive(owner)]


def _run_to_end(command: Command, folder: Path) -> None:
    with _started(command, folder) as (process, owner):
        if process.wait(LONGEST_S):
            raise AssertionError(
                f"status {process.returncode}: {(folder / 'output').read_text(encoding='utf-8')[-400:]}"
            )
        if alive := _still_alive(owner):
            raise AssertionError(f"processes live on: {', '.join(map(_words, alive))}")


@contextlib.contextmanager
def _started(command: Command, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The running command, and the name under which its processes are found; all of them end with the block."""
    owner = uuid.uuid4().hex
    process = _start(command, folder, owner)
    try:
        yield process, owner
    finally:
        for left in _processes(owner):
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                left.kill()
        process.wait()


def _start(command: Command, folder: Path, owner: str) -> subprocess.Popen[bytes]:
    of_folder = {"TMPDIR": folder / "tmp", "XDG_CACHE_HOME": folder / "cache", _OWNER: owner, "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "edgekit", *command.arguments],
            cwd=folder / "work",
            env={**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in of_folder.items()}},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _processes(owner: str) -> list[psutil.Process]:
    """Those that were started by one command, whatever has become of their parents."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_OWNER) == owner and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _still_alive(owner: str) -> list[psutil.Process]:
    """Those that have not ended in half a minute, which Python's own helpers need a moment of."""
    end = time.monotonic() + END_S
    while (alive := _processes(owner)) and time.monotonic() < end:
        time.sleep(0.05)
    return alive


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return "ended meanwhile"


@contextlib.contextmanager
def _folder(command: Command, folder: Path) -> Iterator[Path]:
    for name in ("work", "tmp", "cache"):
        (folder / name).mkdir(parents=True)
    for given in command.given:
        if given.is_dir():
            shutil.copytree(given, folder / "work" / given.name)
        else:
            shutil.copy2(given, folder / "work" / given.name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# torch keeps what it compiled for the next run; that is no leftover.
_KEPT = re.compile(r"torchinductor_.*|torch_extensions")


def _left_over(folder: Path) -> list[str]:
    """Temporary files, and hidden ones beside what was made."""
    temporary = [path for path in (folder / "tmp").iterdir() if not _KEPT.fullmatch(path.name)]
    hidden = [path for part in ("work", "cache") for path in (folder / part).rglob(".*") if path.name != ".gitignore"]
    return sorted(str(path.relative_to(folder)) for path in (*temporary, *hidden))


def _faults(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except (AssertionError, EdgekitError, OSError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]
    return []
