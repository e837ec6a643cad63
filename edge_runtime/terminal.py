"""What the commands print, through rich: the table, stage lines, progress. Answers go to stdout, progress to stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .benchmark import Progress as OnProgress
from .manifest import StageResult
from .measurement import Measurement
from .table import Row, cells, columns, footnotes

TABLE_WIDTH = 164  # what the thirteen columns need side by side

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_measurement(measured: Measurement) -> None:
    """The table, its caption and its footnotes."""
    # A pipe or file has no width of its own; folding the table there helps nobody.
    console = out if out.is_terminal else Console(width=TABLE_WIDTH, highlight=False)
    console.print(_table(measured))
    console.print(f"[dim]{measured.caption()}[/dim]")
    for note in footnotes(measured.rows):
        console.print(f"[yellow]{note}[/yellow]")


def _table(measured: Measurement) -> Table:
    table = Table(title=measured.model, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns(measured.rows)):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in measured.rows:
        table.add_row(*(escape(cell) for cell in cells(row, model=measured.model)), style=_style(row, measured))
    return table


def _style(row: Row, measured: Measurement) -> str:
    if row.error or row.status == "unverified":
        return "red"
    return "dim" if row.name == measured.baseline else ""


def stage_line(result: StageResult) -> str:
    """One line of the verified chain, for the log."""
    mark = "[green]✓[/green]" if result.passed else "[red]✗[/red]"
    return (
        f"  {mark} {result.stage:<8} against {result.compared_with:<8} SQNR {result.sqnr_db:6.1f} dB   "
        f"max |Δ| {result.max_abs:<8.2g} agrees {result.agreement:.1%}   [dim]{result.held_to}[/dim]"
    )


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[OnProgress]:
    """A bar on stderr with the time left; yields `on_progress(done, total)`. Nothing is drawn without a terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    )
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
