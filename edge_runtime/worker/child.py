"""One model in a process of its own: `python -m edgekit.edge_runtime.worker.child BUNDLE`, driven through its streams.

A native library that crashes takes only the worker with it, and memory and load time are those of one model alone. Each
request and each answer is a line of JSON, followed by `nbytes` bytes of `.npz` where there are arrays.

    load                        -> load_ms, version
    run     + arrays (N, …)     -> arrays (N, …); row by row, or `batch` rows at a time
    samples + arrays (N, …)     -> nothing; the rows that the requests below run
    time    nanoseconds, count, first -> wall and CPU nanoseconds of each inference, from that sample on in turn
    memory                      -> peak_rss_bytes, rss_bytes
    loadgen settings            -> what was used, and arrays (N, …): the answers to LoadGen's queries
    profile settings            -> time by operator

`Worker` in `parent` is the other end.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import engines
from ..arrays import Arrays
from ..bundle import versions
from ..bundle.bundle import Bundle
from ..bundle.golden import write_arrays
from ..engines import Engine
from ..errors import EdgekitError, InputError
from ..machine.memory import peak_rss_bytes, rss_bytes

# Requests that other folders answer: their `run(engine, samples, settings)` returns the answer's head and arrays.
MORE = {
    "loadgen": "edgekit.edge_runtime.loadgen.child",
    "profile": "edgekit.edge_runtime.profiling.child",
}


def encode_arrays(arrays: Arrays) -> bytes:
    """Arrays as uncompressed `.npz` bytes."""
    buffer = io.BytesIO()
    write_arrays(buffer, arrays)
    return buffer.getvalue()


def decode_arrays(raw: bytes) -> Arrays:
    """The inverse of `encode_arrays`; never unpickles."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


class _Handler:
    """Holds the engine and answers requests. `open_engine` loads the engine, so that `load` can be timed."""

    def __init__(self, open_engine: Callable[[], Engine]):
        self._open_engine = open_engine
        self._engine: Engine | None = None
        self._samples: list[Arrays] = []

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise InputError("send `load` before anything else")
        return self._engine

    def answer(self, request: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        match request.get("do"):
            case "load":
                start = time.perf_counter_ns()
                self._engine = self._open_engine()
                return {"load_ms": (time.perf_counter_ns() - start) / 1e6, "version": self._engine.version}, {}
            case "run":
                return {}, self._run(arrays, request.get("batch", 1))
            case "samples":
                self._samples = _rows(arrays, request.get("batch", 1))
                return {}, {}
            case "time":
                wall, cpu = self._time(request["nanoseconds"], request["count"], request.get("first", 0))
                return {}, {"wall_ns": wall, "cpu_ns": cpu}
            case "memory":
                return {"peak_rss_bytes": peak_rss_bytes(), "rss_bytes": rss_bytes()}, {}
            case str(verb) if verb in MORE:
                module = importlib.import_module(MORE[verb])  # needs packages that few devices have
                head, answered = module.run(self.engine, self._samples, request["settings"])
                return head, answered
            case other:
                raise InputError(f"unknown request {other!r}")

    def _run(self, arrays: Arrays, batch: int) -> Arrays:
        answers = [self.engine.run(sample) for sample in _rows(arrays, batch)]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _time(self, nanoseconds: int, count: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Runs `count` inferences or more, for `nanoseconds` or longer; wall and CPU time of each, int64 ns.

        The samples take turns, from the one with the number `first` on.
        """
        if not self._samples:
            raise InputError("send `samples` before `time`")
        run, samples, clock, cpu_clock = self.engine.run, self._samples, time.perf_counter_ns, time.process_time_ns
        wall: list[int] = []
        cpu: list[int] = []
        end = clock() + nanoseconds
        while len(wall) < count or clock() < end:
            sample = samples[(first + len(wall)) % len(samples)]
            cpu_start, start = cpu_clock(), clock()
            run(sample)
            stop = clock()
            cpu.append(cpu_clock() - cpu_start)
            wall.append(stop - start)
        return np.array(wall, np.int64), np.array(cpu, np.int64)


def _rows(arrays: Arrays, batch: int = 1) -> list[Arrays]:
    count = min((len(rows) for rows in arrays.values()), default=0)
    if count == 0:
        raise InputError("the arrays hold no rows. Give every input at least one sample")
    return [
        {name: np.ascontiguousarray(rows[i : i + batch]) for name, rows in arrays.items()}
        for i in range(0, count, batch)
    ]


def serve(open_engine: Callable[[], Engine]) -> None:
    """Answers requests on standard input until it closes. An error becomes an answer, and the worker goes on."""
    # Native libraries print to descriptor 1, so answers get a descriptor of their own.
    answers: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: BinaryIO = sys.stdin.buffer
    handler = _Handler(open_engine)
    while line := requests.readline():
        request = json.loads(line)
        payload = requests.read(request["nbytes"]) if request.get("nbytes") else b""
        try:
            head, arrays = handler.answer(request, decode_arrays(payload) if payload else {})
        except EdgekitError as error:
            head, arrays = {"error": str(error), "kind": type(error).__name__}, {}
        except Exception as error:
            head, arrays = {"error": f"{type(error).__name__}: {error}", "kind": "EngineError"}, {}
        raw = encode_arrays(arrays) if arrays else b""
        answers.write(json.dumps(head | {"nbytes": len(raw)}).encode() + b"\n" + raw)
        answers.flush()


def _no_engine() -> Engine:
    raise InputError("an empty worker loads no engine")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edgekit.edge_runtime.worker.child")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("bundle", nargs="?")
    which.add_argument("--empty", action="store_true", help="serve nothing: what a process costs without a model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("--called")
    parser.add_argument("--program")
    parser.add_argument("--engine")
    parser.add_argument("--spin", action="store_true")
    arguments = parser.parse_args()
    if arguments.empty:
        serve(_no_engine)
        return
    # If memory runs out, the system should end this process, not its parent.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")

    def open_engine() -> Engine:
        return engines.load(
            bundle,
            engine=engine,
            program=arguments.program,
            num_threads=arguments.threads,
            spin=arguments.spin,
            allow=arguments.allow,
        )

    try:
        bundle = Bundle.open(arguments.bundle, called=arguments.called)
        engines.check_allowed(bundle.manifest, str(bundle.source), arguments.allow)
        # Importing the library and looking up its version happen here, so that `load` times nothing but the model.
        manifest = bundle.manifest.only(arguments.program)
        engine = engines.engine_name(manifest.artifact.format, str(bundle.source), arguments.engine)
        engines.open_session_of(manifest.artifact.format, str(bundle.source), engine)
        versions.check(manifest, bundle.path_of(arguments.program), engine)
    except EdgekitError as error:
        refusal = error

        def open_engine() -> Engine:
            raise refusal

    serve(open_engine)


if __name__ == "__main__":
    main()
