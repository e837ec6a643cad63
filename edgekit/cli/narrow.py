"""Tables on a terminal of any width: where one does not fit, its rows are printed one below the other. Nothing is cut.

Knows nothing of what a table shows.
"""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement as Width
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def fits(table: Table, console: Console, *, whole: bool = False) -> bool:
    """Whether no word of the table has to be broken; with `whole`, no line of a cell."""
    width = Width.get(console, console.options.update(width=1000), table)
    return (width.maximum if whole else width.minimum) <= console.width


def print_table(table: Table, console: Console, *, whole: bool = False) -> None:
    """Prints the table where it fits (see `fits`), else its rows as blocks."""
    if fits(table, console, whole=whole):
        console.print(table)
    else:
        print_blocks(table, console)


def print_blocks(table: Table, console: Console) -> None:
    """Each row as its first cell, which may be a name that one has to type, and the others below it by their heads."""
    if table.title:
        console.print(table.title, style="italic")
    heads = [_text(column.header) for column in table.columns]
    styles = [row.style for row in table.rows]
    for style, cells in zip(styles, zip(*(column.cells for column in table.columns), strict=True), strict=True):
        name, *others = map(_text, cells)
        name.stylize("bold")
        console.print(name, style=style or "none", soft_wrap=True)
        shown = [Text(" ").join([head, cell]) for head, cell in zip(heads[1:], others, strict=True) if cell.plain]
        if shown:
            console.print(Padding(Text(", ").join(shown), (0, 0, 0, 2)), style=style or "none", overflow="fold")


def _text(cell: object) -> Text:
    """A cell in one line, as its markup says."""
    text = cell.copy() if isinstance(cell, Text) else Text.from_markup(str(cell))
    return Text(" ").join(text.split("\n"))
