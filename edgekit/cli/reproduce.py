"""`edgekit reproduce`: bars on a terminal, lines anywhere else; then the files that were written, and what failed.

Progress and notes go to standard error. The time left is known for a model once two of its epochs were timed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from rich.table import Column

from edgekit.cli.bars import WIDE, columns
from edgekit.train.reproduction.reproduce import Plan, ReproductionRequest, reproduce
from edgekit.train.reproduction.time_left import TimeLeft
from edgekit.train.reproduction.trainings import Step


def reproduce_models(request: ReproductionRequest, *, report_only: bool) -> bool:
    """Runs the request and prints what came of it; returns whether every training worked. Raises as `reproduce`."""
    made = reproduce(request, report_only=report_only, show=show_progress, on_note=_say)
    for path in made.files:
        print(f"wrote {path}")
    for reason in dict.fromkeys(made.failures.values()):  # several trainings often fail for one reason: missing data
        titles = ", ".join(title for title, why in made.failures.items() if why == reason)
        _say(f"error: {titles} failed: {reason}")
    return not made.failures


@contextmanager
def show_progress(plan: Plan) -> Iterator[Callable[[Step], None]]:
    """Yields the function that shows each step of the plan; several threads may call it."""
    finished = len(plan.trainings) - len(plan.todo)
    print(f"{len(plan.trainings)} trainings on {plan.device}, {finished} of them finished already")
    left = TimeLeft(plan.todo, epoch_s=plan.epoch_s, jobs=plan.jobs)
    guard, console = threading.Lock(), Console(stderr=True)
    if not console.is_terminal:

        def line(step: Step) -> None:
            with guard:
                left.take(step)
                epoch = f"epoch {step.epoch}/{step.training.model.fit.epochs}"
                _say(f"{step.training.title}: {epoch}, {step.figures}; {left.done}/{len(plan.todo)} done, {left.text}")

        yield line
        return
    wide = console.width >= WIDE
    note = TextColumn("{task.fields[note]}", table_column=Column(overflow="fold"))
    with Progress(*columns(console, note), console=console) as progress:
        everything = progress.add_task("[bold]all trainings", total=len(plan.todo), note="")
        bars: dict[str, TaskID] = {}

        def bar(step: Step) -> None:
            title, epochs = step.training.title, step.training.model.fit.epochs
            with guard:
                left.take(step)
                if title not in bars:
                    bars[title] = progress.add_task(title, total=epochs, note="")
                figures = step.figures if wide else ""
                progress.update(bars[title], completed=step.epoch, note=figures, visible=step.epoch < epochs)
                progress.update(everything, completed=left.done, note=left.text)

        yield bar


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
