"""Two measurements of the same bundles, an older and a newer one: what became slower, larger or less accurate.

A regression is a change for the worse, beyond noise and beyond the limits. Machines differ in speed, so a latency is
compared through the baseline that was measured in the same rounds, wherever both files have one. Never measures or
prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle.status import PROVEN
from ..errors import UsageError
from ..format import count_text
from . import judgement
from .answers import Answers, answer_text, flipped, truth_text
from .judgement import Change, LatencyJudge, Limits, Run
from .measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A sample that gets another answer now."""

    sample: int
    """Its index in the split."""
    before: str
    """What the older run answered."""
    after: str
    """What the newer run answers."""
    truth: str
    """The true answer; "" where it is unknown."""


@dataclass(frozen=True, kw_only=True)
class Flips:
    """All flipped answers of a row."""

    row: str
    """The row's name."""
    split: str
    """Which samples were asked: "validation" or "golden"."""
    samples: int
    """How many samples were asked."""
    flips: tuple[Flip, ...]
    """Those with another answer."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer of `edgekit compare`."""

    relation: str
    """How latencies were made comparable, in words."""
    differences: tuple[str, ...]
    """What differs between the machines, versions and settings."""
    changes: tuple[Change, ...]
    """Everything that was compared, row by row."""
    flips: tuple[Flips, ...]
    """The flipped answers of each row whose answers both files keep."""
    limits: Limits
    """What was allowed."""

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.verdict == "worse")


def compare(before: Run, after: Run, limits: Limits) -> Comparison:
    """The newer run against the older one, row by row of the same name.

    Raises:
        UsageError: they are of different models, or have no row in common.
    """
    models = before.measured.model, after.measured.model
    if not set(models[0].split(", ")) & set(models[1].split(", ")):
        raise UsageError(
            f"the older file is of the model {models[0]}, the newer one of {models[1]}: two models cannot be compared. "
            "Give two measurements of one model"
        )
    old, new = ({row.name: row for row in run.measured.rows} for run in (before, after))
    if not old.keys() & new.keys():
        raise UsageError(
            f"the two files have no row in common: the older one has {', '.join(old) or 'no rows'}, the newer one "
            f"{', '.join(new) or 'none'}. Compare two measurements of the same bundles"
        )
    machines = before.measured.machine, after.measured.machine
    same_machine = all(machines[0].get(key) == machines[1].get(key) for key in ("cpu", "isa", "cores", "system"))
    latency = LatencyJudge(before, after, limits.max_slower, same_machine)
    changes: list[Change] = []
    flips: list[Flips] = []
    for name, was in old.items():
        now = new.get(name)
        if now is None:
            text = "is missing from the newer file: measure it as well"
            changes.append(Change(row=name, what="row", verdict="worse", text=text))
            continue
        if was.error or now.error:
            changes += judgement.failed(was, now)
            continue
        answers = _same_samples(before.raw.answers.get(name), after.raw.answers.get(name))
        if _proof(now.status) < _proof(was.status):
            changes.append(Change(row=name, what="status", verdict="worse", text=f"was {was.status}, is {now.status}"))
        changes.append(latency.judge(was, now))
        changes.append(judgement.size("size", was.model_bytes, now.model_bytes, limits.max_larger, name))
        changes.append(judgement.memory(was, now, limits.max_more_memory, same_machine=same_machine))
        changes += judgement.cold_start(was, now, limits.max_slower_start, same_machine=same_machine)
        changes += judgement.accuracy(was, now, answers, limits.max_drop)
        if answers is not None:
            flips.append(_flips(name, *answers))
    return Comparison(
        relation=latency.relation,
        differences=_differences(before.measured, after.measured),
        changes=tuple(changes),
        flips=tuple(flips),
        limits=limits,
    )


def _proof(status: str) -> int:
    """How much a status proves: more for more. The float model needs no proof."""
    order = ("undecided", *reversed(PROVEN), "float")
    return order.index(status) + 1 if status in order else 0


def _same_samples(old: Answers | None, new: Answers | None) -> tuple[Answers, Answers] | None:
    if old is None or new is None or old.samples_sha256 != new.samples_sha256:
        return None
    kinds = [(answers.given.shape, answers.given.dtype.kind, answers.truth.shape) for answers in (old, new)]
    return (old, new) if kinds[0] == kinds[1] else None


def _flips(row: str, old: Answers, new: Answers) -> Flips:
    flips = [
        Flip(sample=int(i), before=answer_text(old, i), after=answer_text(new, i), truth=truth_text(new, i))
        for i in flipped(old, new)
    ]
    return Flips(row=row, split=new.split, samples=len(new.given), flips=tuple(flips))


def _differences(before: Measurement, after: Measurement) -> tuple[str, ...]:
    """What to know before blaming the bundle: another machine, version or setting, or rows that are not valid."""
    differences = [
        f"{key}: {before.machine.get(key, 'unknown')} → {after.machine.get(key, 'unknown')}"
        for key in dict.fromkeys((*before.machine, *after.machine))
        if before.machine.get(key) != after.machine.get(key)
    ]
    if before.edgekit_version != after.edgekit_version:
        differences.append(f"edgekit: {before.edgekit_version or 'unknown'} → {after.edgekit_version or 'unknown'}")
    engines = {row.name: row.engine for row in before.rows}
    changed = {(engines[row.name], row.engine) for row in after.rows if engines.get(row.name, row.engine) != row.engine}
    differences += [f"engine: {old or 'unknown'} → {new or 'unknown'}" for old, new in sorted(changed)]
    for key, old, new in (
        ("threads", before.settings.num_threads, after.settings.num_threads),
        ("batch", before.batch, after.batch),
        ("rounds", before.settings.rounds, after.settings.rounds),
        ("ms per round", before.settings.round_ms, after.settings.round_ms),
    ):
        if old != new:
            differences.append(f"{key}: {old} → {new}")
    for word, measured in (("older", before), ("newer", after)):
        if invalid := sum(bool(row.invalid_because) for row in measured.rows):
            rows = count_text(len(measured.rows), "row")
            differences.append(f"{invalid} of {rows} in the {word} file {'is' if invalid == 1 else 'are'} not valid")
    return tuple(differences)
