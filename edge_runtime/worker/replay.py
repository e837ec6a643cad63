"""A bundle proves itself where it runs: a child process replays its golden inputs, and the answers are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..arrays import Arrays
from ..bundle import versions
from ..bundle.bundle import Bundle
from ..bundle.golden import GoldenSet
from ..bundle.manifest import BatchRange, Floor, Manifest
from ..engines import engine_name
from ..errors import BundleError, shown
from ..format import floor_text
from ..tasks.holds import kind
from ..tasks.metrics import max_abs, sqnr_db
from ..tasks.registry import TASKS, task, unread
from ..tasks.variation import varying_sqnr_db
from .parent import Worker
from .policy import NO_CODE, Policy


@dataclass(frozen=True, kw_only=True)
class OutputReplay:
    """One output of one program, against the float model and against the day the bundle was packed.

    In format 1 all outputs count as one, called "".
    """

    program: str
    """The program."""
    output: str
    """Its output."""
    engine: str
    """The library that ran it, and its version."""
    samples: int
    """How many golden samples it has."""
    sqnr_db: float
    """SQNR of what varies between samples, against the float model's answers."""
    agreement: float
    """Share of answers that are the float model's."""
    max_abs: float
    """Largest difference from the float model's answers."""
    max_abs_since_packed: float | None
    """Largest difference from its own answers when it was packed; None if it was not run then."""
    batch_sqnr_db: float
    """SQNR of several rows at once against one at a time; 200, for "identical", where the batch is fixed."""
    held_to: str
    """What was required of it."""
    passed: bool
    """Whether it is close enough."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What replaying the golden samples gave here, against the float model and against the day the bundle was packed.

    The figures are the worst of all `outputs`.
    """

    name: str
    """The bundle."""
    status: str
    """What was proven of it."""
    engine: str
    """The library that ran it, and its version."""
    samples: int
    """How many golden samples it has."""
    max_abs: float
    """Largest difference from the float model's answers."""
    sqnr_db: float
    """SQNR of the answers against the float model's."""
    agreement: float
    """Share of samples with the float model's answer."""
    max_abs_since_packed: float | None
    """Largest difference from its own answers when it was packed, if it was run then; another CPU may differ a little.
    """
    held_to: str
    """What was required of it."""
    passed: bool
    """Whether it is close enough."""
    signature: str = "none"
    """"good" if it was checked with a key, "not checked" if there is one and no key was given, else "none"."""
    batch: int = 1
    """Where the batch is free, the inputs ran a second time in batches of this size."""
    batch_sqnr_db: float = 200.0
    """SQNR of those answers against the single ones; 200, for "identical", where the batch is fixed."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about the engine installed here."""
    outputs: tuple[OutputReplay, ...] = ()
    """Each output of each program."""


def replay(
    path: str | Path, *, engine: str | None = None, num_threads: int = 1, policy: Policy = NO_CODE
) -> ReplayResult:
    """Opens the bundle, runs the golden inputs of each program in a fresh process and compares the answers.

    Args:
        engine: which engine of its format, as in `engines.load`.
        policy: what the bundle may do, and the key that must verify its signature.
    Raises:
        BundleError: the bundle was refused before anything was loaded.
        EngineError: the engine failed, or its process crashed.
    """
    with policy.open(path) as bundle:
        return replay_opened(bundle, engine=engine, num_threads=num_threads, policy=policy)


def replay_opened(
    bundle: Bundle, *, engine: str | None = None, num_threads: int = 1, policy: Policy = NO_CODE
) -> ReplayResult:
    """As `replay`, for a bundle that `policy` opened. Raises the same."""
    check_task(bundle)
    results: list[ReplayResult] = []
    notes: list[str] = []
    for program in bundle.manifest.programs:
        manifest, golden = bundle.manifest.only(program.name), bundle.golden(program.name)
        with policy.worker(bundle, engine=engine, program=program.name, num_threads=num_threads) as worker:
            results.append(replay_in(worker, manifest, golden))
        name = engine_name(program.artifact.format, str(bundle.source), engine)
        notes += versions.check(manifest, bundle.path_of(program.name), name)
    return replace(_worst(results), signature=policy.signature_of(bundle), notes=tuple(dict.fromkeys(notes)))


def replay_in(worker: Worker, manifest: Manifest, golden: GoldenSet) -> ReplayResult:
    """Loads the model in a worker of the only program, replays and judges. Raises EngineError."""
    version = worker.load()["version"]
    answers = worker.run(golden.inputs)
    batch = larger_batch(manifest.batch, golden.samples)
    together = worker.run(golden.inputs, batch=batch) if batch > 1 else answers
    return judge(manifest, golden, answers, version, together=together, batch=batch)


def check_task(bundle: Bundle) -> None:
    """Raises BundleError for a bundle whose answers cannot be read here: an unknown task, or an output that the task
    cannot be read from.
    """
    manifest = bundle.manifest
    if manifest.task not in TASKS:
        raise BundleError(
            f"{bundle.source} has the task {shown(repr(manifest.task), 80)}, which this edgekit does not know. "
            f"Known: {', '.join(sorted(TASKS))}. Upgrade edgekit, or pack the bundle with a known task"
        )
    wrong = unread([spec.holds for spec in manifest.programs[0].outputs], TASKS[manifest.task])
    if len(manifest.programs) == 1 and wrong:
        raise BundleError(f"{bundle.source} has {wrong}. Pack the bundle again, and say what the output holds")


def larger_batch(batch: BatchRange | None, samples: int) -> int:
    """The batch size to try a free axis with: the largest it allows, but no more than there are samples."""
    return min(batch.max, samples) if batch else 1


def judge(
    manifest: Manifest,
    golden: GoldenSet,
    answers: Arrays,
    engine: str,
    *,
    together: Arrays | None = None,
    batch: int = 1,
) -> ReplayResult:
    """Compares answers to the golden inputs of the only program with the recorded ones, under the manifest's floors.

    Args:
        answers: (N, …) to one sample at a time.
        together: answers (N, …) to `batch` samples at a time; the same floors apply between them and `answers`.
    """
    program, together = manifest.program(), answers if together is None else together
    rule = _joint if program.golden.replay == "joint" else _by_output
    outputs = rule(manifest, golden, answers, together, engine)
    held_to = list(dict.fromkeys(output.held_to for output in outputs))
    since = [output.max_abs_since_packed for output in outputs if output.max_abs_since_packed is not None]
    return ReplayResult(
        name=manifest.name,
        status=manifest.status,
        engine=engine,
        samples=golden.samples,
        max_abs=max(output.max_abs for output in outputs),
        sqnr_db=min(output.sqnr_db for output in outputs),
        agreement=min(output.agreement for output in outputs),
        max_abs_since_packed=max(since, default=None),
        held_to=held_to[0] if len(held_to) == 1 else "; ".join(f"{o.output}: {o.held_to}" for o in outputs),
        passed=all(output.passed for output in outputs),
        batch=batch,
        batch_sqnr_db=min(output.batch_sqnr_db for output in outputs),
        outputs=outputs,
    )


def _by_output(
    manifest: Manifest, golden: GoldenSet, answers: Arrays, together: Arrays, engine: str
) -> tuple[OutputReplay, ...]:
    """The rule of format 2: each output on its own, with the SQNR of what varies, and agreement by what it holds."""
    program, packed = manifest.program(), golden.own_answers(engine)
    results = []
    for spec in program.outputs:
        name, agreement_of, floor = spec.name, kind(spec.holds).agreement, program.golden.floors[spec.name]
        reference, answer, at_once = golden.outputs[name], answers[name], together[name]
        measured = (varying_sqnr_db(reference, answer), agreement_of(reference, answer), max_abs(reference, answer))
        batched = (varying_sqnr_db(answer, at_once), agreement_of(answer, at_once), max_abs(answer, at_once))
        results.append(
            OutputReplay(
                program=program.name,
                output=name,
                engine=engine,
                samples=golden.samples,
                sqnr_db=measured[0],
                agreement=measured[1],
                max_abs=measured[2],
                max_abs_since_packed=None if packed is None else max_abs(packed[name], answer),
                batch_sqnr_db=batched[0],
                held_to=floor_text(floor),
                passed=_holds(floor, *measured) and _holds(floor, *batched),
            )
        )
    return tuple(results)


def _joint(
    manifest: Manifest, golden: GoldenSet, answers: Arrays, together: Arrays, engine: str
) -> tuple[OutputReplay, ...]:
    """The rule of format 1: all outputs side by side, agreement of the first by the task, one pair of floors."""
    program, packed = manifest.program(), golden.own_answers(engine)
    reference, answer, at_once = (_joined(manifest, arrays) for arrays in (golden.outputs, answers, together))
    first, agreement_of = program.outputs[0].name, task(manifest.task).agreement
    floor = program.golden.floors[first]  # the same for all outputs
    sqnr, agreement = sqnr_db(reference, answer), agreement_of(golden.outputs[first], answers[first])
    batch_sqnr, batch_agreement = sqnr_db(answer, at_once), agreement_of(answers[first], together[first])
    return (
        OutputReplay(
            program=program.name,
            output="",
            engine=engine,
            samples=golden.samples,
            sqnr_db=sqnr,
            agreement=agreement,
            max_abs=max_abs(reference, answer),
            max_abs_since_packed=None if packed is None else max_abs(_joined(manifest, packed), answer),
            batch_sqnr_db=batch_sqnr,
            held_to=floor_text(floor),
            passed=_holds(floor, sqnr, agreement, 0.0) and _holds(floor, batch_sqnr, batch_agreement, 0.0),
        ),
    )


def _holds(floor: Floor, sqnr: float, agreement: float, difference: float) -> bool:
    return (
        (floor.sqnr_db is None or sqnr >= floor.sqnr_db)
        and (floor.agreement is None or agreement >= floor.agreement)
        and (floor.max_abs is None or difference <= floor.max_abs)
    )


def _worst(results: Sequence[ReplayResult]) -> ReplayResult:
    """One result for all programs of a bundle: the worst of each figure."""
    if len(results) == 1:
        return results[0]
    since = [result.max_abs_since_packed for result in results if result.max_abs_since_packed is not None]
    programs = [result.outputs[0].program for result in results]
    return replace(
        results[0],
        engine=", ".join(dict.fromkeys(result.engine for result in results)),
        samples=min(result.samples for result in results),
        max_abs=max(result.max_abs for result in results),
        sqnr_db=min(result.sqnr_db for result in results),
        agreement=min(result.agreement for result in results),
        max_abs_since_packed=max(since, default=None),
        held_to="; ".join(f"{name}: {result.held_to}" for name, result in zip(programs, results, strict=True)),
        passed=all(result.passed for result in results),
        batch=max(result.batch for result in results),
        batch_sqnr_db=min(result.batch_sqnr_db for result in results),
        outputs=tuple(output for result in results for output in result.outputs),
    )


def _joined(manifest: Manifest, arrays: Arrays) -> np.ndarray:
    """All outputs side by side, one row per sample (N, everything), float64."""
    columns = [arrays[spec.name].reshape(len(arrays[spec.name]), -1) for spec in manifest.outputs]
    return np.concatenate(columns, axis=1).astype(np.float64)
