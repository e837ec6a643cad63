"""Shows how a training run is getting on: a bar with the time left on a terminal, about a dozen lines anywhere else.

Everything goes to standard error; standard output is for answers. Where rich is not installed, lines it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgekit.train.checkpoint import EpochRecord

OnEpoch = Callable[[EpochRecord], None]


@contextmanager
def epoch_progress(title: str, epochs: int) -> Iterator[OnEpoch]:
    """Yields the function to call after each of `epochs`; fits `fit(on_epoch=...)`."""
    if sys.stderr.isatty():
        try:
            import rich.progress  # noqa: F401
        except ModuleNotFoundError:  # a machine with torch and a source checkout has no need of it
            pass
        else:
            with _bar(title, epochs) as on_epoch:
                yield on_epoch
            return
    yield lambda record: _line(title, epochs, record)


@contextmanager
def _bar(title: str, epochs: int) -> Iterator[OnEpoch]:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    from edgekit.cli.bars import WIDE, columns

    console = Console(stderr=True)
    left = TimeRemainingColumn(table_column=Column(no_wrap=True))
    figures = (TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TextColumn("left:"))
    more = (*figures, left) if console.width >= WIDE else (left,)
    with Progress(*columns(console, *more), console=console) as progress:
        task = progress.add_task(f"[bold]{title}", total=epochs, figures="epoch 1 …")
        yield lambda record: progress.update(task, completed=record.epoch, figures=_figures(record))


def _line(title: str, epochs: int, record: EpochRecord) -> None:
    if record.epoch in (1, epochs) or record.epoch % max(1, epochs // 10) == 0:
        print(f"{title}: epoch {record.epoch}/{epochs}, {_figures(record)}", file=sys.stderr, flush=True)


def _figures(record: EpochRecord) -> str:
    return ", ".join([f"loss {record.loss:.4f}", *(f"{name} {value:.4f}" for name, value in record.validation.items())])
