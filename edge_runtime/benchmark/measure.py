"""Measures candidates against each other: interleaved, each in its own process, every raw sample kept. Never prints.

In each round every candidate runs for a slice of time on real samples while the others wait, in an order drawn anew.
Whatever disturbs the machine then disturbs all of them, so ratios stay true even where absolute times do not.
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
from ..engines import engine_name, row_name
from ..errors import InputError
from ..machine.energy import POWERCAP, EnergyMeter
from ..machine.machine_state import MachineState, Reading, machine_state, read_counters
from ..tasks.registry import read_outputs, task
from ..worker.parent import Worker
from .answers import Answers, answers_of
from .benchmark_result import BenchmarkResult, Settings

__all__ = ["Candidate", "bundle_candidate", "candidate_of", "measure"]

Progress = Callable[[int, int], None]
_DEFAULT = Settings()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something to measure."""

    name: str
    """What its row is called."""
    start: Callable[[int], Worker]
    """Starts a worker for it, with so many CPU threads."""
    samples: Arrays
    """What it runs, (N, …) for each input."""
    model_bytes: int
    """Size of its model file."""
    num_threads: int | None = None
    """CPU threads, where it takes another number than the settings say."""
    batch: int = 1
    """Samples in one run."""
    free_batch: BatchRange | None = None
    """The batch sizes it can run; None where its batch is fixed."""
    keep_answers: Callable[[Arrays], Answers | None] | None = None
    """Turns its outputs into answers that can be compared with those of another day."""


@dataclass(kw_only=True)
class _Running:
    """A candidate while it is measured, and what was gathered of it so far."""

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

    @property
    def inputs(self) -> int:
        """How many different inputs it runs."""
        samples = min(map(len, self.candidate.samples.values()), default=0)
        return -(-samples // self.candidate.batch)

    @property
    def next_input(self) -> int:
        """The one whose turn it is: a round goes on where the last one ended, so that a slow model runs all of them."""
        return sum(map(len, self.wall)) % max(1, self.inputs)


def bundle_candidate(
    path: Path, *, engine: str | None = None, spin: bool = False, allow: Sequence[str] = ()
) -> Candidate:
    """A bundle and the engine that runs it as a candidate, with its golden inputs as samples.

    Args:
        engine, spin, allow: as in `engines.load`. With another engine than the format's usual one, the candidate is
            called `NAME@ENGINE`.
    Raises:
        BundleError: the bundle was refused.
        UsageError: it has several programs, and none is called "main"; or its format has no such engine.
    """
    with Bundle.open(path) as bundle:
        return candidate_of(path, bundle.manifest.only(), bundle.golden(), engine=engine, spin=spin, allow=allow)


def candidate_of(
    path: Path,
    manifest: Manifest,
    golden: GoldenSet,
    *,
    engine: str | None = None,
    spin: bool = False,
    allow: Sequence[str] = (),
) -> Candidate:
    """The same for a bundle at `path`, whose manifest, reduced to one program, and golden samples were read already."""
    format = manifest.artifact.format
    chosen = engine_name(format, str(path), engine)

    def keep_answers(outputs: Arrays) -> Answers | None:
        return answers_of(
            manifest.task,
            read_outputs(outputs, manifest.holds, task=task(manifest.task), suppression=manifest.suppression),
            golden.targets,
            inputs=golden.inputs,
            labels=manifest.labels,
            split="golden",
        )

    return Candidate(
        name=row_name(manifest.name, format, chosen),
        start=lambda num_threads: Worker.for_bundle(
            path, engine=chosen, num_threads=num_threads, spin=spin, allow=allow
        ),
        samples=golden.inputs,
        model_bytes=manifest.artifact.bytes,
        free_batch=manifest.batch,
        keep_answers=keep_answers,
    )


def measure(
    candidates: Sequence[Candidate],
    settings: Settings = _DEFAULT,
    *,
    on_progress: Progress = lambda done, total: None,
    powercap: Path = POWERCAP,
) -> list[BenchmarkResult]:
    """Measures all candidates, interleaved; results come in the order of the candidates.

    Args:
        on_progress: called with the steps done and the steps in total.
        powercap: the folder where the system shows its energy counters.
    Raises:
        InputError: there are no candidates, or two share a name.
        EngineError: a worker died or refused its model.
    """
    if not candidates or len({c.name for c in candidates}) != len(candidates):
        raise InputError(f"give one or more candidates with different names; found {[c.name for c in candidates]}")
    order, meter = random.Random(settings.seed), EnergyMeter.find(powercap)
    total = len(candidates) * (settings.rounds + max(1, settings.cold_starts))
    done = 0

    def step() -> None:
        nonlocal done
        on_progress(done := done + 1, total)

    with contextlib.ExitStack() as stack:
        running = []
        for candidate in candidates:
            one = _start(candidate, settings)
            stack.enter_context(one.worker)
            one.worker.set_samples(candidate.samples, batch=candidate.batch)
            _warm_up(one.worker, settings)
            running.append(one)
            step()
        readings = _run_rounds(running, settings, order, meter, step)
        for one in running:
            one.peak_rss_bytes = one.worker.memory()["peak_rss_bytes"]
            if one.candidate.keep_answers is not None:
                one.answers = one.candidate.keep_answers(one.worker.run(one.candidate.samples))
    _start_again(running, settings, order, step)
    empty_rss_bytes = _empty_rss_bytes()
    state = machine_state(readings)
    return [_result(one, settings, state, empty_rss_bytes, meter) for one in running]


def _start(candidate: Candidate, settings: Settings) -> _Running:
    """Starts a worker and waits for its first answer; keeps how long that took."""
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
    return _Running(candidate=candidate, num_threads=num_threads, worker=worker, load=load, cold_ms=[cold_ms])


def _warm_up(worker: Worker, settings: Settings) -> None:
    """Runs until two rounds in a row have the same median within 5 %, but no more rounds than the settings allow."""
    before = 0.0
    for _ in range(settings.warmup_rounds):
        now = float(np.median(worker.time(nanoseconds=settings.round_ms * 1_000_000 // 2, count=5)["wall_ns"]))
        if before and abs(now - before) <= 0.05 * before:
            return
        before = now


def _run_rounds(
    running: Sequence[_Running], settings: Settings, order: random.Random, meter: EnergyMeter, step: Callable[[], None]
) -> list[Reading]:
    per_round = -(-settings.min_samples // settings.rounds)
    pids = [one.worker.pid for one in running]
    readings = [read_counters(pids)]
    for _ in range(settings.rounds):
        for one in order.sample(list(running), len(running)):
            before = meter.read_uj()
            times = one.worker.time(nanoseconds=settings.round_ms * 1_000_000, count=per_round, first=one.next_input)
            if meter.zones:
                one.energy_uj.append(meter.used_uj(before, meter.read_uj()))
            one.wall.append(times["wall_ns"])
            one.cpu.append(times["cpu_ns"])
            step()
        readings.append(read_counters(pids))
    return readings


def _start_again(
    running: Sequence[_Running], settings: Settings, order: random.Random, step: Callable[[], None]
) -> None:
    """The other cold starts, in turns, until each candidate has enough or has spent its time."""
    for _ in range(1, settings.cold_starts):
        for one in order.sample(list(running), len(running)):
            if sum(one.cold_ms) < settings.cold_start_budget_s * 1000:
                again = _start(one.candidate, settings)
                again.worker.close()
                one.cold_ms += again.cold_ms
            step()


def _empty_rss_bytes() -> int:
    with Worker.empty() as worker:
        return worker.memory()["rss_bytes"]


def _result(
    one: _Running, settings: Settings, state: MachineState, empty_rss_bytes: int, meter: EnergyMeter
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
        inputs=one.inputs,
        empty_rss_bytes=empty_rss_bytes,
        cold_starts_ms=tuple(round(ms, 3) for ms in one.cold_ms),
        rounds_uj=tuple(one.energy_uj),
        energy_missing=meter.missing,
        state=state,
        answers=one.answers,
    )
