"""`edgekit optimize` and `edgekit quickstart`: every recipe and exporter asked for, proven, measured, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape

from edge_runtime import measurement
from edge_runtime.benchmark import QUICK, BenchmarkResult, Settings, bundle_candidate, measure
from edge_runtime.bundle import Bundle
from edge_runtime.commands import print_json
from edge_runtime.decode import to_plain
from edge_runtime.errors import EdgekitError, MissingData, UsageError, unknown
from edge_runtime.manifest import Manifest, Metric
from edge_runtime.measurement import Measurement
from edge_runtime.table import Row, Subject, metric_name, value_text
from edge_runtime.terminal import err, out, print_measurement, progress, stage_line
from train.registry import book_model

from .deploy import DeployModel, deploy_book_model
from .eager import EAGER, eager_candidate
from .exporters import EXPORTERS, Exporter
from .pack import bundle_name, pack_bundle
from .recipes import RECIPES, Recipe
from .report import write_report
from .verdict import won
from .verify import FloatReference


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `edgekit optimize` was asked for; empty `recipes` or `exporters` stand for all."""

    recipes: tuple[str, ...] = ()
    exporters: tuple[str, ...] = ()
    out: Path = Path("bundles")
    max_drop: float = 0.01
    allow_unverified: bool = False
    quick: bool = False


def optimize_model(name: str, *, weights: Path | None, runs: Path, options: Options, as_json: bool) -> bool:
    """Packs, verifies and measures; writes results.json and report.html beside the run. Returns whether all passed."""
    book = book_model(name)
    pairs = combinations(options)
    path = weights or runs / name / "weights.safetensors"
    if not path.is_file():
        raise MissingData(f"no weights at {path}. Train them: edgekit train {name}, or give --weights FILE")
    model = deploy_book_model(book, path)
    reference = FloatReference.of(model)

    def say(text: str) -> None:
        (err if as_json else out).print(text, soft_wrap=True)

    metric = reference.metric
    found = f"{metric_name(metric.name)} {value_text(metric.name, metric.value)}"
    say(f"[bold]{name}[/bold] float: {found} on {metric.samples:,} validation samples")
    packed, failed = _pack_all(model, reference, pairs, options, say)
    measured, results = _measure(model, path, reference, packed, failed, options, quiet=as_json)
    results_path = runs / name / "results.json"
    measurement.save(measured, results, results_path)
    report = write_report(measured, results_path.with_name("report.html"))
    if as_json:
        print_json(to_plain(measured))
    else:
        print_measurement(measured)
        text = f"Bundles in {options.out}/, raw measurements in {results_path}, report in {report}"
        out.print(text, soft_wrap=True, markup=False)
        for line in won(measured):
            out.print(line, soft_wrap=True)
    return not failed


def _pack_all(
    model: DeployModel,
    reference: FloatReference,
    pairs: Sequence[tuple[Exporter, Recipe]],
    options: Options,
    say: Callable[[str], None],
) -> tuple[list[Path], list[Row]]:
    """Bundles that were delivered, and a row with the reason for each that was not; one failure stops no other."""
    packed: list[Path] = []
    failed: list[Row] = []
    for exporter, recipe in pairs:
        label = bundle_name(model, exporter, recipe)
        say(f"[bold]{label}[/bold]  [dim]{exporter.summary}; {recipe.summary}[/dim]")
        try:
            folder = pack_bundle(
                model,
                exporter,
                recipe,
                options.out,
                reference=reference,
                max_drop=options.max_drop,
                allow_unverified=options.allow_unverified,
                on_stage=lambda result: say(stage_line(result)),
            )
        except EdgekitError as error:
            say(f"  [red]✗ {escape(str(error))}[/red]")
            failed.append(
                Row(name=label, status="failed", recipe=recipe.name, exporter=exporter.name, error=str(error))
            )
            continue
        packed.append(folder)
        notes = _manifest(folder).provenance
        if "delegated_operators" in notes:
            outside = notes["outside_delegate"]
            say(f"    [dim]{notes['delegated_operators']} operators delegated, outside: {outside}[/dim]")
    return packed, failed


def combinations(options: Options) -> list[tuple[Exporter, Recipe]]:
    """Exporter × recipe pairs to try. Raises UsageError on unknown names and on a named pair that does not exist."""
    for kind, names, known in (("recipe", options.recipes, RECIPES), ("exporter", options.exporters, EXPORTERS)):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    exporters = [EXPORTERS[name] for name in options.exporters or EXPORTERS]
    recipes = [RECIPES[name] for name in options.recipes or RECIPES]
    pairs = [(e, r) for e in exporters for r in recipes if r.name in e.recipes]
    if not pairs:
        offers = "; ".join(f"{e.name} does {', '.join(e.recipes)}" for e in exporters)
        raise UsageError(f"none of the exporters can do {', '.join(r.name for r in recipes)}: {offers}")
    return pairs


def _measure(
    model: DeployModel,
    weights: Path,
    reference: FloatReference,
    packed: Sequence[Path],
    failed: Sequence[Row],
    options: Options,
    *,
    quiet: bool,
) -> tuple[Measurement, list[BenchmarkResult]]:
    candidates = [eager_candidate(model, weights, reference.golden_inputs), *(bundle_candidate(p) for p in packed)]
    with progress("Measuring, interleaved", quiet=quiet) as on_progress:
        results = measure(candidates, QUICK if options.quick else Settings(), on_progress=on_progress)
    manifests = [_manifest(folder) for folder in packed]
    metric = reference.metric
    float_metric = Metric(
        name=type(metric).name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        samples=metric.samples,
        float_value=metric.value,
        agreement=1.0,
    )
    subjects = [Subject(status="float", recipe="fp32", exporter=EAGER, metric=float_metric)]
    measured = measurement.measurement(
        model.name,
        subjects + [Subject.of(manifest) for manifest in manifests],
        results,
        results[0],
        failed=failed,
        stages={manifest.name: manifest.stages for manifest in manifests},
        notes={manifest.name: manifest.provenance for manifest in manifests},
    )
    return replace(measured, max_drop=options.max_drop, bundles=str(options.out)), results


def _manifest(folder: Path) -> Manifest:
    with Bundle.open(folder) as bundle:
        return bundle.manifest
