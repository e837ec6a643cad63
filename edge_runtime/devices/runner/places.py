"""Devices that can be reached: how files get there and programs are started. Knows nothing of bundles.

Both ssh and adb hand what they are to run to a shell on the device as one text. Every word of it is quoted here.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from ...errors import EngineError, MissingDependency, UsageError, shown

_SHORT_S, _LONG_S = 30, 600
_PLAIN = re.compile(r"/[A-Za-z0-9._/-]{3,200}")
Done = subprocess.CompletedProcess[bytes]


class Place(ABC):
    """A folder of its own on a device, from `make` until `remove`."""

    folder = ""
    """Where it is there."""

    def __init__(self, name: str):
        self.name = name

    @abstractmethod
    def run(self, *words: str, stdin: Path | None = None, timeout_s: float = _SHORT_S) -> Done:
        """Runs a program there. Raises EngineError where the device cannot be reached."""

    @abstractmethod
    def make(self) -> None:
        """Makes the folder. Raises EngineError."""

    @abstractmethod
    def push(self, source: Path) -> None:
        """Copies what is in a folder into it. Raises EngineError."""

    def machine(self) -> str:
        """What `uname -m` says there. Raises EngineError."""
        return self._must("uname", "-m").strip()

    def remove(self) -> None:
        """Removes the folder and all that is in it."""
        if self.folder:
            self.run("rm", "-rf", self.folder)
            self.folder = ""

    def _must(self, *words: str) -> str:
        done = self.run(*words)
        if done.returncode:
            raise EngineError(f"{self.name}: {words[0]} failed: {shown(done.stderr.decode(errors='replace'))}")
        return done.stdout.decode(errors="replace")

    def _call(self, command: Sequence[str], stdin: Path | None, timeout_s: float) -> Done:
        try:
            with open(stdin or os.devnull, "rb") as given:
                return subprocess.run(command, stdin=given, capture_output=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise EngineError(f"{self.name} did not answer within {timeout_s:.0f} s. Check that it is on") from None


class Ssh(Place):
    """A machine with an ssh server. $EDGEKIT_SSH is the command to use instead of `ssh`: `ssh -F FILE`, say."""

    def __init__(self, host: str):
        super().__init__(host)
        if not host or host.startswith("-") or any(c.isspace() or not c.isprintable() for c in host):
            raise UsageError(f"{shown(repr(host), 80)} is no host. Give --on ssh:HOST or ssh:USER@HOST")
        words = shlex.split(os.environ.get("EDGEKIT_SSH", "ssh"))
        if not words or shutil.which(words[0]) is None:
            raise MissingDependency("ssh is not installed. Run: apt-get install openssh-client")
        # Nobody is asked for a password or a key: that would wait for an answer that a script cannot give.
        self._start = [*words, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", host]

    def run(self, *words: str, stdin: Path | None = None, timeout_s: float = _SHORT_S) -> Done:
        done = self._call([*self._start, shlex.join(words)], stdin, timeout_s)
        if done.returncode == 255:  # ssh's own failures
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise EngineError(
                f"{self.name} cannot be reached by ssh: {shown(said[-1])}. Check the name, that it is on, and that "
                "`ssh HOST true` works without a password"
            )
        return done

    def make(self) -> None:
        found = self._must("mktemp", "-d", "/tmp/edgekit.XXXXXXXX").strip()
        if not _PLAIN.fullmatch(found):
            raise EngineError(f"{self.name} made a folder with a strange name: {shown(found, 80)}")
        self.folder = found

    def push(self, source: Path) -> None:
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(source, arcname=".")
            packed.seek(0)
            command = [*self._start, shlex.join(["tar", "-xf", "-", "-C", self.folder])]
            try:
                done = subprocess.run(command, stdin=packed, capture_output=True, timeout=_LONG_S)
            except subprocess.TimeoutExpired:
                raise EngineError(f"the files did not reach {self.name} within {_LONG_S} s. Try again") from None
        if done.returncode:
            said = shown(done.stderr.decode(errors="replace"))
            raise EngineError(f"the files did not reach {self.name}: {said}. Check its free space, and that it has tar")


class Adb(Place):
    """A phone, by Android's debugging bridge."""

    def __init__(self, serial: str):
        super().__init__(serial)
        if not serial or serial.startswith("-") or any(c.isspace() or not c.isprintable() for c in serial):
            raise UsageError(f"{shown(repr(serial), 80)} is no serial number. `adb devices` lists them")
        if (found := shutil.which("adb")) is None:
            raise MissingDependency("adb is not installed. Run: apt-get install adb")
        self._start = [found, "-s", serial]

    def run(self, *words: str, stdin: Path | None = None, timeout_s: float = _SHORT_S) -> Done:
        return self._reached(self._call([*self._start, "shell", shlex.join(words)], stdin, timeout_s))

    def make(self) -> None:
        self.folder = f"/data/local/tmp/edgekit.{secrets.token_hex(6)}"
        self._must("mkdir", self.folder)

    def push(self, source: Path) -> None:
        done = self._reached(self._call([*self._start, "push", f"{source}/.", self.folder], None, _LONG_S))
        if done.returncode:
            said = shown(done.stderr.decode(errors="replace"))
            raise EngineError(f"the files did not reach {self.name}: {said}. Check its free space")

    def _reached(self, done: Done) -> Done:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        if done.returncode and re.match(r"(adb: |error: )(device|no devices|closed|failed to get feature)", said[-1]):
            raise EngineError(
                f"{self.name} cannot be reached by adb: {shown(said[-1])}. Check that `adb devices` lists it, and that "
                "debugging is allowed on it"
            )
        return done


PLACES: dict[str, type[Ssh] | type[Adb]] = {"ssh": Ssh, "adb": Adb}


def place(where: str) -> Ssh | Adb:
    """The device that `ssh:HOST` or `adb:SERIAL` names. Raises UsageError, MissingDependency."""
    kind, separator, name = where.partition(":")
    if not separator or kind not in PLACES:
        raise UsageError(f"--on takes ssh:HOST or adb:SERIAL, found {shown(repr(where), 80)}")
    return PLACES[kind](name)
