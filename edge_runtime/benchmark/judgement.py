"""How one figure of a row changed between two measurements: worse, better, the same, or not judged.

Worse means beyond noise and by more than the limit. Knows rows and rounds; it reads no file.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..bundle.manifest import Metric
from ..errors import UsageError
from ..format import bytes_text, difference_text, growth_text, ms_text, value_text
from ..statistics.paired import ERROR
from ..statistics.resampled import scores_loss
from ..tasks.registry import metric_named
from .answers import Answers
from .measurement import Measurement, Raw
from .rows import Row
from .stats import Ratio, ratio_of_ratios, unpaired_ratio

ENOUGH_COLD_STARTS = 3  # in each file: by chance, three are all slower than three others once in twenty times
MEMORY_SLACK_BYTES = 2_000_000  # two runs of the same file differ by this much


Verdict = Literal["worse", "better", "same", "not judged"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """By how much a row may get worse, each as a share: 0.05 allows 5 %."""

    max_slower: float = 0.05
    """Latency that may be added."""
    max_larger: float = 0.01
    """File size that may be added."""
    max_more_memory: float = 0.10
    """Memory that may be added."""
    max_slower_start: float = 0.25
    """Cold start that may be added."""
    max_drop: float = 0.01
    """Accuracy that may be lost; the same default as the accuracy gate's."""

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if not 0 <= limit < math.inf:  # False for NaN, which would let everything pass
                raise UsageError(
                    f"--{name.replace('_', '-')} takes a number from 0 upwards, such as 0.05; found {limit}"
                )


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one figure of one row changed."""

    row: str
    """The row's name."""
    what: str
    """Which figure: "latency", "size", …"""
    verdict: Verdict
    """A regression is "worse"."""
    text: str
    """Both values and the change, for a person."""
    ratio: Ratio | None = None
    """How many times as fast it became; only for latencies."""


@dataclass(frozen=True)
class Run:
    """One run of the benchmark, as its files keep it."""

    measured: Measurement
    """The `.json`."""
    raw: Raw
    """The `.npz` beside it."""

    def rounds(self, name: str) -> tuple[float, ...]:
        """The median of each round of a row, in ms; empty where the files hold none, or nonsense."""
        in_row = next((row.rounds_p50_ms for row in self.measured.rows if row.name == name), ())
        medians_ms = in_row or self.raw.rounds_p50_ms.get(name, ())
        return medians_ms if len(medians_ms) > 1 and min(medians_ms) > 0 else ()


@dataclass(frozen=True)
class LatencyJudge:
    """Judges latencies of two runs, each through the older run's baseline where both runs measured it."""

    before: Run
    """The older run."""
    after: Run
    """The newer run."""
    limit: float
    """Latency that may be added, as a share."""
    same_machine: bool
    """Whether milliseconds of the two runs can be compared."""

    @cached_property
    def base(self) -> str:
        """The row that latencies are compared through; "" where the two files have none in common."""
        name = self.before.measured.baseline
        in_both = bool(self.before.rounds(name) and self.after.rounds(name))
        return name if in_both or name == self.after.measured.baseline else ""

    @property
    def relation(self) -> str:
        """How latencies are made comparable, in words."""
        if self.base:
            return f"each against {self.base} in its own run"
        return "in milliseconds, because the two files have no baseline in common"

    def judge(self, was: Row, now: Row) -> Change:
        first, second = self.before.measured, self.after.measured
        alike = (first.settings.num_threads, first.batch) == (second.settings.num_threads, second.batch)
        faster, how = self._faster(was, now) if alike else (None, "the two runs used different threads or batch sizes")
        if faster is None:
            return Change(row=was.name, what="latency", verdict="not judged", text=f"not judged: {how}")
        verdict: Verdict = "better" if faster.beyond_noise and faster.value > 1 else "same"
        # Where a measurement is not valid to quote, the whole interval must lie beyond the limit.
        slower = faster.inverse.value if was.valid and now.valid else faster.inverse.low
        if faster.beyond_noise and slower > 1 + self.limit:
            verdict = "worse"
        text = f"{difference_text(faster)}, {how} ({ms_text(was.p50_ms)} → {ms_text(now.p50_ms)})"
        return Change(row=was.name, what="latency", verdict=verdict, text=text, ratio=faster)

    def _faster(self, was: Row, now: Row) -> tuple[Ratio | None, str]:
        old, new = self.before.rounds(was.name), self.after.rounds(now.name)
        if was.name != self.base and self.base:
            base_old, base_new = self.before.rounds(self.base), self.after.rounds(self.base)
            if old and new and len(old) == len(base_old) and len(new) == len(base_new):
                return ratio_of_ratios((base_old, old), (base_new, new)), f"against {self.base}"
            if was.faster and now.faster and self.base == self.after.measured.baseline:
                return _from_intervals(was.faster, now.faster), f"against {self.base}, from the intervals"
        if not self.same_machine:
            why = "it is the baseline, and " if was.name == self.base else ""
            return None, f"{why}the machines differ"
        if not old or not new:
            return None, "one of the files holds no rounds of it"
        return unpaired_ratio(old, new), "in milliseconds, on the same machine"


def _from_intervals(was: Ratio, now: Ratio) -> Ratio:
    """The ratio of two ratios, from their intervals alone (method of variance estimates recovery).

    Source: Zou & Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008).
    """
    value = math.log(now.value / was.value)
    low = value - math.hypot(math.log(now.value / now.low), math.log(was.high / was.value))
    high = value + math.hypot(math.log(now.high / now.value), math.log(was.value / was.low))
    return Ratio(value=math.exp(value), low=math.exp(low), high=math.exp(high))


def failed(was: Row, now: Row) -> list[Change]:
    """The change between two rows of which at least one has no figures."""
    if now.error and not was.error:
        return [Change(row=was.name, what="row", verdict="worse", text=f"failed: {now.error}")]
    if was.error and not now.error:
        return [Change(row=was.name, what="row", verdict="better", text="failed before and works now")]
    return [Change(row=was.name, what="row", verdict="same", text="failed before and now")]


def size(what: str, was: int | None, now: int | None, limit: float, row: str, *, slack: int = 0) -> Change:
    """A number of bytes; a change of up to `slack` bytes means nothing."""
    if was is None or now is None or not was:
        return Change(row=row, what=what, verdict="not judged", text="not judged: only one of the files has it")
    verdict: Verdict = (
        "worse" if now > was * (1 + limit) + slack else "better" if now < was * (1 - limit) - slack else "same"
    )
    text = f"{bytes_text(was)} → {bytes_text(now)}, {growth_text(was, now)}"
    return Change(row=row, what=what, verdict=verdict, text=text)


def memory(was: Row, now: Row, limit: float, *, same_machine: bool) -> Change:
    """Memory above an empty worker's where both files have it, else the peak of the whole process."""
    sizes = (was.rss_added_bytes, now.rss_added_bytes)
    if None in sizes:
        sizes = (was.peak_rss_bytes, now.peak_rss_bytes)
    if not same_machine:
        return Change(row=was.name, what="memory", verdict="not judged", text="not judged: the machines differ")
    return size("memory", *sizes, limit, was.name, slack=MEMORY_SLACK_BYTES)


def cold_start(was: Row, now: Row, limit: float, *, same_machine: bool) -> list[Change]:
    """Worse when every start took longer than every earlier one; no change where there are too few starts to tell."""
    old, new = was.cold_starts_ms, now.cold_starts_ms
    if not same_machine or min(len(old), len(new)) < ENOUGH_COLD_STARTS or min(*old, *new) <= 0:
        return []
    old_ms, new_ms = statistics.median(old), statistics.median(new)
    times = new_ms / old_ms
    worse, better = min(new) > max(old) and times > 1 + limit, max(new) < min(old) and times < 1 / (1 + limit)
    text = f"{ms_text(old_ms)} → {ms_text(new_ms)}, {growth_text(old_ms, new_ms)}"
    verdict: Verdict = "worse" if worse else "better" if better else "same"
    return [Change(row=was.name, what="cold start", verdict=verdict, text=text)]


def accuracy(was: Row, now: Row, answers: tuple[Answers, Answers] | None, limit: float) -> list[Change]:
    """The task's metric. Where both files keep the `answers` to the same samples, smaller changes can be judged."""
    old, new = was.metric, now.metric
    if old is None and new is None:
        return []
    if old is None or new is None or old.name != new.name:
        text = "not judged: the two files have different metrics"
        return [Change(row=was.name, what="accuracy", verdict="not judged", text=text)]
    known = metric_named(old.name)
    higher = known is None or known.higher_is_better
    gain = new.value - old.value if higher else old.value - new.value
    real, how = _beyond_noise(old, new, answers, higher_is_better=higher)
    verdict: Verdict = "same" if not gain or not real else "better" if gain > 0 else "worse"
    if verdict == "worse" and -gain <= limit * abs(old.value):
        verdict = "same"
    text = f"{value_text(old.name, old.value)} → {value_text(new.name, new.value)}{f', {how}' if gain else ''}"
    if old.samples != new.samples:
        text += f"; the samples differ too, {old.samples:,} and {new.samples:,}"
    return [Change(row=was.name, what="accuracy", verdict=verdict, text=text)]


def _beyond_noise(
    old: Metric, new: Metric, answers: tuple[Answers, Answers] | None, *, higher_is_better: bool
) -> tuple[bool, str]:
    """Whether the metric changed beyond noise, and how: sample by sample where possible, else by the intervals."""
    if (
        answers is not None
        and answers[0].split == "validation"
        and 1 < len(answers[0].scores) == len(answers[1].scores)
    ):
        first, second = answers[0].scores, answers[1].scores
        # Both of its bounds together miss the truth in one case of twenty.
        loss = scores_loss(first, second, higher_is_better=higher_is_better, error=ERROR / 2)
        real = loss.low > 0 or loss.high < 0
        word = "beyond" if real else "within"
        if set(np.unique(first)) | set(np.unique(second)) <= {0.0, 1.0}:
            lost, won = int(np.sum(first > second)), int(np.sum(first < second))
            return real, f"{word} noise: {lost:,} became wrong, {won:,} became right"
        return real, f"{word} noise, sample by sample"
    spread_down = math.hypot(new.high - new.value, old.value - old.low)
    spread_up = math.hypot(old.high - old.value, new.value - new.low)
    real = new.value - old.value > spread_up or old.value - new.value > spread_down
    return real, f"{'beyond' if real else 'within'} noise, by the intervals"
