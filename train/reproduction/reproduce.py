"""`edgekit reproduce`: trains the book's models, seed by seed, and sets what came out beside the book's figures.

Training is resumable and its results lie in run folders; the report is made from these alone (`results.py`), so
it can be made again without training. Failures of single models do not stop the others.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from edgekit.edge_runtime.errors import Interrupted, UsageError
from edgekit.train.book_model import BookModel
from edgekit.train.loop.device import check_settings
from edgekit.train.registry import BOOK_MODELS, book_model
from edgekit.train.reproduction import left_out
from edgekit.train.reproduction import report as reproduction_report
from edgekit.train.reproduction import results as reproduction
from edgekit.train.reproduction.training_board import Board, shown
from edgekit.train.reproduction.trainings import Training, train_all

CHAPTERS = range(1, 15)
DEFAULT_CHAPTERS = range(1, 9)  # what trains in hours and without scans of patients


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks to be reproduced; each field is the command's option of that name.

    `chapters`: "1-8" or "7,8"; None: those of `models`, and 1 to 8 where none are named. `seeds`: how many runs of each
    model, from its own setting's on. `epochs`: instead of each model's own. `jobs`: trainings at the same time.
    """

    chapters: str | None = None
    models: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    seeds: int = 3
    epochs: int | None = None
    device: str = "auto"
    jobs: int = 1
    out: Path = Path("results")
    runs: Path = Path("runs/reproduction")
    docs: Path = Path("docs")

    def command(self) -> str:
        """What a user types to ask for the same."""
        words = ["edgekit", "reproduce"]
        for option in fields(self):
            value = getattr(self, option.name)
            if value != option.default:
                for item in value if isinstance(value, tuple) else (value,):
                    words += [f"--{option.name}", str(item)]
        return shlex.join(words)


def reproduce(asked: Request, *, report_only: bool = False) -> bool:
    """Trains what is not trained yet, then writes results and report; returns whether every training worked.

    Raises:
        UsageError: an unknown chapter, model or device, or a number below 1.
        Interrupted: Ctrl-C; every training has kept its last epoch, and the message says how to go on.
        EdgekitError: a run on disk is damaged, or a file could not be written.
    """
    for name, number in (("seeds", asked.seeds), ("jobs", asked.jobs), ("epochs", asked.epochs)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} {number}: at least 1 is needed")
    skipped = [book_model(name) for name in asked.skip]
    chosen = [model for model in choose(asked.chapters, asked.models) if model not in skipped]
    asked = replace(asked, device=_device(asked.device))
    place = asked.runs / asked.device
    failed: dict[str, str] = {}
    if not report_only:
        for model in skipped:
            left_out.note(model, place, device=asked.device, seeds=asked.seeds)
        failed = _train(chosen, asked, place)
    chapters = sorted({model.chapter for model in [*chosen, *skipped]})
    files = reproduction.write_results(chapters, place, asked.out, device=asked.device, epochs=asked.epochs)
    files += reproduction_report.write(asked.out, asked.docs)
    for file in files:
        print(f"wrote {file}")
    for reason in dict.fromkeys(failed.values()):  # of several trainings often the same: missing data
        titles = ", ".join(title for title, why in failed.items() if why == reason)
        print(f"error: {titles} failed: {reason}", file=sys.stderr)
    return not failed


def choose(chapters: str | None, names: Sequence[str]) -> list[BookModel]:
    """The models that `--chapters` and `--models` ask for, in this order; raises `UsageError` naming what there is.

    A range may hold chapters without models; a single chapter may not.
    """
    asked = set(DEFAULT_CHAPTERS) if chapters is None else _numbers(chapters)
    named = [book_model(name) for name in names]
    for model in named:
        if chapters and model.chapter not in asked:
            raise UsageError(f"{model.name} is of chapter {model.chapter}, which --chapters {chapters} leaves out")
    return named or [model for model in BOOK_MODELS.values() if model.chapter in asked]


def plan(models: Sequence[BookModel], place: Path, *, seeds: int, epochs: int | None = None) -> list[Training]:
    """Every training asked for, a model after the other, each seed in a folder of its own: `seed-123/birds_cnn`."""
    trainings = []
    for model in models:
        for seed in range(model.fit.seed, model.fit.seed + seeds):
            fit = replace(model.fit, seed=seed, epochs=epochs or model.fit.epochs)
            trainings.append(Training(model=replace(model, fit=fit), runs=place / f"seed-{seed}"))
    return trainings


def _train(models: Sequence[BookModel], asked: Request, place: Path) -> dict[str, str]:
    trainings = plan(models, place, seeds=asked.seeds, epochs=asked.epochs)
    records = {training.title: training.finished() for training in trainings}
    todo = [training for training in trainings if records[training.title] is None]
    paces = {record.model: record.wall_s / len(record.curve) for record in records.values() if record}
    print(f"{len(trainings)} trainings on {asked.device}, {len(trainings) - len(todo)} of them finished already")
    board = Board(todo, epoch_s=paces, jobs=asked.jobs)
    try:
        with shown(board, todo) as on_step:
            return train_all(todo, device=asked.device, jobs=asked.jobs, on_step=on_step)
    except KeyboardInterrupt:
        finished = sum(training.finished() is not None for training in trainings)
        raise Interrupted(
            f"interrupted: {finished} of {len(trainings)} trainings are finished, the others keep their last epoch in "
            f"{place}. Go on:\n  {asked.command()}\nThe report on what is finished: add --report-only"
        ) from None


def _numbers(chapters: str) -> set[int]:
    with_models = {model.chapter for model in BOOK_MODELS.values()} & set(CHAPTERS)
    asked: set[int] = set()
    for part in chapters.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not found:
            raise UsageError(f"--chapters {chapters} is no list of chapters. Write it like 1-8 or 2,7,8")
        numbers = set(range(int(found[1]), int(found[2] or found[1]) + 1))
        if not numbers <= set(CHAPTERS) or not numbers & with_models:
            known = ", ".join(map(str, sorted(with_models)))
            raise UsageError(f"--chapters {part.strip()}: nothing to train there. Chapters with models: {known}")
        asked |= numbers
    return asked


def _device(device: str) -> str:
    """A device by its name, also for auto: results of different devices lie side by side."""
    check_settings(device, "32-true")
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
