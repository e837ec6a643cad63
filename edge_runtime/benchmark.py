"""Measures candidates against each other: interleaved, each in its own process, every raw sample kept. Never prints.

Round by round, in an order drawn anew, each candidate runs for a slice of time on real samples while the others wait.
Whatever disturbs the machine then disturbs all of them, and ratios stay true where absolute times do not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .bundle import Bundle
from .errors import InputError
from .golden import Arrays
from .stats import percentile_ms, spread
from .worker_process import Worker

Progress = Callable[[int, int], None]

# What makes a measurement valid; MLPerf Inference has the same kinds of rules, with longer times.
MAX_SPREAD = 0.10
MIN_CPU_SHARE = 0.90


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long is long enough. `quick` is for tests and demos; both state what they measured."""

    rounds: int = 15
    round_ms: int = 60
    min_samples: int = 300
    warmup_rounds: int = 12
    num_threads: int = 1
    seed: int = 0


QUICK = Settings(rounds=7, round_ms=25, min_samples=50, warmup_rounds=4)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something to measure: a worker to start, the samples it runs, and how many bytes its file has."""

    name: str
    start: Callable[[int], Worker]  # takes num_threads
    samples: Arrays
    model_bytes: int


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Raw samples and where they came from; each statistic is derived from them."""

    name: str
    engine: str
    model_bytes: int
    load_ms: float
    peak_rss_bytes: int
    rounds_wall_ns: tuple[np.ndarray, ...] = field(repr=False)  # one int64 array a round
    rounds_cpu_ns: tuple[np.ndarray, ...] = field(repr=False)
    settings: Settings

    @property
    def wall_ns(self) -> np.ndarray:
        return np.concatenate(self.rounds_wall_ns)

    def percentile_ms(self, q: float) -> float:
        """Latency of one inference, batch 1, in milliseconds."""
        return percentile_ms(self.wall_ns, q)

    @property
    def cpu_share(self) -> float:
        """CPU time over wall time while running; below 1 with one thread, somebody else had the core."""
        return float(np.concatenate(self.rounds_cpu_ns).sum() / self.wall_ns.sum())

    @property
    def invalid_because(self) -> tuple[str, ...]:
        """Why the figures should not be quoted, with advice; empty when the measurement is valid."""
        reasons = []
        if len(self.wall_ns) < self.settings.min_samples:
            reasons.append(f"only {len(self.wall_ns)} samples of {self.settings.min_samples}: measure longer")
        if (drift := spread(self.rounds_wall_ns)) > MAX_SPREAD:
            reasons.append(f"rounds differ by {drift:.0%}: stop other programs and measure again")
        if self.cpu_share < MIN_CPU_SHARE:
            reasons.append(f"had the CPU {self.cpu_share:.0%} of the time: another process is using it")
        return tuple(reasons)

    @property
    def valid(self) -> bool:
        return not self.invalid_because


def bundle_candidate(path: Path) -> Candidate:
    """A bundle as a candidate: its golden inputs are the samples. Raises BundleError."""
    with Bundle.open(path) as bundle:
        samples, size, name = bundle.golden().inputs, bundle.manifest.artifact.bytes, bundle.name
    return Candidate(
        name=name,
        start=lambda num_threads: Worker.for_bundle(path, num_threads=num_threads),
        samples=samples,
        model_bytes=size,
    )


def measure(
    candidates: Sequence[Candidate],
    settings: Settings = Settings(),
    *,
    on_progress: Progress = lambda done, total: None,
) -> list[BenchmarkResult]:
    """Measures all candidates interleaved; results come in the candidates' order.

    Raises:
        InputError: no candidates, or two of one name.
        EngineError: a worker died or refused its model.
    """
    if not candidates or len({c.name for c in candidates}) != len(candidates):
        raise InputError(f"give one or more candidates with different names, found {[c.name for c in candidates]}")
    order = random.Random(settings.seed)
    total = len(candidates) * (settings.rounds + 1)
    done = 0
    with contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        loads: list[dict] = []
        for candidate in candidates:
            worker = stack.enter_context(candidate.start(settings.num_threads))
            loads.append(worker.load())
            worker.set_samples(candidate.samples)
            _warm_up(worker, settings)
            workers.append(worker)
            on_progress(done := done + 1, total)
        wall: list[list[np.ndarray]] = [[] for _ in workers]
        cpu: list[list[np.ndarray]] = [[] for _ in workers]
        per_round = -(-settings.min_samples // settings.rounds)
        for _ in range(settings.rounds):
            turn = list(range(len(workers)))
            order.shuffle(turn)
            for i in turn:
                found = workers[i].time(nanoseconds=settings.round_ms * 1_000_000, count=per_round)
                wall[i].append(found["wall_ns"])
                cpu[i].append(found["cpu_ns"])
                on_progress(done := done + 1, total)
        peaks = [worker.memory()["peak_rss_bytes"] for worker in workers]
    return [
        BenchmarkResult(
            name=candidate.name,
            engine=loads[i]["version"],
            model_bytes=candidate.model_bytes,
            load_ms=loads[i]["load_ms"],
            peak_rss_bytes=peaks[i],
            rounds_wall_ns=tuple(wall[i]),
            rounds_cpu_ns=tuple(cpu[i]),
            settings=settings,
        )
        for i, candidate in enumerate(candidates)
    ]


def machine() -> dict[str, str]:
    """Where a measurement was made: CPU, instruction sets that decide int8 speed, cores, system."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = fields.get("flags", fields.get("Features", "")).split()
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
    return {
        "cpu": fields.get("model name", platform.processor() or platform.machine()),
        "isa": " ".join(flag for flag in known if flag in flags),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _warm_up(worker: Worker, settings: Settings) -> None:
    """Runs until two rounds in a row have the same median within 5 %, or the allowance is spent."""
    before = 0.0
    for _ in range(settings.warmup_rounds):
        now = float(np.median(worker.time(nanoseconds=settings.round_ms * 1_000_000 // 2, count=5)["wall_ns"]))
        if before and abs(now - before) <= 0.05 * before:
            return
        before = now
