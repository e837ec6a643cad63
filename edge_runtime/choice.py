"""Which of the installed engines runs a bundle fastest on this machine: measured once, and kept with the reason.

    choose(bundle).engine       "openvino"
    kept_choice(bundle)         what was chosen before; None where nothing was. Runs nothing

Each engine replays the golden samples in a process of its own; those that hold are timed in turns for some tenths of a
second. An engine has to be faster beyond noise to take the place of the usual one. What was chosen is kept in the
user's cache, for these versions on this machine.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .benchmark.stats import medians_ms, paired_ratio
from .bundle import versions
from .bundle.bundle import Bundle
from .decode import DecodeError, canonical_json, decode, parse_json, to_plain
from .engines import engine_name, installed_engines
from .errors import EdgekitError, EngineError, UsageError, shown
from .files import cached, keep
from .format import count_text, db_text, difference_text
from .machine.cpu import machine
from .worker.parent import Worker
from .worker.policy import Policy
from .worker.replay import check_task, replay_in

AUTO, ALL = "auto", "all"
_ROUNDS, _FEWEST_ROUNDS = 7, 3
_ROUND_NS = 25_000_000
_BUDGET_S = 2.0  # of slow models there are fewer rounds
_MOST_SAMPLES = 64
_KIND = 1  # of the kept file; another one is not read


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An engine that could have been chosen."""

    engine: str
    """Its package."""
    version: str
    """The package's version."""
    p50_ms: float | None
    """The median of one run; None where it was not timed."""
    refused: str
    """Why it may not be chosen; "" where it may."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The engine for a program of a bundle, and why."""

    engine: str
    """Its package."""
    reason: str
    """Why it was chosen, as words that follow its name."""
    num_threads: int
    """CPU threads inside one run that this holds for."""
    measured_at: str
    """When, UTC in ISO 8601; "" where there was nothing to measure."""
    tried: tuple[Tried, ...]
    """Every engine that was tried, the format's usual one first."""

    @property
    def text(self) -> str:
        """One line: the engine, the reason, and when that was measured."""
        when = f" ({count_text(self.num_threads, 'thread')}, measured {self.measured_at})" if self.measured_at else ""
        return f"{self.engine}: {self.reason}{when}"


def choose(
    bundle: Bundle,
    *,
    program: str | None = None,
    num_threads: int = 1,
    spin: bool = False,
    allow: Sequence[str] = (),
) -> Choice:
    """The fastest installed engine whose golden replay holds; measured if that was not done before.

    Args:
        program, num_threads, spin, allow: as in `engines.load`.
    Raises:
        EngineError: several engines are installed, and the golden replay holds on none.
        BundleError: the format is unknown, or not allowed.
    """
    manifest, source = bundle.manifest.only(program), str(bundle.source)
    format = manifest.artifact.format
    usual, engines = engine_name(format, source), installed_engines(format)
    if len(engines) < 2:
        reason = (
            f"the only engine for {format} that is installed" if engines else f"no engine for {format} is installed"
        )
        return Choice(engine=usual, reason=reason, num_threads=num_threads, measured_at="", tried=())
    path = _file(bundle, manifest.program().name, engines, num_threads, spin)
    kept = _kept(path, engines)
    if kept is None:
        kept = _measured(bundle, manifest.program().name, engines, num_threads, spin, allow)
        keep(path, canonical_json(to_plain(kept)))  # without a place for it, it is measured again next time
    return kept


def kept_choice(
    bundle: Bundle, *, program: str | None = None, num_threads: int = 1, spin: bool = False
) -> Choice | None:
    """What `choose` chose before on this machine, with the engines that are installed now; None if it has not yet."""
    chosen = bundle.manifest.program(program)
    engines = installed_engines(chosen.artifact.format)
    return _kept(_file(bundle, chosen.name, engines, num_threads, spin), engines) if len(engines) > 1 else None


def engine_for(
    bundle: Bundle,
    asked: str | None,
    *,
    program: str | None = None,
    num_threads: int = 1,
    spin: bool = False,
    allow: Sequence[str] = (),
) -> str:
    """The engine that `asked` means: a name, "auto" for `choose`, None for the first one that is installed.

    Raises:
        UsageError: the format has no such engine.
        EngineError, BundleError: as `choose`.
    """
    if asked == AUTO:
        return choose(bundle, program=program, num_threads=num_threads, spin=spin, allow=allow).engine
    return engine_name(bundle.manifest.program(program).artifact.format, str(bundle.source), asked)


def engines_for(
    bundle: Bundle, asked: str | None, *, num_threads: int = 1, spin: bool = False, allow: Sequence[str] = ()
) -> list[str]:
    """As `engine_for`, for several: names with commas, or "all" for every one that is installed.

    Of a bundle with several programs they are engines that run all of these.

    Raises:
        UsageError: also for "auto" where there are several programs.
    """
    programs, source = bundle.manifest.programs, str(bundle.source)
    formats = list(dict.fromkeys(program.artifact.format for program in programs))
    usual = engine_name(formats[0], source)
    if asked is None:
        return [usual]
    if asked == ALL:
        everywhere = set.intersection(*(set(installed_engines(format)) for format in formats))
        return [name for name in installed_engines(formats[0]) if name in everywhere] or [usual]
    names: list[str] = []
    for word in (word.strip() for word in asked.split(",")):
        if word != AUTO:
            names += [engine_name(format, source, word) for format in formats]
        elif len(programs) > 1:
            raise UsageError(
                f"{source} has several programs, and which engine is fastest may differ. Name one, or load each from "
                f'Python: load_engine(bundle, program={programs[0].name!r}, engine="auto")'
            )
        else:
            names.append(choose(bundle, num_threads=num_threads, spin=spin, allow=allow).engine)
    return list(dict.fromkeys(names))


def _file(bundle: Bundle, program: str, engines: Sequence[str], num_threads: int, spin: bool) -> Path | None:
    """Where the choice is kept, if anywhere; another bundle, version or machine has another place."""
    found = {name: versions.installed_version(name) for name in engines}
    causes = [_KIND, bundle.sha256, program, found, num_threads, spin, machine()]
    return cached("engines", f"{hashlib.sha256(canonical_json(causes)).hexdigest()[:32]}.json")


def _kept(path: Path | None, engines: Sequence[str]) -> Choice | None:
    if path is None:
        return None
    try:
        choice = decode(Choice, parse_json(path.read_bytes()))
    except (OSError, ValueError, DecodeError):  # there is none, it is damaged, or another version wrote it
        return None
    return choice if choice.engine in engines else None


def _measured(
    bundle: Bundle, program: str, engines: Sequence[str], num_threads: int, spin: bool, allow: Sequence[str]
) -> Choice:
    check_task(bundle)
    manifest, golden, policy = bundle.manifest.only(program), bundle.golden(program), Policy(allow=tuple(allow))
    refused: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in engines:
            try:
                worker = stack.enter_context(
                    policy.worker(bundle, engine=name, program=program, num_threads=num_threads, spin=spin)
                )
                replayed = replay_in(worker, manifest, golden)
            except EdgekitError as error:
                refused[name] = shown(error)
                continue
            if replayed.passed:
                worker.set_samples({key: rows[:_MOST_SAMPLES] for key, rows in golden.inputs.items()})
                workers[name] = worker
            else:
                refused[name] = f"its golden replay gives {db_text(replayed.sqnr_db)} (required: {replayed.held_to})"
        if not workers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            raise EngineError(f"{bundle.source}: no engine passes its golden replay. {reasons}. Pack the bundle again")
        rounds = _timed(workers) if len(workers) > 1 else {}
    best, reason = fastest(rounds) if rounds else (next(iter(workers)), "the only one whose golden replay holds")
    others = [f"{name} may not be used: {why}" for name, why in refused.items()]
    return Choice(
        engine=best,
        reason="; ".join([reason, *others]),
        num_threads=num_threads,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        tried=tuple(
            Tried(
                engine=name,
                version=versions.installed_version(name),
                p50_ms=round(float(np.median(rounds[name])), 6) if name in rounds else None,
                refused=refused.get(name, ""),
            )
            for name in engines
        ),
    )


def _timed(workers: Mapping[str, Worker]) -> dict[str, tuple[float, ...]]:
    """The median of each round in ms, of every engine; in each round they run one after another, in changing order."""
    rounds: dict[str, list[np.ndarray]] = {name: [] for name in workers}
    for worker in workers.values():
        worker.time(nanoseconds=_ROUND_NS, count=1)  # warm-up, not counted
    begun = time.monotonic()
    for number in range(_ROUNDS):
        if number >= _FEWEST_ROUNDS and time.monotonic() - begun > _BUDGET_S:
            break
        for name in list(workers)[:: -1 if number % 2 else 1]:
            rounds[name].append(workers[name].time(nanoseconds=_ROUND_NS, count=1)["wall_ns"])
    return {name: medians_ms(taken) for name, taken in rounds.items()}


def fastest(rounds: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """The fastest engine, and how it compares; the first one stays unless another is faster beyond noise."""
    best, *others = rounds
    for name in others:
        if (ratio := paired_ratio(rounds[best], rounds[name])).beyond_noise and ratio.value > 1:
            best = name
    compared = {name: paired_ratio(rounds[name], rounds[best]) for name in rounds if name != best}
    reasons = [
        difference_text(ratio, than=name) if ratio.beyond_noise else f"{difference_text(ratio)} against {name}"
        for name, ratio in compared.items()
    ]
    return best, ", ".join(reasons)
