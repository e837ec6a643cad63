"""One model every way it is asked for: packed, verified, then all of it measured against each other.

Prints nothing by itself and writes nothing but bundles; `commands.py` and `api.py` do with the result what they like.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from rich.markup import escape

from edgekit.cli.terminal import progress, stage_line
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.answers import Answers, answers_of
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, BenchmarkResult, Settings
from edgekit.edge_runtime.benchmark.measure import Candidate, bundle_candidate, measure
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row, RowStatus, Subject
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import Arrays
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.engines import RUNS_CODE
from edgekit.edge_runtime.errors import EdgekitError, ExportError, Interrupted, VerificationError
from edgekit.edge_runtime.format import metric_name, value_text

from .cache import causes, failed_before, keep_failure, unchanged_bundle
from .deploy import DeployModel
from .exporters import EXPORTERS, Exporter
from .measured_before import measured_before
from .options import Options
from .pack import bundle_name, pack_bundle, run_again, tools_of
from .recipes import RECIPES, Recipe
from .search_order import most_promising_first
from .verify import FloatReference

# Importing torch takes seconds: once is enough here, and the rest is started less often than `edgekit benchmark` does.
WHILE_MAKING = Settings(cold_starts=3, cold_start_budget_s=2.0)

NOT_TRIED: Final = "not tried"  # of a row: the time budget was spent before its turn


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What became of one model: the finished bundles, what was measured, and a row for each that was not made."""

    packed: tuple[Path, ...]
    failed: tuple[Row, ...]
    measured: Measurement
    results: tuple[BenchmarkResult, ...]
    answers: dict[str, Answers]  # to the validation split, by the name of the row
    measured_before: bool = False  # nothing had changed: `measured` is an earlier run's, and `results` is empty


def deliver(
    model: DeployModel,
    pairs: Sequence[tuple[Exporter, Recipe]],
    options: Options,
    eager: Callable[[Arrays], Candidate | None],
    *,
    say: Callable[[str], None],
    quiet: bool,
    earlier: Path | None = None,
) -> Delivered:
    """Packs and verifies `model` every way of `pairs`, then measures all of it against the `eager` candidate.

    Args:
        earlier: the results.json of an earlier run; what it measured and nothing has changed is not measured again.
        eager: makes the float model a candidate that runs the samples (N, …) it is given; None where it cannot run
            in a process of its own, and the first bundle is then what the others are measured against.
        quiet: no bar of progress.
    Raises:
        Interrupted: Ctrl-C; the bundles that were finished are kept.
        InputError: the float model answers NaN or infinity.
        ExportError: not one bundle could be made, and the float model cannot be measured either.
    """
    reference = FloatReference.of(model)
    metric = reference.metric
    found = f"{metric_name(metric.name)} {value_text(metric.name, metric.value)}" if metric else "accuracy not measured"
    samples = metric.samples if metric else len(next(iter(reference.validation.values())))
    say(f"[bold]{model.name}[/bold] float: {found} on {samples:,} {'validation' if metric else 'real'} samples")
    answers: dict[str, Answers] = {}

    def keep(name: str, outputs: Arrays) -> None:
        first = outputs[model.outputs[0].name]
        truth = model.targets_of(np.arange(len(first)))
        found = answers_of(model.task, first, truth, inputs=model.validation, labels=model.labels, split="validation")
        if found is not None:
            answers[name] = found

    tried = pairs if options.time_budget_s is None else most_promising_first(pairs, options.objective)
    packed, failed, unchanged = _pack_all(model, reference, tried, options, say, keep)
    # Without an eager model the first bundle is the measure of the others: that is not to depend on a budget.
    places = {bundle_name(model, *pair): place for place, pair in enumerate(pairs)}
    packed.sort(key=lambda folder: places[folder.name])
    runs = [folder for folder in packed if EXPORTERS[_manifest(folder).exporter].runs_here]
    failed += [_not_run(_manifest(folder)) for folder in packed if folder not in runs]
    baseline = eager(reference.golden_inputs)
    if baseline is None and not runs:
        reasons = " ".join(row.error for row in failed)
        raise ExportError(f"no bundle of {model.name} could be made that runs here. {reasons}")
    before, results = None, list[BenchmarkResult]()
    if earlier and not options.again and set(packed) == unchanged:
        before = measured_before(earlier, baseline.name if baseline else "", runs, _settings(options))
    if before is not None:
        say(f"  [green]✓[/green] nothing changed since it was measured, {before.measured_at}; --again measures anew")
        rows = (*(row for row in before.rows if not row.error), *failed)
        measured = replace(before, rows=rows)
    else:
        if metric is not None:
            if baseline is not None:
                keep(baseline.name, reference.validation)
            for folder in runs:
                if folder in unchanged:
                    keep(folder.name, run_again(model, folder))
        measured, results = _measure(model, baseline, reference, runs, failed, options, quiet=quiet)
    measured = replace(measured, max_drop=options.max_drop, bundles=str(options.out), objective=options.objective)
    return Delivered(
        packed=tuple(packed),
        failed=tuple(failed),
        measured=measured,
        results=tuple(results),
        answers=answers,
        measured_before=before is not None,
    )


def _pack_all(
    model: DeployModel,
    reference: FloatReference,
    pairs: Sequence[tuple[Exporter, Recipe]],
    options: Options,
    say: Callable[[str], None],
    keep: Callable[[str, Arrays], None],
) -> tuple[list[Path], list[Row], set[Path]]:
    """Bundles that were delivered, and a row with the reason for each that was not; one failure stops no other.

    Last the bundles among them that were there before, and of which nothing has changed.
    """
    packed: list[Path] = []
    unchanged: set[Path] = set()
    failed: list[Row] = []
    missed: set[tuple[str, str]] = set()  # exporter and recipe of what was made, and found too inaccurate
    began = time.monotonic()
    for exporter, recipe in pairs:
        if recipe.after and recipe.name not in options.recipes and (exporter.name, recipe.after) not in missed:
            continue
        if recipe.needs_training and recipe.name not in options.recipes and model.training is None:
            continue
        label = bundle_name(model, exporter, recipe)
        spent = options.time_budget_s is not None and time.monotonic() - began > options.time_budget_s
        if spent and packed:  # whatever the budget, there is one bundle to show for it
            failed.append(_missing(label, exporter, recipe, NOT_TRIED, "not tried: the time budget was spent"))
            say(f"[bold]{label}[/bold]  [yellow]not tried: the time budget was spent[/yellow]")
            continue
        made_from = _causes(model, reference, exporter, recipe, options)
        try:
            say(f"[bold]{label}[/bold]  [dim]{exporter.summary}; {recipe.summary}[/dim]")
            if made_from and unchanged_bundle(options.out / label, made_from):
                say("  [green]✓[/green] unchanged since it was packed")
                unchanged.add(options.out / label)
                packed.append(options.out / label)
                continue
            if made_from and (reason := failed_before(made_from)):
                raise VerificationError(f"{reason} (an earlier attempt; --again makes another)")
            folder = pack_bundle(
                model,
                exporter,
                recipe,
                options.out,
                reference=reference,
                max_drop=options.max_drop,
                allow_unverified=options.allow_unverified,
                on_stage=lambda result: say(stage_line(result)),
                on_trial=lambda line: say(f"    [dim]{escape(line)}[/dim]"),
                on_answers=partial(keep, label),
                made_from=made_from,
            )
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted at {label}. {_kept(packed)}") from None
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise EdgekitError(f"{label} could not be written: {error.strerror}{place}. {_kept(packed)}") from None
        except EdgekitError as error:
            say(f"  [red]✗ {escape(str(error))}[/red]")
            failed.append(_missing(label, exporter, recipe, "failed", str(error)))
            if isinstance(error, VerificationError):
                missed.add((exporter.name, recipe.name))
                if made_from and not failed_before(made_from):
                    keep_failure(made_from, str(error))
            continue
        packed.append(folder)
        notes = _manifest(folder).provenance
        if "rewrites" in notes:
            say(f"    [dim]rewritten: {notes['rewrites']}[/dim]")
        if "delegated_operators" in notes:
            outside = notes["outside_delegate"]
            say(f"    [dim]{notes['delegated_operators']} operators delegated, outside: {outside}[/dim]")
    return packed, failed, unchanged


def _causes(model: DeployModel, reference: FloatReference, exporter: Exporter, recipe: Recipe, options: Options) -> str:
    """The digest by which a bundle or a failure is known again; empty where all is to be made anew."""
    if options.again or model.evaluate is not None:  # what a user's function measures may have changed
        return ""
    settings = (options.max_drop, options.allow_unverified, model.noise)
    return causes(model, reference, exporter, recipe, tools=tools_of(exporter), settings=settings)


def _missing(label: str, exporter: Exporter, recipe: Recipe, status: RowStatus, reason: str) -> Row:
    return Row(name=label, status=status, recipe=recipe.name, exporter=exporter.name, error=reason)


def _not_run(manifest: Manifest) -> Row:
    """The row of a bundle that was made and is kept, and that nothing here can run."""
    notes = manifest.provenance
    reason = f"packed and not run here: {notes['delegated_operators']} operators are delegated to {notes['delegates']}"
    return _missing(manifest.name, EXPORTERS[manifest.exporter], RECIPES[manifest.recipe], manifest.status, reason)


def _kept(packed: Sequence[Path]) -> str:
    if not packed:
        return "No bundle was finished, and nothing half-written is left"
    return f"Finished and kept, {len(packed)}: {', '.join(map(str, packed))}. Nothing half-written is left"


def _measure(
    model: DeployModel,
    eager: Candidate | None,
    reference: FloatReference,
    packed: Sequence[Path],
    failed: Sequence[Row],
    options: Options,
    *,
    quiet: bool,
) -> tuple[Measurement, list[BenchmarkResult]]:
    candidates = [*([eager] if eager else []), *(bundle_candidate(p, allow=RUNS_CODE) for p in packed)]
    with progress("Measuring, interleaved", quiet=quiet) as on_progress:
        results = measure(candidates, _settings(options), on_progress=on_progress)
    manifests = [_manifest(folder) for folder in packed]
    subjects = [Subject(status="float", recipe="fp32", exporter=eager.name, metric=reference.metric)] if eager else []
    measured = measurement.measurement(
        model.name,
        subjects + [Subject.of(manifest) for manifest in manifests],
        results,
        results[0],
        failed=failed,
        stages={manifest.name: manifest.stages for manifest in manifests},
        notes={manifest.name: manifest.provenance for manifest in manifests},
    )
    return measured, results


def _settings(options: Options) -> Settings:
    return QUICK if options.quick else WHILE_MAKING


def _manifest(folder: Path) -> Manifest:
    with Bundle.open(folder) as bundle:
        return bundle.manifest
