"""What a device's self-test says, as JSON with the same fields for every device. Measures nothing.

`docs/devices/README.md` explains the fields and how to hand in such a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from ..benchmark.benchmark_result import BenchmarkResult, Settings
from ..bundle.attestation import OutputResult
from ..bundle.manifest import Manifest
from ..decode import DecodeError, decode, parse_json
from ..errors import EngineError, shown
from ..format import floor_text
from ..machine.machine_state import MachineState
from ..worker.replay import OutputReplay, ReplayResult


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it ran."""

    processor: str
    """Its name, or that of the board."""
    system: str
    """The operating system and the machine's architecture."""
    cores: int
    """How many there are."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of one run, over all golden inputs in turns."""

    runs: int
    """How many were timed."""
    median_ms: float
    """The median."""
    p10_ms: float
    """A tenth of the runs took no longer."""
    p90_ms: float
    """Nine tenths of the runs took no longer."""


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """One bundle on one device."""

    self_test_version: int
    """1."""
    bundle: str
    """Its name."""
    manifest_sha256: str
    """The bundle's own hash."""
    when: str
    """The moment in UTC: 2026-11-28T15:26:00Z."""
    device: str
    """The kind of device, as `edgekit app` names it."""
    machine: Machine
    """Where it ran."""
    engine: str
    """The library that ran it, and its version."""
    num_threads: int
    """CPU threads inside one run."""
    load_ms: float
    """From the file to ready for the first run."""
    peak_rss_bytes: int
    """The most memory that the process held."""
    latency: Latency
    """How long a run took."""
    results: tuple[OutputResult, ...]
    """Each output, against the float model's answers."""
    passed: bool
    """Whether every output held its floor."""
    inputs: int = 0
    """How many golden inputs took turns; this and the rest are there only where raw figures were asked for."""
    rounds_wall_ns: tuple[tuple[int, ...], ...] = ()
    """Wall time of each run, by round."""
    rounds_cpu_ns: tuple[tuple[int, ...], ...] = ()
    """CPU time of each run, by round."""
    state: MachineState | None = None
    """What the machine was doing."""

    @classmethod
    def read(cls, raw: bytes) -> SelfTest:
        """From a file's bytes. Raises EngineError."""
        try:
            found = decode(cls, parse_json(raw))
        except DecodeError as error:
            raise EngineError(f"the self-test's result cannot be read: {shown(error)}. Run it again") from None
        if found.self_test_version != 1 or not found.results:
            raise EngineError(
                "the self-test's result is of another version, or empty. Use the same edgekit on both sides"
            )
        return found

    def replayed(self, manifest: Manifest) -> ReplayResult:
        """As a replay on this machine would say it."""
        floors = manifest.program().golden.floors
        outputs = tuple(
            OutputReplay(
                program=one.program,
                output=one.output,
                engine=one.engine,
                samples=one.samples,
                sqnr_db=one.sqnr_db,
                agreement=one.agreement,
                max_abs=one.max_abs,
                max_abs_since_packed=one.max_abs_since_packed,
                batch_sqnr_db=200.0,
                held_to=floor_text(floors[one.output]) if one.output in floors else "",
                passed=one.passed,
            )
            for one in self.results
        )
        since = [one.max_abs_since_packed for one in outputs if one.max_abs_since_packed is not None]
        return ReplayResult(
            name=self.bundle,
            status=manifest.status,
            engine=self.engine,
            samples=outputs[0].samples,
            max_abs=max(one.max_abs for one in outputs),
            sqnr_db=min(one.sqnr_db for one in outputs),
            agreement=min(one.agreement for one in outputs),
            max_abs_since_packed=max(since, default=None),
            held_to="; ".join(dict.fromkeys(one.held_to for one in outputs)),
            passed=self.passed,
            notes=(f"on {self.machine.processor}, {self.machine.system}",),
            outputs=outputs,
        )

    def measured(self, manifest: Manifest, settings: Settings) -> BenchmarkResult:
        """The raw samples, for the same rules and tables as a measurement on this machine. Raises EngineError."""
        if not self.rounds_wall_ns or any(not round for round in self.rounds_wall_ns):
            raise EngineError("the self-test's result has no raw samples. Run it with --raw")
        return BenchmarkResult(
            name=self.bundle,
            engine=self.engine,
            model_bytes=manifest.artifact.bytes,
            load_ms=self.load_ms,
            peak_rss_bytes=self.peak_rss_bytes,
            rounds_wall_ns=tuple(np.array(round, np.int64) for round in self.rounds_wall_ns),
            rounds_cpu_ns=tuple(np.array(round, np.int64) for round in self.rounds_cpu_ns),
            settings=settings,
            num_threads=self.num_threads,
            inputs=self.inputs,
            energy_missing="a device's energy is not read",
            state=self.state,
        )


def last_json(stdout: bytes) -> bytes:
    """The last line that a device printed, if that is JSON; else nothing."""
    lines = stdout.strip().splitlines()
    try:
        return lines[-1] if lines and isinstance(json.loads(lines[-1]), dict) else b""
    except ValueError:
        return b""
