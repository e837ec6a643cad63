"""What measuring one candidate gave: raw samples and where they came from; each statistic is derived from them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

import numpy as np

from ..machine.machine_state import MachineState
from .answers import Answers
from .stats import medians_ms, percentile_ms
from .validity import candidate_reasons, machine_reasons


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long is long enough. `quick` is for tests and demos; what it measured is never valid to quote."""

    rounds: int = 15
    round_ms: int = 60
    min_samples: int = 300
    warmup_rounds: int = 12
    num_threads: int = 1
    seed: int = 0
    cold_starts: int = 5  # fresh processes of each candidate; the measured one is the first
    cold_start_budget_s: float = 10.0  # a candidate whose starts took this long together is not started again


QUICK = Settings(rounds=7, round_ms=25, min_samples=64, warmup_rounds=4, cold_starts=2)


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Raw samples of one candidate. A run is one call of the engine, with `batch` samples in it.

    `state` is that of the machine while all candidates were measured; `empty_rss_bytes` the memory of a worker process
    that has loaded no engine. `rounds_uj` is empty where the machine counts no energy.
    """

    name: str
    engine: str
    model_bytes: int
    load_ms: float
    peak_rss_bytes: int
    rounds_wall_ns: tuple[np.ndarray, ...] = field(repr=False)  # one int64 array a round
    rounds_cpu_ns: tuple[np.ndarray, ...] = field(repr=False)
    settings: Settings
    num_threads: int = 1
    batch: int = 1
    empty_rss_bytes: int | None = None
    cold_starts_ms: tuple[float, ...] = ()
    rounds_uj: tuple[int, ...] = ()  # microjoules of the processor package, one a round
    energy_missing: str = ""
    state: MachineState | None = None
    answers: Answers | None = field(default=None, repr=False)

    @property
    def wall_ns(self) -> np.ndarray:
        return np.concatenate(self.rounds_wall_ns)

    def percentile_ms(self, q: float) -> float:
        """Latency of one run in milliseconds."""
        return percentile_ms(self.wall_ns, q)

    @property
    def rounds_p50_ms(self) -> tuple[float, ...]:
        """The median of each round; the i-th rounds of all candidates were measured next to each other."""
        return medians_ms(self.rounds_wall_ns)

    @property
    def rounds_mean_ms(self) -> tuple[float, ...]:
        """The mean of each round, which is what throughput goes by."""
        return tuple(float(rows.mean()) / 1e6 for rows in self.rounds_wall_ns)

    @property
    def cold_start_ms(self) -> float | None:
        """From the start of a process to its first answer, the median of the repeats."""
        return statistics.median(self.cold_starts_ms) if self.cold_starts_ms else None

    @property
    def per_second(self) -> float:
        """Inferences a second, one run after the other."""
        return len(self.wall_ns) * self.batch / (float(self.wall_ns.sum()) / 1e9)

    @property
    def cpu_ms(self) -> float:
        """CPU time of one inference, all threads together, in milliseconds."""
        return float(np.concatenate(self.rounds_cpu_ns).mean()) / 1e6 / self.batch

    @property
    def energy_mj(self) -> float | None:
        """Millijoules of the processor package for one inference, its idle share included; None without a counter."""
        if not self.rounds_uj:
            return None
        return sum(self.rounds_uj) / 1e3 / (len(self.wall_ns) * self.batch)

    @property
    def rss_added_bytes(self) -> int | None:
        """Peak memory over that of an empty worker: what engine and model cost."""
        return None if self.empty_rss_bytes is None else max(0, self.peak_rss_bytes - self.empty_rss_bytes)

    @property
    def cpu_share(self) -> float:
        """CPU time over wall time while running; below 1 with one thread, somebody else had the core."""
        return float(np.concatenate(self.rounds_cpu_ns).sum() / self.wall_ns.sum())

    @property
    def invalid_because(self) -> tuple[str, ...]:
        """Why the figures should not be quoted, with advice; empty when the measurement is valid."""
        machine = machine_reasons(self.state, num_threads=self.num_threads) if self.state else ()
        return (*candidate_reasons(self.rounds_wall_ns, cpu_share=self.cpu_share), *machine)

    @property
    def valid(self) -> bool:
        return not self.invalid_because
