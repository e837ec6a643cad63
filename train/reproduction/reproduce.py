"""Trains the book's models, seed by seed, and compares what comes out with the book's figures.

Training can be resumed, and its results lie in run folders. The report is made from these alone (`results.py`), so it
can be written again without training. One model that fails does not stop the others. Nothing here prints:
`edgekit reproduce` shows progress and notes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from edgekit.edge_runtime.command_line import command_line
from edgekit.edge_runtime.errors import Interrupted, UsageError
from edgekit.train.book_model import BookModel
from edgekit.train.loop.device import check_settings
from edgekit.train.registry import BOOK_MODELS, book_model
from edgekit.train.reproduction import report, results, skip_note
from edgekit.train.reproduction.trainings import Step, Training, train_all

CHAPTERS = range(1, 15)
DEFAULT_CHAPTERS = range(1, 9)  # these train within hours, and need no scans of patients


@dataclass(frozen=True, kw_only=True)
class ReproductionRequest:
    """What a user asks to be reproduced; each field is the command's option of that name."""

    chapters: str | None = None
    """Like "1-8" or "7,8". None: the chapters of `models`, or 1 to 8 where no model is named."""
    models: tuple[str, ...] = ()
    """Only these, by name; empty: all models of the chapters."""
    skip: tuple[str, ...] = ()
    """Models to leave out; the report says how long each would take."""
    seeds: int = 3
    """Runs of each model. The first has the seed of the model's own settings, each further one the next number."""
    epochs: int | None = None
    """None: each model's own number."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    jobs: int = 1
    """Trainings that run at the same time."""
    out: Path | None = None
    """The folder of the results files. None: `results` in the folder of the runs."""
    runs: Path = Path("runs/reproduction")
    """The folder of the training runs, in which each device has a folder of its own."""
    docs: Path | None = None
    """The folder of REPRODUCTION.md and its figures. None: `report` in the folder of the runs."""
    publish: bool = False
    """Write to `results/` and `docs/`, in which the repository of edgekit keeps what was measured."""

    @property
    def results_folder(self) -> Path:
        return self.out or (Path("results") if self.publish else self.runs / "results")

    @property
    def docs_folder(self) -> Path:
        return self.docs or (Path("docs") if self.publish else self.runs / "report")

    def command(self) -> str:
        """What a user types to ask for the same."""
        words = ["reproduce"]
        for option in fields(self):
            value = getattr(self, option.name)
            if value != option.default:
                for item in value if isinstance(value, tuple) else (value,):
                    words += [f"--{option.name}", *([] if item is True else [str(item)])]
        return command_line(*words)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trainings of a request, before the first one starts."""

    device: str
    """cpu, cuda or mps."""
    jobs: int
    """How many run at the same time."""
    trainings: tuple[Training, ...]
    """All of them, finished ones included."""
    todo: tuple[Training, ...]
    """Those that are not finished."""
    epoch_s: dict[str, float]
    """Seconds that an epoch takes, by model, for the models that have a finished run."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of a request."""

    files: tuple[Path, ...]
    """The results, the page and its figures, as they were written."""
    failures: dict[str, str]
    """Why a training failed, by its title."""


Show = Callable[[Plan], AbstractContextManager[Callable[[Step], None]]]


@contextmanager
def _show_nothing(_: Plan) -> Iterator[Callable[[Step], None]]:
    yield lambda step: None


def reproduce(
    request: ReproductionRequest,
    *,
    report_only: bool = False,
    show: Show = _show_nothing,
    on_note: Callable[[str], None] = results.ignore_note,
) -> Reproduction:
    """Trains what is not trained yet, then writes the results and the report.

    Args:
        report_only: train nothing.
        show: given the plan, a context that yields the function to call with each step. Several threads call it.
        on_note: called with a sentence on each model that is measured or left out.

    Raises:
        UsageError: an unknown chapter, model or device, or a number below 1.
        Interrupted: Ctrl-C; every training has kept its last epoch, and the message says how to continue.
        EdgekitError: a run on disk is damaged, or a file could not be written.
    """
    for name, number in (("seeds", request.seeds), ("jobs", request.jobs), ("epochs", request.epochs)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} {number}: at least 1 is needed")
    skipped = [book_model(name) for name in request.skip]
    chosen = [model for model in choose_models(request.chapters, request.models) if model not in skipped]
    request = replace(request, device=_device(request.device))
    place = request.runs / request.device
    failures: dict[str, str] = {}
    if not report_only:
        for model in skipped:
            skip_note.write(model, place, device=request.device, seeds=request.seeds)
        failures = _train(chosen, request, place, show)
    chapters = sorted({model.chapter for model in [*chosen, *skipped]})
    files = results.write_results(
        chapters, place, request.results_folder, device=request.device, epochs=request.epochs, on_note=on_note
    )
    files += report.write(request.results_folder, request.docs_folder)
    return Reproduction(files=tuple(files), failures=failures)


def choose_models(chapters: str | None, names: Sequence[str]) -> list[BookModel]:
    """The models that `--chapters` and `--models` ask for, in this order.

    A range may include chapters without models; a single chapter may not be one of these.

    Raises:
        UsageError: an unknown model or chapter; the message lists the known ones.
    """
    wanted = set(DEFAULT_CHAPTERS) if chapters is None else _chapter_numbers(chapters)
    named = [book_model(name) for name in names]
    for model in named:
        if chapters and model.chapter not in wanted:
            raise UsageError(f"{model.name} is of chapter {model.chapter}, which --chapters {chapters} leaves out")
    return named or [model for model in BOOK_MODELS.values() if model.chapter in wanted]


def plan_trainings(
    models: Sequence[BookModel], place: Path, *, seeds: int, epochs: int | None = None
) -> list[Training]:
    """One training for each model and seed, model after model; each seed has its own folder: `seed-123/birds_cnn`."""
    trainings = []
    for model in models:
        for seed in range(model.fit.seed, model.fit.seed + seeds):
            fit = replace(model.fit, seed=seed, epochs=epochs or model.fit.epochs)
            trainings.append(Training(model=replace(model, fit=fit), runs=place / f"seed-{seed}"))
    return trainings


def _train(models: Sequence[BookModel], request: ReproductionRequest, place: Path, show: Show) -> dict[str, str]:
    trainings = plan_trainings(models, place, seeds=request.seeds, epochs=request.epochs)
    records = {training.title: training.finished() for training in trainings}
    plan = Plan(
        device=request.device,
        jobs=request.jobs,
        trainings=tuple(trainings),
        todo=tuple(training for training in trainings if records[training.title] is None),
        epoch_s={record.model: record.wall_s / len(record.curve) for record in records.values() if record},
    )
    try:
        with show(plan) as on_step:
            return train_all(plan.todo, device=plan.device, jobs=plan.jobs, on_step=on_step)
    except KeyboardInterrupt:
        finished = sum(training.finished() is not None for training in trainings)
        raise Interrupted(
            f"interrupted: {finished} of {len(trainings)} trainings are finished; the others have kept their last "
            f"epoch in {place}. To continue, run:\n  {request.command()}\n"
            "For a report on the finished ones, add --report-only"
        ) from None


def _chapter_numbers(chapters: str) -> set[int]:
    with_models = {model.chapter for model in BOOK_MODELS.values()} & set(CHAPTERS)
    wanted: set[int] = set()
    for part in chapters.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise UsageError(f"--chapters {chapters} is not a list of chapters. Write it like 1-8 or 2,7,8")
        numbers = set(range(int(match[1]), int(match[2] or match[1]) + 1))
        if not numbers <= set(CHAPTERS) or not numbers & with_models:
            known = ", ".join(map(str, sorted(with_models)))
            raise UsageError(f"--chapters {part.strip()}: nothing to train there. Chapters with models: {known}")
        wanted |= numbers
    return wanted


def _device(device: str) -> str:
    """The name of a device, also for "auto": results of different devices lie side by side."""
    check_settings(device, "32-true")
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
