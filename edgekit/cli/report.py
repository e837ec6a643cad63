"""`edgekit report`, and the verdict with which `edgekit optimize` ends. Measures and judges nothing."""

from __future__ import annotations

from pathlib import Path

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import input_note
from edgekit.edge_runtime.bundle.status import stamp_of
from edgekit.edge_runtime.command_line import command_line
from edgekit.edge_runtime.files import check_output
from edgekit.edge_runtime.format import difference_text, kept_text, quality_name, smaller_text
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.report.page import write_report
from edgekit.optimize.report.verdict import best_row, best_undecided, pareto

from .terminal import escape, out


def report(results: Path, target: Path | None) -> None:
    """Writes the report on a results.json. Raises UsageError where that is not a measurement."""
    target = target or results.parent / "report.html"
    check_output(target, [results, results.with_suffix(".npz")])
    path = write_report(measurement.load(results), target)
    out.print(f"Report: {path}", soft_wrap=True, markup=False)


def closing_lines(measured: Measurement) -> list[str]:
    """What the best bundle kept and gained, or what is not decided, and what to type next."""
    best = best_row(measured)
    undecided = None if best else best_undecided(measured)
    shown = best or undecided
    if shown is None:
        return ["[red]No bundle was verified and measured.[/red] The lines above say why"]
    names = ", ".join(
        row.name.removeprefix(f"{measured.model}-") + (" (undecided)" if row.status == "undecided" else "")
        for row in pareto(measured.rows)
    )
    objective = f" (best in {measured.objective})" if measured.objective else ""
    speed = difference_text(shown.faster) if shown.faster else "speed not measured"
    gained = (
        f"[bold]{smaller_text(shown.times_smaller)}[/bold], [bold]{escape(speed)}[/bold], "
        f"against {escape(measured.baseline)}"
    )
    if best:
        kept = f"[bold]{kept_text(best.judged_metric)}[/bold] of the float {quality_name(best.judged_metric)} kept"
        kept = kept if best.metric else "[bold]lossless[/bold]"  # which needs no true answers
        lines = [f"[bold green]{escape(best.name)}[/bold green]{objective}: {kept}, {gained}"]
        lines += [f"[dim]{escape(text)}[/dim]" for text in [_confidence(best)] if text]
    else:
        lines = [f"[bold yellow]{escape(shown.name)}[/bold yellow]{objective}: {stamp_of(shown.status)}, {gained}"]
        if shown.verdict:
            lines.append(f"[yellow]{escape(shown.verdict.reason)}[/yellow]")
    bundle, _, engine = shown.name.partition("@")
    if engine:
        lines.append(
            f'[dim]Run it with load_engine(bundle, engine="{escape(engine)}"); the bundle is {escape(bundle)}[/dim]'
        )
    if note := input_note(shown):
        lines.append(f"[yellow]{escape(note)}[/yellow]")
    return [
        *lines,
        f"[dim]Not beaten in both size and speed (Pareto front): {escape(names)}[/dim]",
        f"Next: [bold]{escape(command_line('demo', '--bundles', measured.bundles))}[/bold]",
    ]


_GENTLER = ("w8a8_tuned", "mixed")  # recipes to try where 8 bits everywhere lose too much


def next_commands(measured: Measurement, results: Path) -> list[str]:
    """For each bundle that failed, the command that goes on from there, by its name.

    Args:
        results: where the measurement is kept, with the options that led to it.
    """
    made = {(row.exporter, row.recipe) for row in measured.rows}
    lines = []
    for row in measured.rows:
        if row.status not in ("refused", "failed") or not row.exporter:
            continue
        known, recipe = EXPORTERS[row.exporter].recipes, RECIPES[row.recipe]
        others = (name for name in _GENTLER if name in known and (row.exporter, name) not in made)
        words = ["optimize", "--from", results, "--exporter", row.exporter, "--recipe"]
        if row.status == "failed":  # a library could not make it
            command = command_line("doctor", measured.model)
        elif recipe.quantized and (other := next(others, None)):
            command = command_line(*words, other)
        else:
            command = command_line(*words, row.recipe, "--allow-unverified")
        lines.append(f"{row.name}. Next: {command}")
    return lines


def _confidence(best: Row) -> str:
    """How sure the recommendation is, as a sentence; "" where its bundle does not say."""
    if best.verdict is None:
        return ""
    if best.verdict.lossless:
        return best.verdict.reason
    chosen = f"also as the best of {best.best_of}" if best.best_of > 1 else "on its own, not as the best of several"
    return f"{best.verdict.reason}; 95 % confidence, {chosen}" if best.best_of != 1 else best.verdict.reason
