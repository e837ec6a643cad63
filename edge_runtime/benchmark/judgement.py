"""What one thing of one row became between two measurements: worse, better, the same, or not to be judged.

Worse means beyond noise, and by more than the limit. Knows rows and rounds; it reads no file.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..bundle.manifest import Metric
from ..errors import UsageError
from ..tasks.registry import metric_named
from ..tasks.regression import t95
from .answers import Answers
from .measurement import Measurement, Raw
from .rows import Row
from .stats import Ratio, ratio_of_ratios, unpaired_ratio
from .table import bytes_text, faster_text, ms_text, value_text

ENOUGH_COLD_STARTS = 3  # of each side; three that are all slower than three others happen once in twenty
MEMORY_SLACK_BYTES = 2_000_000  # between two runs of the same file


@dataclass(frozen=True, kw_only=True)
class Limits:
    """By how much, relative, a row may get worse. `max_drop` is the accuracy gate's own default."""

    max_slower: float = 0.05
    max_larger: float = 0.01
    max_more_memory: float = 0.10
    max_slower_start: float = 0.25
    max_drop: float = 0.01

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if not 0 <= limit < math.inf:  # False for NaN, which would let everything pass
                raise UsageError(f"--{name.replace('_', '-')} takes a number from 0, like 0.05; found {limit}")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing of one row: `verdict` is "worse" (a regression), "better", "same" or "not judged"."""

    row: str
    what: str
    verdict: str
    text: str
    ratio: Ratio | None = None


@dataclass(frozen=True)
class Run:
    """A measurement and what lies beside it."""

    measured: Measurement
    raw: Raw

    def rounds(self, name: str) -> tuple[float, ...]:
        """The medians of the rounds of a row, in ms; empty where the files do not keep them, or keep nonsense."""
        kept = next((row.rounds_p50_ms for row in self.measured.rows if row.name == name), ())
        found = kept or self.raw.rounds_p50_ms.get(name, ())
        return found if len(found) > 1 and min(found) > 0 else ()


@dataclass(frozen=True)
class LatencyJudge:
    """Relates latencies of two runs, each to the older run's baseline as its own run measured it, where both did."""

    before: Run
    after: Run
    limit: float
    same_machine: bool

    @cached_property
    def base(self) -> str:
        """The row that latencies are related to; "" where the two files have none in common."""
        name = self.before.measured.baseline
        in_both = bool(self.before.rounds(name) and self.after.rounds(name))
        return name if in_both or name == self.after.measured.baseline else ""

    @property
    def relation(self) -> str:
        """How latencies are made comparable, in words."""
        if self.base:
            return f"each against {self.base} of its own run"
        return "in milliseconds, because no baseline is in both files"

    def judge(self, was: Row, now: Row) -> Change:
        first, second = self.before.measured, self.after.measured
        alike = (first.settings.num_threads, first.batch) == (second.settings.num_threads, second.batch)
        faster, how = self._faster(was, now) if alike else (None, "measured with other threads or another batch")
        if faster is None:
            return Change(row=was.name, what="latency", verdict="not judged", text=f"not judged: {how}")
        verdict = "better" if faster.beyond_noise and faster.value > 1 else "same"
        # Of a measurement that may not be quoted the whole interval has to lie beyond the limit.
        slower = faster.inverse.value if was.valid and now.valid else faster.inverse.low
        if faster.beyond_noise and slower > 1 + self.limit:
            verdict = "worse"
        text = f"{faster_text(faster)}, {how} ({ms_text(was.p50_ms)} → {ms_text(now.p50_ms)})"
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
            why = "the others are related to it, and " if was.name == self.base else ""
            return None, f"{why}the machines differ"
        if not old or not new:
            return None, "a file keeps no rounds of it"
        return unpaired_ratio(old, new), "in milliseconds, on the same machine"


def _from_intervals(was: Ratio, now: Ratio) -> Ratio:
    """The ratio of two ratios from their intervals alone, by the method of variance estimates recovery.

    Source: Zou & Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008).
    """
    value = math.log(now.value / was.value)
    low = value - math.hypot(math.log(now.value / now.low), math.log(was.high / was.value))
    high = value + math.hypot(math.log(now.high / now.value), math.log(was.value / was.low))
    return Ratio(value=math.exp(value), low=math.exp(low), high=math.exp(high))


def failed(was: Row, now: Row) -> list[Change]:
    """Of rows of which one has no figures."""
    if now.error and not was.error:
        return [Change(row=was.name, what="row", verdict="worse", text=f"failed: {now.error}")]
    if was.error and not now.error:
        return [Change(row=was.name, what="row", verdict="better", text="failed before, works now")]
    return [Change(row=was.name, what="row", verdict="same", text="failed before and now")]


def size(what: str, was: int | None, now: int | None, limit: float, row: str, *, slack: int = 0) -> Change:
    """A number of bytes; up to `slack` of them more or less mean nothing."""
    if was is None or now is None or not was:
        return Change(row=row, what=what, verdict="not judged", text="not judged: not in both files")
    verdict = "worse" if now > was * (1 + limit) + slack else "better" if now < was * (1 - limit) - slack else "same"
    text = f"{bytes_text(was)} → {bytes_text(now)}, {now / was - 1:+.1%}"
    return Change(row=row, what=what, verdict=verdict, text=text)


def memory(was: Row, now: Row, limit: float, *, same_machine: bool) -> Change:
    """Memory over an empty worker where both files have it, else the peak of the whole process."""
    sizes = (was.rss_added_bytes, now.rss_added_bytes)
    if None in sizes:
        sizes = (was.peak_rss_bytes, now.peak_rss_bytes)
    if not same_machine:
        return Change(row=was.name, what="memory", verdict="not judged", text="not judged: the machines differ")
    return size("memory", *sizes, limit, was.name, slack=MEMORY_SLACK_BYTES)


def cold_start(was: Row, now: Row, limit: float, *, same_machine: bool) -> list[Change]:
    """Worse when every start took longer than every one before; nothing where there are too few to tell."""
    old, new = was.cold_starts_ms, now.cold_starts_ms
    if not same_machine or min(len(old), len(new)) < ENOUGH_COLD_STARTS or min(*old, *new) <= 0:
        return []
    times = statistics.median(new) / statistics.median(old)
    worse, better = min(new) > max(old) and times > 1 + limit, max(new) < min(old) and times < 1 / (1 + limit)
    text = f"{ms_text(statistics.median(old))} → {ms_text(statistics.median(new))}, {times - 1:+.0%}"
    verdict = "worse" if worse else "better" if better else "same"
    return [Change(row=was.name, what="cold start", verdict=verdict, text=text)]


def accuracy(was: Row, now: Row, answers: tuple[Answers, Answers] | None, limit: float) -> list[Change]:
    """The task's metric; `answers` to the same samples, before and after, make a small change tell more."""
    old, new = was.metric, now.metric
    if old is None and new is None:
        return []
    if old is None or new is None or old.name != new.name:
        text = "not judged: the two files have different metrics"
        return [Change(row=was.name, what="accuracy", verdict="not judged", text=text)]
    known = metric_named(old.name)
    sign = -1 if known is not None and not known.higher_is_better else 1
    gain = sign * (new.value - old.value)
    real, how = _beyond_noise(old, new, answers)
    verdict = "same" if not gain or not real else "better" if gain > 0 else "worse"
    if verdict == "worse" and -gain <= limit * abs(old.value):
        verdict = "same"
    text = f"{value_text(old.name, old.value)} → {value_text(new.name, new.value)}{f', {how}' if gain else ''}"
    return [Change(row=was.name, what="accuracy", verdict=verdict, text=text)]


def _beyond_noise(old: Metric, new: Metric, answers: tuple[Answers, Answers] | None) -> tuple[bool, str]:
    """Whether the metric changed beyond noise: sample by sample where both answered the same, else by the intervals."""
    if (
        answers is not None
        and answers[0].split == "validation"
        and 1 < len(answers[0].scores) == len(answers[1].scores)
    ):
        first, second = answers[0].scores, answers[1].scores
        if set(np.unique(first)) | set(np.unique(second)) <= {0.0, 1.0}:
            lost, won = int(np.sum(first > second)), int(np.sum(first < second))
            p = _sign_test(lost, won)
            word = "beyond noise" if p <= 0.05 else "within noise"
            return p <= 0.05, f"{word}: {lost} became wrong, {won} right (sign test, p = {p:.2g})"
        with np.errstate(invalid="ignore"):
            moved = second - first
        spread = t95(len(moved) - 1) * float(moved.std(ddof=1)) / math.sqrt(len(moved))
        real = not abs(float(moved.mean())) <= spread  # so that a NaN counts as a change
        return real, f"{'beyond' if real else 'within'} noise, sample by sample"
    spread_down = math.hypot(new.high - new.value, old.value - old.low)
    spread_up = math.hypot(old.high - old.value, new.value - new.low)
    real = new.value - old.value > spread_up or old.value - new.value > spread_down
    return real, f"{'beyond' if real else 'within'} noise, by the intervals"


def _sign_test(lost: int, won: int) -> float:
    """Two-sided p of so uneven a split were gains and losses equally likely (McNemar's test, exact)."""
    n, k = lost + won, min(lost, won)
    # As integers: 2 ** n overflows a float from 1,024 changed answers on.
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / (1 << n)) if n else 1.0
