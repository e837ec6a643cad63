"""`edgekit report`: a measurement as one HTML file. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from edgekit.edge_runtime.benchmark import measurement
from edgekit.optimize.report.page import write_report

from .terminal import out


def report_command(results: Path, to: Path | None) -> None:
    """Writes the report. Raises UsageError when `results` is no measurement."""
    path = write_report(measurement.load(results), to or results.with_name("report.html"))
    out.print(f"Report: {path}", soft_wrap=True, markup=False)
