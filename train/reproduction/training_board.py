"""Shows how a set of trainings gets on, with the time left: bars on a terminal, lines anywhere else, on standard error.

The time left is known for a model once two of its epochs were timed. Nothing here trains.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from edgekit.train.reproduction.trainings import Step, Training


class Board:
    """What was heard of `todo`, and what follows from it. `epoch_s`: seconds an epoch of a model takes, as known."""

    def __init__(self, todo: Sequence[Training], *, epoch_s: dict[str, float], jobs: int) -> None:
        self._jobs = jobs
        self._epoch_s = dict(epoch_s)
        self._models = {training.title: training.model for training in todo}
        self._at = dict.fromkeys(self._models, 0)

    def take(self, step: Step) -> None:
        """Notes one step of one training."""
        self._at[step.training.title] = step.epoch
        if step.epoch_s is not None:
            self._epoch_s[step.training.model.name] = step.epoch_s

    @property
    def done(self) -> int:
        """How many trainings are at their last epoch."""
        return sum(epoch == self._models[title].fit.epochs for title, epoch in self._at.items())

    def left(self) -> str:
        """The time left in words; "at least" while the pace of a model that is still to come is not known."""
        open_epochs = {
            title: model.fit.epochs - self._at[title]
            for title, model in self._models.items()
            if self._at[title] < model.fit.epochs
        }
        paces = {title: self._epoch_s.get(self._models[title].name) for title in open_epochs}
        if paces and set(paces.values()) == {None}:
            return "time left not known yet"
        known = sum(epochs * pace for title, epochs in open_epochs.items() if (pace := paces[title]) is not None)
        least = "at least " if None in paces.values() else ""
        return f"{least}{duration(known / self._jobs)} left"


def duration(seconds: float) -> str:
    """For a person: "40 s", "12 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def shown(board: Board, todo: Sequence[Training]) -> Iterator[Callable[[Step], None]]:
    """Yields the function that takes each step of `todo` and shows it; it may be called from several threads."""
    console, guard = Console(stderr=True), threading.Lock()
    if not console.is_terminal:

        def line(step: Step) -> None:
            with guard:
                board.take(step)
                epoch = f"epoch {step.epoch}/{step.training.model.fit.epochs}"
                parts = f"{step.training.title}: {epoch}, {step.figures}; {board.done}/{len(todo)} done, {board.left()}"
                print(parts, file=sys.stderr, flush=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        everything = progress.add_task("[bold]all trainings", total=len(todo), note="")
        bars: dict[str, TaskID] = {}

        def bar(step: Step) -> None:
            title, epochs = step.training.title, step.training.model.fit.epochs
            with guard:
                board.take(step)
                if title not in bars:
                    bars[title] = progress.add_task(title, total=epochs, note="")
                progress.update(bars[title], completed=step.epoch, note=step.figures, visible=step.epoch < epochs)
                progress.update(everything, completed=board.done, note=board.left())

        yield bar
