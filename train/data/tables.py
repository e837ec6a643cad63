"""Tables of numbers from text files, each line checked. Source: chapter 4, section 4.3.

Knows separators, lines and columns; `wine.py` and `bikes.py` know what a column means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.errors import MissingData


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str,
    rows: int,
    parse: Mapping[str, Callable[[str], float]] | None = None,
    advice: str = "",
) -> np.ndarray:
    """A text file with a header and one row of finite numbers a line, as (rows, len(columns)) float32.

    Args:
        columns: what the header has to say, without quotes, in this order.
        rows: how many lines of numbers there have to be, so that a file cut short is noticed.
        parse: by column, what turns its text into a number; `float` for all others.
        advice: what to do about a damaged file; every message ends with it.

    Raises:
        MissingData: the file cannot be read, or a line is wrong; the message has its number.
    """

    def refuse(what: str) -> MissingData:
        return MissingData(f"{path} is damaged: {what}. {advice}".rstrip())

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise refuse(f"byte {error.start} is not UTF-8 text") from None
    except OSError as error:
        raise MissingData(f"{path} cannot be read: {error.strerror}. {advice}".rstrip()) from None
    head = [name.strip().strip('"') for name in lines[0].split(separator)] if lines else []
    if head != list(columns):
        raise refuse(f"line 1 should name the columns {separator.join(columns)!r}, found {(lines or [''])[0][:200]!r}")
    parsers = [(parse or {}).get(name, float) for name in columns]
    table = np.empty((len(lines) - 1, len(columns)), np.float32)
    for i, line in enumerate(lines[1:]):
        fields = line.split(separator)
        if len(fields) != len(columns):
            raise refuse(f"line {i + 2} should have {len(columns)} fields, found {len(fields)}: {line[:80]!r}")
        for j, (name, field, number) in enumerate(zip(columns, fields, parsers, strict=True)):
            try:
                value = number(field)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise refuse(f"line {i + 2}, column {name!r}: {field[:40]!r} is not a number")
            table[i, j] = value
    if len(table) != rows:
        raise refuse(f"it has {len(table):,} lines of numbers, not {rows:,}")
    return table
