"""Starts a worker process and talks to it. Survives whatever happens to the child."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import errors
from ..arrays import Arrays
from ..command_line import EDGEKIT
from ..errors import EngineError
from ..processes import SIGKILL
from ..python_child import PythonChild
from .child import decode_arrays, encode_arrays
from .pipe import PipeReader

_CHILD = "edgekit.edge_runtime.worker.child"
_CRASHED = "The native library crashed: fetch or pack the bundle again, or update the engine."


class Worker:
    """A model running in a process of its own.

        with Worker.for_bundle(path) as worker:
            worker.load()
            answers = worker.run({"image": pixels})          # (N, …) arrays in, (N, …) arrays out

    Args:
        module: a program that answers as `worker.child` does.
        name: what messages call it.
        python: the interpreter of another environment; empty: this one.
    Raises:
        EngineError: the process died (the signal is named), did not answer in time, or its engine failed. Other errors
        of edgekit come back as the class that the worker raised.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        name: str,
        num_threads: int = 1,
        timeout_s: float = 300.0,
        python: str = "",
    ):
        self.name = name
        self._timeout_s = timeout_s
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        self._child = PythonChild(
            module,
            arguments,
            num_threads=num_threads,
            python=python,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self._process = self._child.process
        assert self._process.stdout is not None
        self._answers = PipeReader(self._process.stdout.fileno())

    @classmethod
    def for_bundle(
        cls,
        bundle: Path | str,
        *,
        engine: str | None = None,
        program: str | None = None,
        num_threads: int = 1,
        spin: bool = False,
        allow: Sequence[str] = (),
        called: Path | str | None = None,
        timeout_s: float = 300.0,
    ) -> Worker:
        """A worker for a bundle folder or `.zip`; the child opens and checks the bundle.

        Args:
            engine, program, spin: as in `engines.load`.
            allow: formats that may run code from their files, as in `engines.load`.
            called: what messages call the bundle, if `bundle` is a temporary copy.
        """
        chosen = [f"--allow={name}" for name in allow]
        chosen += [f"--{key}={name}" for key, name in (("program", program), ("engine", engine)) if name is not None]
        chosen += ["--spin"] * spin
        arguments = ["--threads", str(num_threads), *chosen, f"--called={called or bundle}", "--", str(bundle)]
        return cls(_CHILD, arguments, name=str(called or bundle), num_threads=num_threads, timeout_s=timeout_s)

    def load(self) -> dict[str, Any]:
        """Loads the model; returns `load_ms` and `version`."""
        return self._ask({"do": "load"})[0]

    def run(self, arrays: Arrays, *, batch: int = 1) -> Arrays:
        """Runs every row of `arrays` (N, …), `batch` of them at a time, and returns the outputs (N, …)."""
        return self._ask({"do": "run", "batch": batch}, arrays)[1]

    @classmethod
    def empty(cls) -> Worker:
        """A worker that never loads an engine: it shows what a process costs before it does."""
        return cls(_CHILD, ["--empty"], name="an empty worker")

    @property
    def pid(self) -> int:
        return self._process.pid

    def set_samples(self, arrays: Arrays, *, batch: int = 1) -> None:
        """Sends the rows that `time` runs, `batch` at a time; the last batch is filled up from the first rows."""
        count = min(map(len, arrays.values()), default=0)
        if count % batch:
            rows = np.arange(-(-count // batch) * batch) % count
            arrays = {name: array[rows] for name, array in arrays.items()}
        self._ask({"do": "samples", "batch": batch}, arrays)

    def time(self, *, nanoseconds: int, count: int, first: int = 0) -> Arrays:
        """`wall_ns` and `cpu_ns` (int64) of each run: `count` or more, for `nanoseconds` or longer.

        Args:
            first: the number of the sample to begin with; they take turns.
        """
        return self._ask({"do": "time", "nanoseconds": nanoseconds, "count": count, "first": first})[1]

    def memory(self) -> dict[str, Any]:
        """`peak_rss_bytes` and `rss_bytes` of the worker."""
        return self._ask({"do": "memory"})[0]

    def loadgen(self, settings: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """Runs LoadGen on the rows of `set_samples`; see `loadgen.child`."""
        return self._ask({"do": "loadgen", "settings": settings})

    def profile(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Time by operator on the rows of `set_samples`; see `profiling.child`."""
        return self._ask({"do": "profile", "settings": settings})[0]

    def close(self) -> None:
        """Ends the process; waits for it."""
        if self._process.poll() is None and self._process.stdin:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._process.stdin.close()
                self._process.wait(2)
        self._child.end()
        self._stderr.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        raw = encode_arrays(arrays) if arrays else b""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(request | {"nbytes": len(raw)}).encode() + b"\n" + raw)
            stdin.flush()
        except OSError:
            raise self._died(request) from None
        deadline = time.monotonic() + self._timeout_s
        line = self._read_line(deadline, request)
        try:
            head = json.loads(line)
            answer = self._read(head.pop("nbytes"), deadline, request)
            arrays = decode_arrays(answer) if answer else {}
        except EngineError:
            raise
        except Exception:  # native code wrote into the answers, or over the worker's memory
            self._child.kill()
            raise EngineError(
                f"{self.name}: its process gave no readable answer to {request['do']!r}. {_CRASHED}"
            ) from None
        if "error" in head:
            kind = getattr(errors, str(head.get("kind")), None)
            if isinstance(kind, type) and issubclass(kind, errors.EdgekitError):
                raise kind(str(head["error"]))
            raise EngineError(str(head["error"]))
        return head, arrays

    def _read_line(self, deadline: float, request: dict[str, Any]) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1, deadline, request)
        return line

    def _read(self, count: int, deadline: float, request: dict[str, Any]) -> bytes:
        received = bytearray()
        while len(received) < count:
            piece = self._answers.read(count - len(received), deadline)
            if piece is None:
                self._child.kill()
                raise EngineError(
                    f"{self.name}: its process gave no answer to {request['do']!r} within {self._timeout_s:.0f} s and "
                    f"was ended. Run `{EDGEKIT} verify` on the bundle"
                )
            if not piece:
                raise self._died(request)
            received += piece
        return bytes(received)

    def _died(self, request: dict[str, Any]) -> EngineError:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:  # it closed its end of the pipe and still runs
            self._child.kill()
            status = self._process.wait()
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 2000))
        last = self._stderr.read().decode(errors="replace").strip().splitlines()[-3:]
        messages = f" Its last messages: {' | '.join(last)}" if last else ""
        return EngineError(
            f"{self.name}: its process {_how(status)} during {request['do']!r}. {_advice(status)}{messages}"
        )


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _advice(status: int) -> str:
    if SIGKILL is not None and -status == SIGKILL:
        return "The system does that when memory runs out: free memory, or use a smaller model."
    return _CRASHED if status < 0 else f"Run `{EDGEKIT} verify` on the bundle."
