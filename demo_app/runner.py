"""A bundle's model in a worker process that all visitors share, and its latency. Draws nothing.

A native library that crashes ends its worker and nothing else; the next request starts a new one.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark.stats import percentile_ms
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.choice import choose
from edgekit.edge_runtime.errors import EdgekitError, EngineError
from edgekit.edge_runtime.worker.parent import Worker

ANSWER_TIMEOUT_S = 120.0
ROUNDS = 6
RUNS_PER_ROUND = 5  # at least: 6 × 5 makes 30 runs, and a p90 of fewer means little
ROUND_NS = 20_000_000

# Two visitors who measure at the same time would disturb each other.
_MEASURING = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one inference, batch 1, on one thread."""

    median_ms: float
    """Half of the runs took no longer."""
    p90_ms: float
    """Nine of ten runs took no longer."""
    runs: int
    """How many runs were timed."""
    at: datetime.datetime
    """When, in local time."""


class Runner:
    """One worker and its lock: several visitors may ask at the same time, and the worker answers one after another.

    Runs on the engine that is fastest here; where that is not known yet, it is measured first.
    """

    def __init__(self, bundle: Bundle, *, allow: Sequence[str] = ()):
        self.lock = threading.RLock()  # reentrant, since a bundle may be measured against itself
        self.alive = True
        self._worker = Worker.for_bundle(
            bundle.folder, engine=_engine(bundle, allow), allow=allow, timeout_s=ANSWER_TIMEOUT_S
        )
        try:
            self.engine: str = self._worker.load()["version"]
        except BaseException:
            self._worker.close()
            raise

    def run(self, arrays: Arrays) -> Arrays:
        """(N, …) inputs to (N, …) outputs. Raises EngineError, and whatever the worker raises."""
        with self.lock:
            self._check()
            try:
                return self._worker.run(arrays)
            except EngineError:
                self.close()
                raise

    def give_samples(self, arrays: Arrays) -> None:
        with self.lock:
            self._check()
            self._worker.set_samples(arrays)

    def time_ns(self, *, nanoseconds: int, count: int) -> np.ndarray:
        """Wall time of each run on the given samples, int64 ns."""
        with self.lock:
            self._check()
            try:
                return self._worker.time(nanoseconds=nanoseconds, count=count)["wall_ns"]
            except EngineError:
                self.close()
                raise

    def close(self) -> None:
        """Ends the worker and sets `alive` to False."""
        with self.lock:
            self.alive = False
            self._worker.close()

    def _check(self) -> None:
        if not self.alive:
            raise EngineError("this model's process has ended. Choose again or reload the page to start a new one")


def _engine(bundle: Bundle, allow: Sequence[str]) -> str | None:
    """The fastest engine here; the usual one where none passes the golden replay, since the page shows that too."""
    with _MEASURING:
        try:
            return choose(bundle, allow=allow).engine
        except EdgekitError:
            return None


def measure(left: Runner, left_sample: Arrays, right: Runner, right_sample: Arrays) -> tuple[Latency, Latency]:
    """Latency of both on one sample each, measured in turns, so that whatever disturbs the machine disturbs both.

    Raises:
        EngineError: a worker died.
    """
    # Nothing else takes two workers' locks, and this does so only while it holds _MEASURING, so there is no deadlock.
    with _MEASURING, left.lock, right.lock:
        pair = ((left, left_sample), (right, right_sample))
        for runner, sample in pair:
            runner.give_samples(sample)
            runner.time_ns(nanoseconds=ROUND_NS, count=RUNS_PER_ROUND)  # warm-up, not counted
        rounds: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for _ in range(ROUNDS):
            for (runner, sample), times in zip(pair, rounds, strict=True):
                runner.give_samples(sample)  # each time, since both may be the same worker
                times.append(runner.time_ns(nanoseconds=ROUND_NS, count=RUNS_PER_ROUND))
    at = datetime.datetime.now()
    return _latency(rounds[0], at), _latency(rounds[1], at)


def _latency(rounds: list[np.ndarray], at: datetime.datetime) -> Latency:
    runs = np.concatenate(rounds)
    return Latency(median_ms=percentile_ms(runs, 50), p90_ms=percentile_ms(runs, 90), runs=len(runs), at=at)
