"""`report.html`: a measurement as one file that opens anywhere, offline."""

from __future__ import annotations

from html import escape
from pathlib import Path

from edge_runtime import measurement
from edge_runtime.files import write_bytes
from edge_runtime.measurement import Measurement
from edge_runtime.table import COLUMNS, cells
from edge_runtime.terminal import out as console

from .verdict import best_row, headline


def report_command(results: Path, out: Path | None) -> None:
    """`edgekit report RESULTS`: writes the report and says where it is. Raises UsageError on a broken results file."""
    path = write_report(measurement.load(results), out or results.with_name("report.html"))
    console.print(f"Report: {path}", soft_wrap=True, markup=False)


def write_report(measured: Measurement, path: Path) -> Path:
    """Writes the report to `path`, whole or not at all; the same measurement always gives the same bytes."""
    write_bytes(path, render(measured).encode("utf-8"))
    return path


def render(measured: Measurement) -> str:
    """The report as HTML."""
    head = "".join(f"<th>{escape(c)}</th>" for c in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells(row, model=measured.model)) + "</tr>"
        for row in measured.rows
    )
    best = best_row(measured)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{escape(measured.model)}</title>'
        f"<p>{escape(best.name if best else 'nothing verified')}: {escape(', '.join(headline(best)) if best else '')}</p>"
        f"<table><tr>{head}</tr>{body}</table><p>{escape(measured.caption())}</p>"
    )
