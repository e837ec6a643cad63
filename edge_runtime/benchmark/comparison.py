"""Two measurements of the same bundles, an older and a newer one: what became slower, larger or less accurate.

Beyond noise, that is, and by more than the limits allow. Different machines run at different speeds, so a latency is
related to the baseline that was measured in the same rounds wherever both files have it. Never measures or prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle.status import PROVEN, canonical
from ..errors import UsageError
from . import judgement
from .answers import Answers, flipped, said, truth_of
from .judgement import Change, LatencyJudge, Limits, Run
from .measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A sample whose answer is another one now, by its place in the split."""

    sample: int
    before: str
    after: str
    truth: str


@dataclass(frozen=True, kw_only=True)
class Flips:
    """All flipped answers of a row, of how many samples of which split."""

    row: str
    split: str
    samples: int
    flips: tuple[Flip, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `edgekit compare` found; `relation` says how latencies were made comparable."""

    relation: str
    differences: tuple[str, ...]  # between the machines, versions and settings
    changes: tuple[Change, ...]
    flips: tuple[Flips, ...]
    limits: Limits

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.verdict == "worse")


def compare(before: Run, after: Run, limits: Limits) -> Comparison:
    """The newer run against the older one, row by row of the same name.

    Raises:
        UsageError: they have no row in common.
    """
    old, new = ({row.name: row for row in run.measured.rows} for run in (before, after))
    if not old.keys() & new.keys():
        raise UsageError(
            f"nothing can be compared: one file has {', '.join(old) or 'no rows'}; the other {', '.join(new) or 'none'}"
        )
    machines = before.measured.machine, after.measured.machine
    same_machine = all(machines[0].get(key) == machines[1].get(key) for key in ("cpu", "isa", "cores", "system"))
    latency = LatencyJudge(before, after, limits.max_slower, same_machine)
    changes: list[Change] = []
    flips: list[Flips] = []
    for name, was in old.items():
        now = new.get(name)
        if now is None:
            text = "is not in the newer file: measure it as well"
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
    """How much a status says: more for more. The float model needs no proof."""
    order = ("undecided", *reversed(PROVEN), "float")
    known = status if status == "float" else canonical(status)
    return order.index(known) + 1 if known in order else 0


def _same_samples(old: Answers | None, new: Answers | None) -> tuple[Answers, Answers] | None:
    if old is None or new is None or old.samples_sha256 != new.samples_sha256:
        return None
    kinds = [(answers.found.shape, answers.found.dtype.kind, answers.truth.shape) for answers in (old, new)]
    return (old, new) if kinds[0] == kinds[1] else None


def _flips(row: str, old: Answers, new: Answers) -> Flips:
    found = [
        Flip(sample=int(i), before=said(old, i), after=said(new, i), truth=truth_of(new, i)) for i in flipped(old, new)
    ]
    return Flips(row=row, split=new.split, samples=len(new.found), flips=tuple(found))


def _differences(before: Measurement, after: Measurement) -> tuple[str, ...]:
    """What a reader must know before blaming the bundle: another machine, version or setting, no valid run."""
    found = [
        f"{key}: {before.machine.get(key, 'unknown')} → {after.machine.get(key, 'unknown')}"
        for key in dict.fromkeys((*before.machine, *after.machine))
        if before.machine.get(key) != after.machine.get(key)
    ]
    if before.edgekit_version != after.edgekit_version:
        found.append(f"edgekit: {before.edgekit_version or 'unknown'} → {after.edgekit_version or 'unknown'}")
    engines = {row.name: row.engine for row in before.rows}
    changed = {(engines[row.name], row.engine) for row in after.rows if engines.get(row.name, row.engine) != row.engine}
    found += [f"engine: {old or 'unknown'} → {new or 'unknown'}" for old, new in sorted(changed)]
    for key, old, new in (
        ("threads", before.settings.num_threads, after.settings.num_threads),
        ("batch", before.batch, after.batch),
        ("rounds", before.settings.rounds, after.settings.rounds),
        ("ms a round", before.settings.round_ms, after.settings.round_ms),
    ):
        if old != new:
            found.append(f"{key}: {old} → {new}")
    for word, measured in (("older", before), ("newer", after)):
        if bad := sum(bool(row.invalid_because) for row in measured.rows):
            found.append(f"the {word} file calls {bad} of its {len(measured.rows)} rows not valid")
    return tuple(found)
