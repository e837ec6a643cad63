"""The columns of every bar. A name that does not fit is folded, never cut, and a narrow terminal has no bar to show."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
from rich.table import Column

WIDE = 80  # columns of a terminal that has room for a bar, and for figures beside it


def columns(console: Console, *more: ProgressColumn) -> tuple[ProgressColumn, ...]:
    """What a bar is about, the bar, how many of how many, then `more`."""
    title = TextColumn("{task.description}", table_column=Column(overflow="fold"))
    counts = MofNCompleteColumn(table_column=Column(no_wrap=True))
    return (title, BarColumn(), counts, *more) if console.width >= WIDE else (title, counts, *more)
