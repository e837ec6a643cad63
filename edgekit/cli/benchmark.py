"""`edgekit benchmark` and `edgekit compare`: what they print, as text or JSON. Measures and judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from rich.markup import escape

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, BenchmarkResult, Settings
from edgekit.edge_runtime.benchmark.comparison import Comparison, Flips, compare
from edgekit.edge_runtime.benchmark.judgement import Limits, Run
from edgekit.edge_runtime.benchmark.measure import bundle_candidate, measure
from edgekit.edge_runtime.benchmark.rows import Row, ScalingPoint, Subject
from edgekit.edge_runtime.benchmark.scaling import Sweep, expand, split
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.choice import AUTO, engines_for, kept_choice
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.engines import engine_name, row_name
from edgekit.edge_runtime.errors import BundleError, EngineError, UsageError, VerificationError
from edgekit.edge_runtime.files import check_output, require_writable
from edgekit.edge_runtime.format import count_text, db_text, limit_text
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import replay_opened

from .bundles import expand_folders, open_all
from .json_answer import print_json
from .terminal import err, out, print_measurement, progress

SHOWN_FLIPS = 5
ONE_EACH = Sweep()
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Printing:
    """How a measurement is shown and kept."""

    details: bool = False
    """Print all columns and every pair."""
    as_json: bool = False
    """Print JSON instead."""
    save_to: Path | None = None
    """The .json that keeps it, with an .npz beside it."""


def benchmark(
    paths: Sequence[Path],
    *,
    quick: bool,
    engine: str | None = None,
    spin: bool = False,
    sweep: Sweep = ONE_EACH,
    printing: Printing = Printing(),
    policy: Policy = NO_CODE,
) -> None:
    """Measures bundles against each other and prints the table; the first float bundle is the baseline.

    Args:
        engine: which engines run them, as in `choice.engines_for`. One that is not the usual one of its format has to
            pass the golden replay first.
        spin: whether several threads may wait for the next run at full speed.
    """
    settings = replace(QUICK if quick else Settings(), num_threads=sweep.threads[0], spin=spin)
    if printing.save_to is not None:
        _check_target(printing.save_to, expand_folders(paths))
        require_writable(printing.save_to.parent)
    with ExitStack() as opened:
        bundles = open_all(paths, policy, opened)
        taken, failed = _engines(bundles, engine, settings, policy)
        manifests = [bundle.manifest for bundle, _ in taken]
        wanted = [bundle_candidate(b.folder, engine=name, spin=spin, allow=policy.allow) for b, name in taken]
        candidates, fixed = expand(wanted, sweep)
        for name in fixed:
            err.print(f"{name} runs one sample at a time, so its batch is not varied", soft_wrap=True, markup=False)
        with progress("Measuring in turns", quiet=printing.as_json) as on_progress:
            results = measure(candidates, settings, on_progress=on_progress)
    base, scaling = split(results, len(taken))
    baseline = next((r for r, m in zip(base, manifests, strict=True) if m.recipe == "fp32"), base[0])
    measured = from_bundles(manifests, base, baseline, scaling, engines=[name for _, name in taken], failed=failed)
    if printing.save_to is not None:
        measurement.save(measured, results, printing.save_to)
    if printing.as_json:
        print_json(to_plain(measured))
    else:
        print_measurement(measured, details=printing.details)


def _check_target(target: Path, bundles: Sequence[Path]) -> None:
    """Raises UsageError, before anything is measured, where the result could not be kept."""
    if target.suffix == ".npz" or target.is_dir():
        raise UsageError(f"--out should be a .json file, found {target}; the raw samples go into an .npz beside it")
    for one in (target, target.with_suffix(".npz")):
        check_output(one, bundles)


def _engines(
    bundles: Sequence[Bundle], asked: str | None, settings: Settings, policy: Policy
) -> tuple[list[tuple[Bundle, str]], list[Row]]:
    """Every bundle with each engine that is to run it, and a row for each that does not pass the golden replay.

    Raises:
        VerificationError: none passes.
    """
    taken, failed = [], []
    threads, spin = settings.num_threads, settings.spin
    for bundle in bundles:
        manifest = bundle.manifest.only()
        format = manifest.artifact.format
        usual = [engine_name(format, str(bundle.source))]
        wanted = engines_for(bundle, asked, num_threads=threads, spin=spin, allow=policy.allow) if asked else usual
        for name in wanted:
            row = row_name(manifest.name, format, name)
            error = "" if row == manifest.name else _missed(bundle, name, policy)
            if error:
                recipe, exporter = manifest.recipe, manifest.exporter
                failed.append(Row(name=row, status="failed", recipe=recipe, exporter=exporter, error=error))
            else:
                taken.append((bundle, name))
        if asked is not None and AUTO in asked and (chosen := kept_choice(bundle, num_threads=threads, spin=spin)):
            err.print(f"[dim]{escape(manifest.name)}: {escape(chosen.text)}[/dim]", soft_wrap=True)
    if not taken:
        raise VerificationError("; ".join(f"{row.name}: {row.error}" for row in failed))
    return taken, failed


def _missed(bundle: Bundle, engine: str, policy: Policy) -> str:
    """Why an engine may not be measured; "" where its golden replay holds."""
    try:
        replayed = replay_opened(bundle, engine=engine, policy=policy)
    except (BundleError, EngineError) as error:
        return str(error)
    if replayed.passed:
        return ""
    return f"its golden replay gives {db_text(replayed.sqnr_db)} (required: {replayed.held_to})"


def from_bundles(
    manifests: Sequence[Manifest],
    results: Sequence[BenchmarkResult],
    baseline: BenchmarkResult,
    scaling: Sequence[ScalingPoint] = (),
    *,
    engines: Sequence[str] = (),
    failed: Sequence[Row] = (),
) -> measurement.Measurement:
    """The measurement of bundles against one of them.

    Args:
        engines: what ran each; without them, the usual engine of its format.
        failed: rows of what was not measured.
    """
    names = engines or [""] * len(manifests)
    return measurement.measurement(
        ", ".join(dict.fromkeys(manifest.model for manifest in manifests)),
        [Subject.of(manifest, name) for manifest, name in zip(manifests, names, strict=True)],
        results,
        baseline,
        failed=failed,
        stages={manifest.name: manifest.stages for manifest in manifests},
        notes={manifest.name: manifest.provenance for manifest in manifests},
        scaling=scaling,
    )


def compare_files(before: Path, after: Path, *, limits: Limits = DEFAULT_LIMITS, as_json: bool) -> bool:
    """Prints what changed between two results files; returns whether nothing became worse.

    Raises:
        UsageError: a file cannot be read, or the two have no row in common.
    """
    old, new = (Run(measurement.load(path), measurement.load_raw(path)) for path in (before, after))
    comparison = compare(old, new, limits)
    if as_json:
        print_json(to_plain(comparison) | {"passed": not comparison.regressions})
    else:
        out.print(
            f"[bold]{escape(str(before))} → {escape(str(after))}[/bold]  "
            f"[dim]latency: {escape(comparison.relation)}[/dim]",
            soft_wrap=True,
        )
        _print_comparison(comparison, old.measured.model)
    return not comparison.regressions


def _print_comparison(comparison: Comparison, model: str) -> None:
    for text in comparison.differences:
        out.print(f"[yellow]{escape(text)}[/yellow]", soft_wrap=True)
    by_row = {flips.row: flips for flips in comparison.flips}
    for name, group in groupby(comparison.changes, key=lambda change: change.row):
        changes = list(group)
        bad = any(change.verdict == "worse" for change in changes)
        out.print(
            f"{'[red]✗' if bad else '[green]✓'}[/] [bold]{escape(name.removeprefix(f'{model}-'))}[/bold]",
            soft_wrap=True,
        )
        for change in changes:
            style = {"worse": "red", "better": "green", "not judged": "dim"}.get(change.verdict, "")
            line = f"    {change.what:<10} {change.text}" + (" [WORSE]" if change.verdict == "worse" else "")
            out.print(line, style=style, soft_wrap=True, markup=False)
        if name in by_row:
            out.print(f"    {'answers':<10} {_flips_text(by_row[name])}", soft_wrap=True, markup=False)
    count = len(comparison.regressions)
    verdict = f"[red]{count_text(count, 'regression')}[/red]" if count else "[green]No regression[/green]"
    limits = comparison.limits
    allowed = {
        "slower": limits.max_slower,
        "larger": limits.max_larger,
        "more memory": limits.max_more_memory,
        "slower start": limits.max_slower_start,
        "less accurate": limits.max_drop,
    }
    text = ", ".join(f"{limit_text(share)} {what}" for what, share in allowed.items())
    out.print(f"{verdict}  [dim]allowed: {text}[/dim]", soft_wrap=True)


def _flips_text(flips: Flips) -> str:
    """'2 of 359 validation samples have another answer: sample 3: 8 → 9 (true: 8); …'."""
    shown = [
        f"sample {flip.sample}: {flip.before} → {flip.after}" + (f" (true: {flip.truth})" if flip.truth else "")
        for flip in flips.flips[:SHOWN_FLIPS]
    ]
    if more := len(flips.flips) - len(shown):
        shown.append(f"and {more} more (--json lists all)")
    count = f"{len(flips.flips):,} of {count_text(flips.samples, f'{flips.split} sample')}"
    return f"{count} flipped" + (f": {'; '.join(shown)}" if shown else "")
