"""Shows how a training run gets on: a bar with the time left on a terminal, a dozen plain lines anywhere else.

Everything goes to standard error; standard output is for answers. This module measures nothing and trains nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgekit.train.checkpoint import EpochRecord


@contextmanager
def epoch_progress(title: str, epochs: int) -> Iterator[Callable[[EpochRecord], None]]:
    """Yields the function to call after each of `epochs`; fits `fit(on_epoch=...)`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda record: _line(title, epochs, record)
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=epochs, figures="epoch 1 …")
        yield lambda record: progress.update(bar, completed=record.epoch, figures=_figures(record))


def _line(title: str, epochs: int, record: EpochRecord) -> None:
    if record.epoch in (1, epochs) or record.epoch % max(1, epochs // 10) == 0:
        print(f"{title}: epoch {record.epoch}/{epochs}, {_figures(record)}", file=sys.stderr, flush=True)


def _figures(record: EpochRecord) -> str:
    return ", ".join([f"loss {record.loss:.4f}", *(f"{name} {value:.4f}" for name, value in record.validation.items())])
