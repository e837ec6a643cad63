"""`edgekit report`, and the verdict with which `edgekit optimize` ends. Measures and judges nothing."""

from __future__ import annotations

from pathlib import Path

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.bundle.status import stamp_of
from edgekit.edge_runtime.format import difference_text, kept_text, quality_name, smaller_text
from edgekit.optimize.report.page import write_report
from edgekit.optimize.report.verdict import best_row, pareto

from .terminal import escape, out


def report(results: Path, target: Path | None) -> None:
    """Writes the report on a results.json. Raises UsageError where that is not a measurement."""
    path = write_report(measurement.load(results), target or results.with_name("report.html"))
    out.print(f"Report: {path}", soft_wrap=True, markup=False)


def closing_lines(measured: Measurement) -> list[str]:
    """What the best verified bundle kept and gained, and what to type next."""
    best = best_row(measured)
    if best is None:
        return ["[red]No bundle was verified and measured.[/red] The lines above say why"]
    names = ", ".join(row.name.removeprefix(f"{measured.model}-") for row in pareto(measured.rows))
    objective = f" (best in {measured.objective})" if measured.objective else ""
    quality = stamp_of("consistent")
    if best.metric:
        quality = f"[bold]{kept_text(best.metric)}[/bold] of the float {quality_name(best.metric)} kept"
    speed = difference_text(best.faster) if best.faster else "speed not measured"
    return [
        f"[bold green]{escape(best.name)}[/bold green]{objective}: {quality}, "
        f"[bold]{smaller_text(best.times_smaller)}[/bold], [bold]{escape(speed)}[/bold], "
        f"against {escape(measured.baseline)}",
        f"[dim]Not beaten in both size and speed (Pareto front): {escape(names)}[/dim]",
        f"Next: [bold]edgekit demo --bundles {escape(measured.bundles)}[/bold]",
    ]
