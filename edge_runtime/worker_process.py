"""Starts a worker and talks to it: the parent's end of `worker`. Survives whatever happens to the child."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from . import errors
from .errors import EngineError
from .worker import Arrays, decode_arrays, encode_arrays


class Worker:
    """A model running in a process of its own.

        with Worker.for_bundle(path) as worker:
            worker.load()
            answers = worker.run({"image": pixels})          # (N, …) arrays in, (N, …) arrays out

    Raises:
        EngineError: the process died (the signal is named), did not answer in time, or its engine failed. Errors that
        the worker names come back as the class they had there.
    """

    def __init__(self, command: Sequence[str], *, name: str, num_threads: int = 1, timeout_s: float = 300.0):
        self.name = name
        self._timeout_s = timeout_s
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(num_threads),
            start_new_session=True,  # Ctrl-C is the parent's to handle; it closes the worker
        )

    @classmethod
    def for_bundle(cls, bundle: Path | str, *, num_threads: int = 1, timeout_s: float = 300.0) -> Worker:
        """A worker for a bundle folder or `.zip`; the bundle is opened and checked in the child."""
        command = [sys.executable, "-m", "edge_runtime.worker", str(bundle), "--threads", str(num_threads)]
        return cls(command, name=str(bundle), num_threads=num_threads, timeout_s=timeout_s)

    def load(self) -> dict[str, Any]:
        """Loads the model; returns `load_ms` and `version`."""
        return self._ask({"do": "load"})[0]

    def run(self, arrays: Arrays) -> Arrays:
        """Runs every row of `arrays` (N, …) and returns the outputs (N, …)."""
        return self._ask({"do": "run"}, arrays)[1]

    def set_samples(self, arrays: Arrays) -> None:
        """Gives the rows that `time` will run, one after the other."""
        self._ask({"do": "samples"}, arrays)

    def time(self, *, nanoseconds: int, count: int) -> Arrays:
        """`wall_ns` and `cpu_ns` (int64) of single inferences: at least `count`, for at least `nanoseconds`."""
        return self._ask({"do": "time", "nanoseconds": nanoseconds, "count": count})[1]

    def memory(self) -> dict[str, Any]:
        """`peak_rss_bytes` and `rss_bytes` of the worker."""
        return self._ask({"do": "memory"})[0]

    def close(self) -> None:
        """Ends the process; waits for it."""
        if self._process.poll() is None:
            if self._process.stdin:
                try:
                    self._process.stdin.close()
                    self._process.wait(2)
                except (OSError, subprocess.TimeoutExpired):
                    self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            try:
                if stream:
                    stream.close()
            except OSError:  # a dead child's unflushed pipe
                continue

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        raw = encode_arrays(arrays) if arrays else b""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request | {"nbytes": len(raw)}).encode() + b"\n" + raw)
            stdin.flush()
        except OSError:
            raise self._died(request) from None
        deadline = time.monotonic() + self._timeout_s
        head = json.loads(self._read_line(stdout, deadline, request))
        answer = self._read(stdout, head.pop("nbytes"), deadline, request)
        if "error" in head:
            kind = getattr(errors, head["kind"], EngineError)
            raise kind(head["error"])
        return head, decode_arrays(answer) if answer else {}

    def _read_line(self, stdout: IO[bytes], deadline: float, request: dict[str, Any]) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(stdout, 1, deadline, request)
        return line

    def _read(self, stdout: IO[bytes], count: int, deadline: float, request: dict[str, Any]) -> bytes:
        found = bytearray()
        descriptor = stdout.fileno()
        while len(found) < count:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise EngineError(
                    f"{self.name}: no answer to {request['do']!r} within {self._timeout_s:.0f} s; stopped"
                )
            # os.read and not the buffered reader: select cannot see what sits in a Python buffer.
            piece = os.read(descriptor, min(count - len(found), 1 << 20))
            if not piece:
                raise self._died(request)
            found += piece
        return bytes(found)

    def _died(self, request: dict[str, Any]) -> EngineError:
        status = self._process.wait()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self._stderr.seek(0)
        last = self._stderr.read()[-2000:].decode(errors="replace").strip().splitlines()[-3:]
        said = f" Its last words: {' | '.join(last)}" if last else ""
        return EngineError(f"{self.name}: the process running it {how} during {request['do']!r}.{said}")


def _environment(num_threads: int) -> dict[str, str]:
    threads = str(num_threads)
    # Python's own folder of this package, so that a worker finds it from any working directory.
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
    return os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": path}
