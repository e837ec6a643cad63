"""One model every way it is asked for: packed, verified, then all of it measured against each other.

What happens is said as events (`events.py`); nothing is printed, and nothing is written but bundles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.answers import Answers, answers_of
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, BenchmarkResult, Settings
from edgekit.edge_runtime.benchmark.measure import Candidate, candidate_of, measure
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row, Status, Subject
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.manifest import Manifest, Metric
from edgekit.edge_runtime.engines import RUNS_CODE, row_name
from edgekit.edge_runtime.errors import (
    EdgekitError,
    ExportError,
    Interrupted,
    UsageError,
    VerificationError,
    system_text,
)
from edgekit.edge_runtime.format import metric_name, value_text
from edgekit.edge_runtime.tasks.registry import metric_named

from .cache import failed_before, fingerprint, keep_failure, measured_before, unchanged_bundle
from .combinations import Combination, most_promising_first, runs_there
from .deploy import DeployModel
from .events import (
    BundleBegun,
    BundleFailed,
    BundleNotTried,
    BundlePacked,
    BundleUnchanged,
    FloatMeasured,
    MeasuredBefore,
    MeasuringProgress,
    OnEvent,
    StepBegun,
    ignore,
)
from .front_ends import front_ends
from .other_engines import OtherRun, other_versions, run_others_again
from .pack import Packed, bundle_name, pack_bundle, run_again, tools_of
from .user_model.request import Request
from .verify import FloatReference

# Importing torch takes seconds: once is enough here, and the rest is started less often than `edgekit benchmark` does.
WHILE_MAKING = Settings(cold_starts=3, cold_start_budget_s=2.0)

MakeEager = Callable[[Arrays], Candidate | None]


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What became of one model: the finished bundles, what was measured, and a row for each that was not made.

    `answers` to the validation split are by the name of the row. `measured_before`: nothing had changed, so `measured`
    is an earlier run's, and `results` is empty.
    """

    packed: tuple[Packed, ...]
    failed: tuple[Row, ...]
    measured: Measurement
    results: tuple[BenchmarkResult, ...]
    answers: dict[str, Answers]
    measured_before: bool = False


def deliver(
    model: DeployModel,
    pairs: Sequence[Combination],
    request: Request,
    make_eager: MakeEager,
    *,
    earlier: Path | None = None,
    on_event: OnEvent = ignore,
) -> Delivered:
    """Packs and verifies `model` every way of `pairs`, then measures all of it against the float model.

    Args:
        request: budget, place, objective and the like; `pairs` were made of it.
        make_eager: makes the float model a candidate that runs the samples (N, …) it is given; None where it cannot
            run in a process of its own, and the first bundle is then what the others are measured against.
        earlier: the results.json of an earlier run; what it measured and nothing has changed is not measured again.
    Raises:
        Interrupted: Ctrl-C; the bundles that were finished are kept.
        InputError: the float model answers NaN or infinity.
        ExportError: not one bundle could be made, and the float model cannot be measured either.
    """
    on_event(StepBegun(text="running the float model"))
    reference = FloatReference.of(model)
    samples = len(next(iter(reference.validation.values())))
    on_event(FloatMeasured(model=model.name, metric=reference.metric, samples=samples))
    check_expected(model, reference.metric, request.expect_accuracy)

    packed, failed, answers = _pack_all(model, reference, pairs, request, on_event)
    runs = [bundle for bundle in packed if bundle.manifest.status != "not_run"]
    failed += [_not_run(bundle) for bundle in packed if bundle.manifest.status == "not_run"]
    eager = make_eager(reference.golden_inputs)
    if eager is None and not runs:
        reasons = " ".join(row.error for row in failed)
        raise ExportError(f"no bundle of {model.name} could be made that runs here. {reasons}")

    settings = QUICK if request.quick else WHILE_MAKING
    before, results = None, list[BenchmarkResult]()
    if earlier and not request.again and all(bundle.unchanged for bundle in packed):
        before = measured_before(earlier, eager.name if eager else "", [bundle.path for bundle in runs], settings)
    if before is not None:
        on_event(MeasuredBefore(measured_at=before.measured_at))
        measured = replace(before, rows=(*(row for row in before.rows if not row.error), *failed))
    else:
        if reference.metric is not None:
            outputs = {eager.name: reference.validation} if eager else {}
            answers |= _judged(model, outputs)
            for bundle in runs:
                if bundle.unchanged:
                    answers |= _judged(model, {bundle.name: run_again(model, bundle.path)})
        for place, bundle in enumerate(runs):
            if bundle.unchanged:
                again = run_others_again(model, reference, bundle.manifest, bundle.path)
                found = tuple(one for one in again if runs_there(request, one.run.name))
                answers |= _judged_others(model, bundle.manifest, found)
                runs[place] = replace(bundle, others=_without_answers(found))
        measured, results = _measure(model, reference, eager, runs, failed, settings, on_event)
    return Delivered(
        packed=tuple(packed),
        failed=tuple(failed),
        measured=replace(
            measured,
            max_drop=request.max_drop,
            bundles=str(request.out),
            objective=request.objective,
            request=request.to_plain() or None,
        ),
        results=tuple(results),
        answers=answers,
        measured_before=before is not None,
    )


def check_expected(model: DeployModel, metric: Metric | None, expected: float | None) -> None:
    """Holds the float model to what the user expects of it, before anything is made.

    Raises:
        UsageError: it does not reach that, or nothing measures it.
    """
    if expected is None:
        return
    if metric is None:
        raise UsageError(
            f"--expect-accuracy {expected:g} needs samples with true answers: give --validation, or `evaluate`"
        )
    counted = metric_named(metric.name)
    better = counted is None or counted.higher_is_better
    if (metric.value >= expected) if better else (metric.value <= expected):
        return
    found = f"{metric_name(metric.name)} {value_text(metric.name, metric.value)} on {metric.samples:,} samples"
    wanted = f"{'at least' if better else 'at most'} {value_text(metric.name, expected)}"
    if model.preprocessing is None:
        reasons = "arrays that are scaled otherwise than in training, inputs in another order, labels in another order"
    else:
        reasons = (
            f"--mean and --std (now: {'; '.join(model.preprocessing.in_graph) or 'raw pixels'}), the order of "
            f"the colour channels (here RGB), the resizing (now: {model.preprocessing.resize}), the order of the labels"
        )
    raise UsageError(
        f"the float model itself has {found}, and {wanted} was expected: nothing was made. The usual "
        f"reasons: {reasons}; or these are the wrong weights"
    )


def _pack_all(
    model: DeployModel, reference: FloatReference, pairs: Sequence[Combination], request: Request, on_event: OnEvent
) -> tuple[list[Packed], list[Row], dict[str, Answers]]:
    """The bundles in the order of `pairs`, a row with the reason for each that is not there, and the new ones' answers.

    One failure stops no other.
    """
    packed: list[Packed] = []
    failed: list[Row] = []
    answers: dict[str, Answers] = {}
    missed: set[tuple[str, str]] = set()  # exporter and recipe of what was made, and found too inaccurate
    began = time.monotonic()
    best_of = max(1, sum(recipe.lossy for _, recipe in pairs))
    for pair in pairs if request.time_budget_s is None else most_promising_first(pairs, request.objective):
        exporter, recipe = pair
        name = bundle_name(model, exporter, recipe)
        by_name = recipe.name in request.recipes
        if recipe.after and not by_name and (exporter.name, recipe.after) not in missed:
            continue
        if recipe.needs_training and not by_name and model.training is None:
            continue
        spent = request.time_budget_s is not None and time.monotonic() - began > request.time_budget_s
        if spent and packed:  # whatever the budget, there is one bundle to show for it
            on_event(BundleNotTried(name=name))
            failed.append(_missing(name, pair, "not tried", "not tried: the time budget was spent"))
            continue
        try:
            on_event(BundleBegun(name=name, exporter_summary=exporter.summary, recipe_summary=recipe.summary))
            made = _kept_or_packed(model, reference, pair, request, best_of, on_event)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted at {name}. {_finished(packed)}") from None
        except OSError as error:
            raise EdgekitError(f"{name} could not be written: {system_text(error)}. {_finished(packed)}") from None
        except EdgekitError as error:
            on_event(BundleFailed(name=name, reason=str(error), earlier=isinstance(error, _FailedBefore)))
            refused = isinstance(error, VerificationError)
            failed.append(_missing(name, pair, "refused" if refused else "failed", str(error)))
            if isinstance(error, VerificationError):
                missed.add((exporter.name, recipe.name))
            continue
        answers |= _judged(model, {name: made.answers} if made.answers else {})
        others = tuple(one for one in made.others if runs_there(request, one.run.name))
        answers |= _judged_others(model, made.manifest, others)
        # Those of all bundles together may be too much for the memory.
        packed.append(replace(made, answers={}, others=_without_answers(others)))
    # Without an eager model the first bundle is the measure of the others: that is not to depend on a budget.
    places = {bundle_name(model, *pair): place for place, pair in enumerate(pairs)}
    return sorted(packed, key=lambda bundle: places[bundle.name]), failed, answers


class _FailedBefore(VerificationError):
    """The same attempt failed in an earlier run."""


def _kept_or_packed(
    model: DeployModel, reference: FloatReference, pair: Combination, request: Request, best_of: int, on_event: OnEvent
) -> Packed:
    """The bundle that an earlier run made from the same causes, else a new one. Raises as `pack_bundle` does."""
    exporter, recipe = pair
    name, out = bundle_name(model, exporter, recipe), Path(request.out)
    made_from = _made_from(model, reference, pair, request, best_of)
    if made_from and (bundle := unchanged_bundle(out / name, made_from)):
        on_event(BundleUnchanged(name=name))
        with bundle:
            golden = bundle.golden()
        return Packed(path=out / name, manifest=bundle.manifest, golden=golden, answers={}, unchanged=True)
    if made_from and (reason := failed_before(made_from)):
        raise _FailedBefore(reason)
    try:
        made = pack_bundle(
            model,
            exporter,
            recipe,
            out,
            reference=reference,
            max_drop=request.max_drop,
            allow_unverified=request.allow_unverified,
            best_of=best_of,
            made_from=made_from,
            other_engines=True,
            on_event=on_event,
        )
    except VerificationError as error:
        if made_from:
            keep_failure(made_from, str(error))
        raise
    on_event(BundlePacked(name=name, manifest=made.manifest))
    return made


def _made_from(model: DeployModel, reference: FloatReference, pair: Combination, request: Request, best_of: int) -> str:
    """The fingerprint of a bundle or a failure; empty where all is to be made anew."""
    if request.again or model.evaluate is not None:  # what a user's function measures may have changed
        return ""
    exporter, recipe = pair
    settings = (request.max_drop, request.allow_unverified, model.noise, best_of, other_versions(exporter.format))
    return fingerprint(model, reference, exporter, recipe, tools=tools_of(exporter), settings=settings)


def _judged(model: DeployModel, outputs: Mapping[str, Arrays]) -> dict[str, Answers]:
    """The outputs of candidates, by name, to the validation split, as answers; but for those too large to keep."""
    found = {}
    for name, arrays in outputs.items():
        first = model.answers(arrays)
        truth = model.targets_of(np.arange(len(first)))
        answers = answers_of(model.task, first, truth, inputs=model.validation, labels=model.labels, split="validation")
        if answers is not None:
            found[name] = answers
    return found


def _judged_others(model: DeployModel, manifest: Manifest, others: Sequence[OtherRun]) -> dict[str, Answers]:
    format = manifest.artifact.format
    outputs = {row_name(manifest.name, format, one.run.name): one.answers for one in others if one.answers}
    return _judged(model, outputs)


def _without_answers(others: Sequence[OtherRun]) -> tuple[OtherRun, ...]:
    return tuple(replace(one, on_golden={}, answers={}) for one in others)


def _measure(
    model: DeployModel,
    reference: FloatReference,
    eager: Candidate | None,
    runs: Sequence[Packed],
    failed: Sequence[Row],
    settings: Settings,
    on_event: OnEvent,
) -> tuple[Measurement, list[BenchmarkResult]]:
    candidates, subjects = [], []
    for b in runs:
        usual = versions.ENGINE_PACKAGES[b.manifest.artifact.format]
        for engine in (usual, *(other.run.name for other in b.others)):
            candidates.append(candidate_of(b.path, b.manifest, b.golden, engine=engine, allow=RUNS_CODE))
        subjects.append(Subject.of(b.manifest))
        subjects += [replace(Subject.of(b.manifest, one.run.name), metric=one.metric) for one in b.others]
    if eager is not None:
        candidates.insert(0, eager)
        subjects.insert(0, Subject(status="float", recipe="fp32", exporter=eager.name, metric=reference.metric))

    def on_progress(done: int, total: int) -> None:
        on_event(MeasuringProgress(done=done, total=total))

    results = measure(candidates, settings, on_progress=on_progress)
    fronts = {} if settings == QUICK else front_ends(model, [b.path for b in runs], on_event)
    measured = measurement.measurement(
        model.name,
        subjects,
        results,
        results[0],
        failed=failed,
        stages={b.name: b.manifest.stages for b in runs},
        notes={b.name: b.manifest.provenance | fronts.get(b.name, {}) for b in runs},
    )
    return measured, results


def _missing(name: str, pair: Combination, status: Status, reason: str) -> Row:
    return Row(name=name, status=status, recipe=pair[1].name, exporter=pair[0].name, error=reason)


def _not_run(bundle: Packed) -> Row:
    """The row of a bundle that was made and is kept, and that nothing here can run."""
    manifest, notes = bundle.manifest, bundle.manifest.provenance
    reason = f"packed and not run here: {notes['delegated_operators']} operators are delegated to {notes['delegates']}"
    return Row(
        name=bundle.name, status=manifest.status, recipe=manifest.recipe, exporter=manifest.exporter, error=reason
    )


def _finished(packed: Sequence[Packed]) -> str:
    if not packed:
        return "No bundle was finished, and nothing half-written is left"
    paths = ", ".join(str(bundle.path) for bundle in packed)
    return f"Finished and kept, {len(packed)}: {paths}. Nothing half-written is left"
