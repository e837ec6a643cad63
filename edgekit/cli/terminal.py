"""What several commands print: the table, stage lines, progress. Answers go to stdout, progress to stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich import box, markup
from rich.console import Console
from rich.measure import Measurement as Width
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from edgekit.edge_runtime.benchmark.measure import Progress as OnProgress
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import (
    MORE,
    NARROW,
    cells,
    columns,
    error_text,
    footnotes,
    is_stamped,
    pair_text,
    present,
    shared_reasons,
)
from edgekit.edge_runtime.benchmark.validity import unchecked
from edgekit.edge_runtime.bundle.manifest import StageResult
from edgekit.edge_runtime.bundle.status import Tone, stamp_of, tone_of
from edgekit.edge_runtime.format import count_text, db_text, percent_text, rate_text, ratio_text

from .bars import columns as bar_columns
from .narrow import fits, print_blocks, print_table

TABLE_WIDTH = 164  # a pipe or file has no width of its own; folding a table there helps nobody
_COLORS: dict[Tone, str] = {"good": "green", "fair": "yellow", "bad": "red"}
_NARROW_SENTENCE = 24  # columns; a sentence that is folded to less takes too many lines
FEW = 4  # up to this many candidates are compared with each other in words
_WHOLE, _FOLDED, _NARROWEST = 99, 19, 13  # characters in a line of a name
# For ever narrower terminals: the columns to leave out, which --details shows in another table, and where names fold.
# Where names may fold, intervals go under their numbers.
_FORMS: tuple[tuple[tuple[str, ...], int | None], ...] = (
    ((), None),
    ((), _WHOLE),
    ((), _FOLDED),
    (("p90 of inputs",), _FOLDED),
    (("p90 of inputs", "RSS added"), _FOLDED),
    (("p90 of inputs", "RSS added", "cold start"), _FOLDED),
    (("p90 of inputs", "RSS added", "cold start"), _NARROWEST),
)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def escape(text: str) -> str:
    """Text out of a bundle or a path, for printing: neither markup nor a terminal's control codes count in it."""
    plain = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    return markup.escape(plain)


def stamp_markup(status: str) -> str:
    """A status as a coloured stamp; "" for a verified bundle."""
    stamp = stamp_of(status)
    return f"[bold {_COLORS[tone_of(status)]}]{stamp}[/]" if stamp else ""


def print_measurement(measured: Measurement, *, details: bool = False, console: Console = out) -> None:
    """The table, its caption and its footnotes; `details` adds more columns, every pair and what was not checked."""
    console = console if console.is_terminal else Console(width=TABLE_WIDTH, highlight=False)
    main_table, left_out = _fitting_table(measured, console)
    if main_table is None:
        print_blocks(_table(measured, (*NARROW, *MORE[1:]) if details else NARROW, name_width=None), console)
    else:
        console.print(main_table)
        for more in _further_tables(measured, (*left_out, *MORE[1:]), console) if details else ():
            print_table(more, console, whole=True)
    for axis in ("threads", "batch"):
        if (table := _scaling_table(measured, axis)) is not None:
            print_table(table, console)
    # Not wrapped by us: a file has no width to wrap at, and where a line ended would depend on the CPU's name.
    console.print(f"[dim]{escape(_caption(measured))}[/dim]", soft_wrap=True)
    if details or 1 < len(measured.rows) <= FEW:
        for pair in measured.pairs:
            console.print(escape(pair_text(pair, model=measured.model)), soft_wrap=True)
    failed = [f"{row.name}: {error_text(row)}" for row in measured.rows if row.error]
    for note in (*failed, *footnotes(measured.rows), *_scaling_notes(measured)):
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
    for note in _unchecked_notes(measured) if details else ():
        console.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)


def _caption(measured: Measurement) -> str:
    """The caption with the number of samples behind the metric, for which the narrow table has no column."""
    counts = {row.metric.samples for row in measured.rows if row.metric}
    samples = f", {count_text(counts.pop(), 'sample')}" if len(counts) == 1 else ""
    return f"{measured.caption().removesuffix('.')}{samples}."


def _fitting_table(measured: Measurement, console: Console) -> tuple[Table | None, tuple[str, ...]]:
    """The first form of the narrow table that fits, and the columns it leaves out; None where none fits."""
    for left_out, name_width in _FORMS:
        kept = [name for name in NARROW if name not in left_out]
        table = _table(measured, kept, name_width=name_width)
        if fits(table, console, whole=True):
            return table, left_out
    return None, ()


def _further_tables(measured: Measurement, names: Sequence[str], console: Console) -> list[Table]:
    """More columns, in as many tables as the width needs."""
    tables: list[Table] = []
    shown: list[str] = []
    for name in present(measured.rows, [NARROW[0], *names])[1:]:
        table = _table(measured, [NARROW[0], *shown, name], name_width=_FOLDED)
        if shown and not fits(table, console, whole=True):
            shown = []
            tables.append(_table(measured, [NARROW[0], name], name_width=_FOLDED))
        elif shown:
            tables[-1] = table
        else:
            tables.append(table)
        shown.append(name)
    return tables


def _table(measured: Measurement, wanted: Sequence[str], *, name_width: int | None) -> Table:
    table = Table(title=measured.model, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    names = present(measured.rows, wanted)
    for i, column in enumerate(columns(measured.rows, names)):
        # Heads may break, numbers may not.
        head = column.replace(" ", "\n", 1) if i else column
        table.add_column(head, justify="left" if i == 0 else "right", overflow="fold", no_wrap=bool(i))
    for row in measured.rows:
        texts = [escape(cell) for cell in cells(row, names, model=measured.model)]
        if row.error:  # the reason may be long, and follows below the table
            words = {"not_run": "not run here", "not tried": "not tried", "refused": "refused"}
            texts[1] = words.get(row.status, "failed")
        if name_width:
            rest = (cell.replace(" \\[", "\n\\[").replace(" [", "\n[") for cell in texts[1:])
            texts = [_folded(texts[0], name_width), *rest]
        table.add_row(*texts, style=_style(row, measured))
    return table


def _folded(name: str, width: int) -> str:
    """A name in lines of up to `width` characters, which end after a "-" or "_"."""
    lines = [""]
    for part in name.replace("-", "-\0").replace("_", "_\0").replace(" ", " \0").split("\0"):
        if len(lines[-1] + part) <= width or not lines[-1]:
            lines[-1] += part
        else:
            lines.append(part)
    return "\n".join(lines)


def _scaling_table(measured: Measurement, axis: str) -> Table | None:
    """Inferences per second by number of threads, or by batch, each with its gain over the table's own row."""
    first = measured.settings.num_threads if axis == "threads" else measured.batch
    points = [p for p in measured.scaling if (p.num_threads if axis == "threads" else p.batch) != first]
    if not points:
        return None
    by_place = {(p.name, p.num_threads if axis == "threads" else p.batch): p for p in points}
    sizes = list(dict.fromkeys(size for _, size in by_place))
    title = f"inferences per second, by {axis}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for i, head in enumerate(["model file", str(first), *map(str, sizes)]):
        table.add_column(head, justify="right" if i else "left", overflow="fold")
    for row in measured.rows:
        of_row = [by_place.get((row.name, size)) for size in sizes]
        if any(of_row):
            texts = [f"{rate_text(p.per_second)} ({ratio_text(p.throughput)})" if p else "" for p in of_row]
            first_cells = [row.name.removeprefix(f"{measured.model}-"), rate_text(row.per_second)]
            table.add_row(*map(escape, [*first_cells, *texts]))
    return table


def _scaling_notes(measured: Measurement) -> list[str]:
    shared = shared_reasons(measured.rows)
    notes = []
    for p in measured.scaling:
        if own := [reason for reason in p.invalid_because if reason not in shared]:
            which = f"{count_text(p.num_threads, 'thread')}, batch {p.batch}"
            notes.append(f"{p.name}, {which}: not valid: {'; '.join(own)}")
    return notes


def _unchecked_notes(measured: Measurement) -> list[str]:
    """What was not checked, because this machine does not show it."""
    notes = []
    if measured.state is not None and (hidden := unchecked(measured.state)):
        notes.append(f"not checked, because this machine does not show it: {', '.join(hidden)}")
    if measured.energy_missing:
        notes.append(f"energy not measured: {measured.energy_missing}")
    return notes


def _style(row: Row, measured: Measurement) -> str:
    if row.error or is_stamped(row):
        return "red"
    return "dim" if row.name == measured.baseline else ""


def listing(heads: Sequence[str], rows: Sequence[Sequence[str]], *, console: Console = out) -> None:
    """Rows whose first cell is a name that one has to type, and whose last is a sentence. Nothing is cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads[:-1]:
        table.add_column(head, no_wrap=True)
    table.add_column(heads[-1], min_width=_NARROW_SENTENCE, overflow="fold")
    for row in rows:
        table.add_row(f"[bold]{escape(row[0])}[/bold]", *map(escape, row[1:]))
    if not console.is_terminal:  # a pipe or a file has no width of its own: each row is a line there
        console = Console(width=Width.get(console, console.options.update(width=1000), table).maximum, highlight=False)
    print_table(table, console)


def stage_line(result: StageResult, *, named: bool = False) -> str:
    """One line of the verified chain, for the log; `named`: with the output's name, where there are several."""
    mark = "[green]✓[/green]" if result.passed else "[red]✗[/red]"
    return (
        f"  {mark} {result.stage:<8} against {result.compared_with:<8} SQNR {db_text(result.sqnr_db):>9}   "
        f"max |Δ| {result.max_abs:<8.2g} agrees {percent_text(result.agreement):>7}   [dim]{result.held_to}[/dim]"
        + (f"   {escape(result.output)}" if named else "")
    )


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[OnProgress]:
    """A bar with the time left, on stderr; yields `on_progress(done, total)`. Without a terminal, nothing is drawn."""
    bar = Progress(
        *bar_columns(err, TimeRemainingColumn(table_column=Column(no_wrap=True))),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    )
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Clock:
    """A line on stderr, while it is a terminal: what is being done, with a moving bar and how long it has taken.

    For what cannot say how far it is. `stream` is the stderr to draw on: while a library's remarks are caught,
    `sys.stderr` is another one.
    """

    def __init__(self, label: str, stream: TextIO):
        self._bar: Progress | None = None
        console = Console(file=stream, highlight=False)
        if not console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("  {task.description}", table_column=Column(overflow="fold")),
            BarColumn(bar_width=12, table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bar.add_task(escape(label), total=None)
        self._bar.start()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Takes the line away while something else is printed."""
        self.close()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.start()
