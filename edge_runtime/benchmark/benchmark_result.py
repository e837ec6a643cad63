"""What measuring one candidate gave: raw samples and where they came from; each statistic is derived from them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

import numpy as np

from ..machine.machine_state import MachineState
from .answers import Answers
from .stats import medians_by_input_ms, medians_ms, percentile_ms, slow_inputs
from .validity import candidate_reasons, machine_reasons


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long to measure."""

    rounds: int = 15
    """How often each candidate has its turn."""
    round_ms: int = 60
    """How long a turn lasts."""
    min_samples: int = 300
    """The fewest runs of a candidate, all its turns together, however long one takes."""
    warmup_rounds: int = 12
    """The most half turns before measuring, while a candidate is still getting faster."""
    num_threads: int = 1
    """CPU threads for one inference."""
    seed: int = 0
    """Decides the order of the candidates in each round."""
    cold_starts: int = 5
    """Fresh processes of each candidate; the one that is measured is the first."""
    cold_start_budget_s: float = 10.0
    """A candidate whose starts have taken this long together is not started again."""
    spin: bool = False
    """Whether several threads may wait for the next run at full speed."""


# For tests and demos. What it measures is never valid to quote.
QUICK = Settings(rounds=7, round_ms=25, min_samples=64, warmup_rounds=4, cold_starts=1)


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Raw samples of one candidate. A run is one call of the engine."""

    name: str
    """The candidate's name."""
    engine: str
    """The library that ran it, and its version."""
    model_bytes: int
    """Size of the model file."""
    load_ms: float
    """From the file on disk to ready for the first run."""
    peak_rss_bytes: int
    """The most memory its process ever held."""
    rounds_wall_ns: tuple[np.ndarray, ...] = field(repr=False)
    """Wall time of each run, an int64 array for each round."""
    rounds_cpu_ns: tuple[np.ndarray, ...] = field(repr=False)
    """CPU time of each run, all threads together, in the same form."""
    settings: Settings
    """How it was measured."""
    num_threads: int = 1
    """CPU threads inside one run."""
    batch: int = 1
    """Samples in one run."""
    inputs: int = 0
    """How many different inputs took turns, in their order through all rounds; 0 where that is not known."""
    empty_rss_bytes: int | None = None
    """Memory of a worker process that has loaded no engine."""
    cold_starts_ms: tuple[float, ...] = ()
    """Each start of a process, up to its first answer."""
    rounds_uj: tuple[int, ...] = ()
    """Microjoules of the processor package in each round; empty where the machine counts no energy."""
    energy_missing: str = ""
    """Why there is no energy."""
    state: MachineState | None = None
    """What the machine was doing while all candidates were measured."""
    answers: Answers | None = field(default=None, repr=False)
    """What it answered to its samples."""

    @property
    def wall_ns(self) -> np.ndarray:
        return np.concatenate(self.rounds_wall_ns)

    def percentile_ms(self, q: float) -> float:
        """Latency of one run in milliseconds."""
        return percentile_ms(self.wall_ns, q)

    @property
    def rounds_p50_ms(self) -> tuple[float, ...]:
        """The median of each round; the i-th rounds of all candidates ran next to each other."""
        return medians_ms(self.rounds_wall_ns)

    @property
    def p90_inputs_ms(self) -> float | None:
        """Nine of ten different inputs took no longer, of each its own median; None where there is only one."""
        medians = medians_by_input_ms(self.wall_ns, self.inputs)
        return float(np.percentile(medians, 90)) if medians else None

    @property
    def slow_inputs(self) -> float | None:
        """How many times the median input's CPU time the slowest tenth of the inputs takes; noise alone gives 1.

        CPU time, since it does not grow when other programs take the core.
        """
        return slow_inputs(np.concatenate(self.rounds_cpu_ns), self.inputs)

    @property
    def rounds_mean_ms(self) -> tuple[float, ...]:
        """The mean of each round, which decides throughput."""
        return tuple(float(rows.mean()) / 1e6 for rows in self.rounds_wall_ns)

    @property
    def cold_start_ms(self) -> float | None:
        """From the start of a process to its first answer: the median of all starts."""
        return statistics.median(self.cold_starts_ms) if self.cold_starts_ms else None

    @property
    def per_second(self) -> float:
        """Inferences in a second, one run after the other."""
        return len(self.wall_ns) * self.batch / (float(self.wall_ns.sum()) / 1e9)

    @property
    def cpu_ms(self) -> float:
        """CPU time of one inference, all threads together, in milliseconds."""
        return float(np.concatenate(self.rounds_cpu_ns).mean()) / 1e6 / self.batch

    @property
    def energy_mj(self) -> float | None:
        """Millijoules of the processor package for one inference, idle power included; None without a counter."""
        if not self.rounds_uj:
            return None
        return sum(self.rounds_uj) / 1e3 / (len(self.wall_ns) * self.batch)

    @property
    def rss_added_bytes(self) -> int | None:
        """Peak memory above that of an empty worker: what engine and model cost."""
        return None if self.empty_rss_bytes is None else max(0, self.peak_rss_bytes - self.empty_rss_bytes)

    @property
    def cpu_share(self) -> float:
        """CPU time over wall time of the runs. Below 1 with one thread, another process had the core meanwhile."""
        return float(np.concatenate(self.rounds_cpu_ns).sum() / self.wall_ns.sum())

    @property
    def invalid_because(self) -> tuple[str, ...]:
        """Why the figures should not be quoted, with advice; empty when the measurement is valid."""
        machine = machine_reasons(self.state, num_threads=self.num_threads) if self.state else ()
        return (*candidate_reasons(self.rounds_wall_ns, cpu_share=self.cpu_share), *machine)

    @property
    def valid(self) -> bool:
        return not self.invalid_because
