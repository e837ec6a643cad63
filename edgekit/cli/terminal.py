"""What the commands print, through rich: the table, stage lines, progress. Answers go to stdout, progress to stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box, markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edgekit.edge_runtime.benchmark.measure import Progress as OnProgress
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.table import (
    MORE,
    NARROW,
    Row,
    cells,
    columns,
    count_text,
    footnotes,
    pair_text,
    present,
    ratio_interval,
    shared_reasons,
)
from edgekit.edge_runtime.benchmark.validity import unchecked
from edgekit.edge_runtime.bundle.manifest import StageResult

TABLE_WIDTH = 164  # a pipe or file has no width of its own; folding a table there helps nobody
ONE_LINE_WIDTH = 118  # below it, intervals go under their numbers
FEW = 4  # so many candidates are compared with each other in words

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def escape(text: str) -> str:
    """Text out of a bundle or a path, for printing: neither markup nor a terminal's control codes count in it."""
    plain = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    return markup.escape(plain)


def print_measurement(measured: Measurement, *, details: bool = False, console: Console = out) -> None:
    """The table, its caption and its footnotes; `details` adds the other columns, every pair and what was not seen."""
    console = console if console.is_terminal else Console(width=TABLE_WIDTH, highlight=False)
    for wanted in (NARROW, MORE) if details else (NARROW,):
        console.print(_table(measured, wanted, folded=console.width < ONE_LINE_WIDTH))
    for axis in ("threads", "batch"):
        if (table := _scaling_table(measured, axis)) is not None:
            console.print(table)
    # Not folded by us: a file has no width to fold at, and where a fold fell would depend on the CPU's name.
    console.print(f"[dim]{escape(_caption(measured))}[/dim]", soft_wrap=True)
    if details or 1 < len(measured.rows) <= FEW:
        for pair in measured.pairs:
            console.print(escape(pair_text(pair, model=measured.model)), soft_wrap=True)
    failed = [
        f"{row.name}: {'' if row.status == 'not_run' else 'failed: '}{row.error}" for row in measured.rows if row.error
    ]
    for note in (*failed, *footnotes(measured.rows), *_scaling_notes(measured)):
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
    for note in _unseen(measured) if details else ():
        console.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)


def _caption(measured: Measurement) -> str:
    """The caption, with how many samples the metric was counted on: the narrow table has no column for it."""
    counts = {row.metric.samples for row in measured.rows if row.metric}
    samples = f", {counts.pop():,} samples" if len(counts) == 1 else ""
    return f"{measured.caption().removesuffix('.')}{samples}."


def _table(measured: Measurement, wanted: Sequence[str], *, folded: bool) -> Table:
    table = Table(title=measured.model, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    names = present(measured.rows, wanted)
    for i, column in enumerate(columns(measured.rows, names)):
        # Heads may break; a number may not.
        head = column.replace(" ", "\n", 1) if i else column
        table.add_column(head, justify="left" if i == 0 else "right", overflow="fold", no_wrap=bool(i))
    for row in measured.rows:
        found = [escape(cell) for cell in cells(row, names, model=measured.model)]
        if row.error:
            found[1] = "not run here" if row.status == "not_run" else "failed"  # why, is said below: it may be long
        if folded:
            found = [
                found[0].replace("-", "-\n", 1),
                *(cell.replace(" \\[", "\n\\[").replace(" [", "\n[") for cell in found[1:]),
            ]
        table.add_row(*found, style=_style(row, measured))
    return table


def _scaling_table(measured: Measurement, axis: str) -> Table | None:
    """Inferences a second by number of threads, or by batch, with the gain over the table's own row."""
    first = measured.settings.num_threads if axis == "threads" else measured.batch
    points = [p for p in measured.scaling if (p.num_threads if axis == "threads" else p.batch) != first]
    if not points:
        return None
    found = {(p.name, p.num_threads if axis == "threads" else p.batch): p for p in points}
    sizes = list(dict.fromkeys(size for _, size in found))
    title = "inferences a second, by " + ("threads" if axis == "threads" else "batch")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for i, head in enumerate(["model file", str(first), *map(str, sizes)]):
        table.add_column(head, justify="right" if i else "left", overflow="fold")
    for row in measured.rows:
        of_row = [found.get((row.name, size)) for size in sizes]
        if any(of_row):
            texts = [f"{count_text(p.per_second)} ({ratio_interval(p.throughput)})" if p else "" for p in of_row]
            first_cells = [row.name.removeprefix(f"{measured.model}-"), count_text(row.per_second)]
            table.add_row(*map(escape, [*first_cells, *texts]))
    return table


def _scaling_notes(measured: Measurement) -> list[str]:
    shared = shared_reasons(measured.rows)
    notes = []
    for p in measured.scaling:
        if own := [reason for reason in p.invalid_because if reason not in shared]:
            which = f"{p.num_threads} thread{'s' if p.num_threads > 1 else ''}, batch {p.batch}"
            notes.append(f"{p.name}, {which}: not valid: {'; '.join(own)}")
    return notes


def _unseen(measured: Measurement) -> list[str]:
    """What this machine does not show, and so was not checked."""
    notes = []
    if measured.state is not None and (hidden := unchecked(measured.state)):
        notes.append(f"not checked, because this machine does not show it: {', '.join(hidden)}")
    if measured.energy_missing:
        notes.append(f"no energy: {measured.energy_missing}")
    return notes


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
