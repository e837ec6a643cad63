"""Measures all candidates of one model against each other: one process each, in turns, all others stopped.

In each round every candidate runs for a slice of time, in an order drawn anew. Whoever does not measure is stopped by a
signal: a pool of threads that spins while it waits for work would take the core that another one is measured on.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.benchmark.validity import candidate_reasons, machine_reasons
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.machine.machine_state import machine_state, read_counters
from edgekit.edge_runtime.worker.parent import Worker

from .candidates import Candidate
from .child import ANSWER, BY_PIXEL
from .environments import python_of

WARM_UP_S = 0.2
Samples = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long to measure."""

    rounds: int = 16
    """How often each candidate has its turn."""
    round_s: float = 0.25
    """How long a turn lasts."""
    seed: int = 0
    """Decides the order of the candidates in each round."""


@dataclass(kw_only=True)
class Measured:
    """What became of one candidate with one number of threads; `error` says why there are no figures."""

    candidate: Candidate
    engine: str = ""
    load_ms: float = 0.0
    peak_rss_bytes: int = 0
    answers: np.ndarray | None = None
    wall_ns: list[np.ndarray] = field(default_factory=list)
    cpu_ns: list[np.ndarray] = field(default_factory=list)
    error: str = ""
    disturbed: tuple[str, ...] = ()


def measure(
    wanted: Sequence[Candidate],
    folder: Path,
    samples: Samples,
    front: dict[str, Any],
    *,
    num_threads: int,
    settings: Settings,
    on_progress: Callable[[int, int], None],
) -> list[Measured]:
    """Loads, runs and times every candidate; one that fails has a reason in place of figures.

    Args:
        folder: the model's, with the files that candidates name.
        samples: "pixels" and "tensors" (N, …), as `make.bare` writes them.
        on_progress: called with the steps done and in total.
    """
    found = [Measured(candidate=one) for one in wanted]
    order, total, done = random.Random(settings.seed), len(wanted) * (1 + settings.rounds), 0
    with contextlib.ExitStack() as stack:
        running: dict[str, Worker] = {}
        for one in found:
            try:
                running[one.candidate.name] = stack.enter_context(
                    _started(one, folder, samples, front, num_threads=num_threads)
                )
            except EdgekitError as error:
                one.error = str(error)
            on_progress(done := done + 1, total)
        readings = [read_counters([worker.pid for worker in running.values()])]
        for _ in range(settings.rounds):
            for one in order.sample(found, len(found)):
                worker = running.get(one.candidate.name)
                if worker is not None and not one.error:
                    try:
                        with _awake(worker):
                            times = worker.time(nanoseconds=round(settings.round_s * 1e9), count=1)
                        one.wall_ns.append(times["wall_ns"])
                        one.cpu_ns.append(times["cpu_ns"])
                    except EdgekitError as error:
                        one.error = str(error)
                on_progress(done := done + 1, total)
            readings.append(read_counters([worker.pid for worker in running.values()]))
        state = machine_state(readings)
        for one in found:
            if not one.error:
                with _awake(running[one.candidate.name]) as worker:
                    one.peak_rss_bytes = worker.memory()["peak_rss_bytes"]
                share = float(np.concatenate(one.cpu_ns).sum() / np.concatenate(one.wall_ns).sum())
                own = candidate_reasons(one.wall_ns, cpu_share=share)
                # Few runs of a slow model are enough for a ratio of paired rounds, which is what the table is about.
                one.disturbed = tuple(
                    reason
                    for reason in (*own, *machine_reasons(state, num_threads=num_threads))
                    if not reason.startswith("too short")
                )
    return found


@contextlib.contextmanager
def _started(
    one: Measured, folder: Path, samples: Samples, front: dict[str, Any], *, num_threads: int
) -> Iterator[Worker]:
    """A worker that has loaded its file, answered all samples, is warm, and stopped."""
    candidate = one.candidate
    path = folder / candidate.file
    given = dict(front) if candidate.job == "pixels" and not candidate.ours else {}
    arguments = [candidate.engine, str(path), "--threads", str(num_threads), "--front", json.dumps(given)]
    worker = Worker(
        "experiments.peers.child",
        arguments,
        name=candidate.name,
        num_threads=num_threads,
        python=python_of(candidate.environment),
    )
    with worker:
        loaded = worker.load()
        one.engine, one.load_ms = loaded["version"], loaded["load_ms"]
        rows = samples[candidate.job]
        if candidate.job == "tensors" and path.with_suffix(BY_PIXEL).exists():
            rows = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
        one.answers = worker.run({"input": rows})[ANSWER]
        worker.set_samples({"input": rows[:32]})
        worker.time(nanoseconds=round(WARM_UP_S * 1e9), count=3)
        os.killpg(worker.pid, signal.SIGSTOP)
        try:
            yield worker
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGCONT)


@contextlib.contextmanager
def _awake(worker: Worker) -> Iterator[Worker]:
    """Lets a stopped worker run; its session is its own, so that the signal reaches all of its processes."""
    try:
        os.killpg(worker.pid, signal.SIGCONT)
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):  # it crashed, and the row says so
            os.killpg(worker.pid, signal.SIGSTOP)
