"""Measures candidates against each other: interleaved, each in its own process, every raw sample kept. Never prints.

Round by round, in an order drawn anew, each candidate runs for a slice of time on real samples while the others wait.
Whatever disturbs the machine then disturbs all of them, and ratios stay true where absolute times do not.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..arrays import Arrays
from ..bundle.bundle import Bundle
from ..bundle.golden import GoldenSet
from ..bundle.manifest import BatchRange, Manifest
from ..errors import InputError
from ..machine.energy import POWERCAP, EnergyMeter
from ..machine.machine_state import MachineState, Reading, read, state
from ..tasks.holds import read_as
from ..tasks.registry import task
from ..worker.parent import Worker
from .answers import Answers, answers_of
from .benchmark_result import BenchmarkResult, Settings

__all__ = ["Candidate", "bundle_candidate", "candidate_of", "measure"]

Progress = Callable[[int, int], None]
_DEFAULT = Settings()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something to measure: a worker to start, the samples it runs, and how many bytes its file has.

    `num_threads` stands in for that of the settings, `batch` is how many samples go into one run. `judge` makes its
    answers to the samples into something that can be compared with those of another day.
    """

    name: str
    start: Callable[[int], Worker]  # takes num_threads
    samples: Arrays
    model_bytes: int
    num_threads: int | None = None
    batch: int = 1
    free_batch: BatchRange | None = None
    judge: Callable[[Arrays], Answers | None] | None = None


@dataclass(kw_only=True)
class _Measured:
    """What is gathered of one candidate while it is measured."""

    candidate: Candidate
    num_threads: int
    worker: Worker
    load: dict
    cold_ms: list[float]
    wall: list[np.ndarray] = field(default_factory=list)
    cpu: list[np.ndarray] = field(default_factory=list)
    energy_uj: list[int] = field(default_factory=list)
    peak_rss_bytes: int = 0
    answers: Answers | None = None


def bundle_candidate(path: Path, *, allow: Sequence[str] = ()) -> Candidate:
    """A bundle as a candidate: its golden inputs are the samples; `allow` as in `engines.load`.

    Raises:
        BundleError: the bundle was refused.
        UsageError: it has several programs, of which none is called "main".
    """
    with Bundle.open(path) as bundle:
        return candidate_of(path, bundle.manifest.only(), bundle.golden(), allow=allow)


def candidate_of(path: Path, manifest: Manifest, golden: GoldenSet, *, allow: Sequence[str] = ()) -> Candidate:
    """The same for a bundle at `path` whose manifest, of one program, and golden samples were read already."""

    def judge(outputs: Arrays) -> Answers | None:
        first = manifest.outputs[0]
        return answers_of(
            manifest.task,
            read_as(outputs[first.name], first.holds, task(manifest.task).takes),
            golden.targets,
            inputs=golden.inputs,
            labels=manifest.labels,
            split="golden",
        )

    return Candidate(
        name=manifest.name,
        start=lambda num_threads: Worker.for_bundle(path, num_threads=num_threads, allow=allow),
        samples=golden.inputs,
        model_bytes=manifest.artifact.bytes,
        free_batch=manifest.batch,
        judge=judge,
    )


def measure(
    candidates: Sequence[Candidate],
    settings: Settings = _DEFAULT,
    *,
    on_progress: Progress = lambda done, total: None,
    powercap: Path = POWERCAP,
) -> list[BenchmarkResult]:
    """Measures all candidates interleaved; results come in the candidates' order.

    `powercap` is the folder in which the system shows its energy counters.

    Raises:
        InputError: no candidates, or two of one name.
        EngineError: a worker died or refused its model.
    """
    if not candidates or len({c.name for c in candidates}) != len(candidates):
        raise InputError(f"give one or more candidates with different names, found {[c.name for c in candidates]}")
    order, meter = random.Random(settings.seed), EnergyMeter.find(powercap)
    total = len(candidates) * (settings.rounds + max(1, settings.cold_starts))
    done = 0

    def step() -> None:
        nonlocal done
        on_progress(done := done + 1, total)

    with contextlib.ExitStack() as stack:
        found = []
        for candidate in candidates:
            one = _started(candidate, settings)
            stack.enter_context(one.worker)
            one.worker.set_samples(candidate.samples, batch=candidate.batch)
            _warm_up(one.worker, settings)
            found.append(one)
            step()
        readings = _run_rounds(found, settings, order, meter, step)
        for one in found:
            one.peak_rss_bytes = one.worker.memory()["peak_rss_bytes"]
            if one.candidate.judge is not None:
                one.answers = one.candidate.judge(one.worker.run(one.candidate.samples))
    _start_again(found, settings, order, step)
    empty_rss_bytes = _empty_rss_bytes()
    seen = state(readings)
    return [_result(one, settings, seen, empty_rss_bytes, meter) for one in found]


def _started(candidate: Candidate, settings: Settings) -> _Measured:
    """A fresh worker that has given its first answer, and how long that took from the start of its process."""
    num_threads = candidate.num_threads or settings.num_threads
    start = time.perf_counter_ns()
    worker = candidate.start(num_threads)
    try:
        load = worker.load()
        worker.run({name: rows[:1] for name, rows in candidate.samples.items()})
    except BaseException:
        worker.close()
        raise
    cold_ms = (time.perf_counter_ns() - start) / 1e6
    return _Measured(candidate=candidate, num_threads=num_threads, worker=worker, load=load, cold_ms=[cold_ms])


def _warm_up(worker: Worker, settings: Settings) -> None:
    """Runs until two rounds in a row have the same median within 5 %, or the allowance is spent."""
    before = 0.0
    for _ in range(settings.warmup_rounds):
        now = float(np.median(worker.time(nanoseconds=settings.round_ms * 1_000_000 // 2, count=5)["wall_ns"]))
        if before and abs(now - before) <= 0.05 * before:
            return
        before = now


def _run_rounds(
    found: Sequence[_Measured], settings: Settings, order: random.Random, meter: EnergyMeter, step: Callable[[], None]
) -> list[Reading]:
    per_round = -(-settings.min_samples // settings.rounds)
    pids = [one.worker.pid for one in found]
    readings = [read(pids)]
    for _ in range(settings.rounds):
        for one in order.sample(list(found), len(found)):
            before = meter.read_uj()
            times = one.worker.time(nanoseconds=settings.round_ms * 1_000_000, count=per_round)
            if meter.zones:
                one.energy_uj.append(meter.used_uj(before, meter.read_uj()))
            one.wall.append(times["wall_ns"])
            one.cpu.append(times["cpu_ns"])
            step()
        readings.append(read(pids))
    return readings


def _start_again(
    found: Sequence[_Measured], settings: Settings, order: random.Random, step: Callable[[], None]
) -> None:
    """Cold starts after the first, in turns, until each candidate has enough or has spent its time."""
    for _ in range(1, settings.cold_starts):
        for one in order.sample(list(found), len(found)):
            if sum(one.cold_ms) < settings.cold_start_budget_s * 1000:
                again = _started(one.candidate, settings)
                again.worker.close()
                one.cold_ms += again.cold_ms
            step()


def _empty_rss_bytes() -> int:
    with Worker.empty() as worker:
        return worker.memory()["rss_bytes"]


def _result(
    one: _Measured, settings: Settings, seen: MachineState, empty_rss_bytes: int, meter: EnergyMeter
) -> BenchmarkResult:
    return BenchmarkResult(
        name=one.candidate.name,
        engine=one.load["version"],
        model_bytes=one.candidate.model_bytes,
        load_ms=one.load["load_ms"],
        peak_rss_bytes=one.peak_rss_bytes,
        rounds_wall_ns=tuple(one.wall),
        rounds_cpu_ns=tuple(one.cpu),
        settings=settings,
        num_threads=one.num_threads,
        batch=one.candidate.batch,
        empty_rss_bytes=empty_rss_bytes,
        cold_starts_ms=tuple(round(ms, 3) for ms in one.cold_ms),
        rounds_uj=tuple(one.energy_uj),
        energy_missing=meter.missing,
        state=seen,
        answers=one.answers,
    )
