"""The note on a model that a reproduction skips: how long it would take, estimated from a few timed batches.

The note is a file among the runs, so that a later report can give the reason. Nothing here trains to an end.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.edge_runtime.decode import DecodeError, canonical_json, decode, parse_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.train.book_model import BookModel
from edgekit.train.checkpoint import write_file
from edgekit.train.dataset import Split
from edgekit.train.loop.device import launched_fabric, threads
from edgekit.train.loop.learner import batches_of, make_learner
from edgekit.train.reproduction.time_left import duration

_TIMED_BATCHES = 3
_WARM_UP_EPOCHS = 2  # of as many batches: memory and kernels are chosen, and on a GPU steps are recorded


@dataclass(frozen=True, kw_only=True)
class SkipNote:
    """A model that was not trained, and what training it would take."""

    model: str
    """Its name."""
    epoch_s: float
    """Seconds that one epoch would take."""
    epochs: int
    """Of one run."""
    seeds: int
    """Runs that were asked for."""

    @property
    def reason(self) -> str:
        """For the report."""
        whole = duration(self.epoch_s * self.epochs * self.seeds)
        return (
            f"left out as too long for this device: {self.seeds} runs of {self.epochs} epochs would take about {whole} "
            f"(an epoch {duration(self.epoch_s)}, estimated from {_TIMED_BATCHES} batches)"
        )


def write(model: BookModel, place: Path, *, device: str, seeds: int) -> None:
    """Times a few batches of `model` and writes the note beside the runs in `place`."""
    note = SkipNote(model=model.name, epoch_s=epoch_seconds(model, device), epochs=model.fit.epochs, seeds=seeds)
    write_file(_file(place, model), canonical_json(to_plain(note)))


def read(model: BookModel, place: Path) -> SkipNote | None:
    """The note on `model`, None where there is none; raises `EdgekitError` when it is damaged."""
    path = _file(place, model)
    if not path.is_file():
        return None
    try:
        return decode(SkipNote, parse_json(path.read_bytes()), path.name)
    except DecodeError as error:
        raise EdgekitError(f"{path} is damaged: {error}. Remove it") from None


def epoch_seconds(model: BookModel, device: str) -> float:
    """About how long an epoch of training takes on `device`, from a few batches of the loop that trains."""
    train, size = model.data().train, model.fit.batch_size
    length = model.fit.epoch_samples or len(train)
    timed = min(length, _TIMED_BATCHES * size)
    config = replace(model.fit, epoch_samples=timed if model.crops else 0)
    some = train if model.crops else Split(inputs=train.inputs[:timed], targets=train.targets[:timed])
    with threads(config.cpu_threads):
        fabric = launched_fabric(device, config.precision)
        batches = batches_of(model, some, config, fabric.device)
        trainer = make_learner(model.build(), batches, model.task, config, fabric).trainer
        for epoch in range(1, _WARM_UP_EPOCHS + 1):
            trainer.epoch(epoch)
        began = time.perf_counter()
        trainer.epoch(_WARM_UP_EPOCHS + 1)
        taken = time.perf_counter() - began
    return taken * math.ceil(length / size) / math.ceil(timed / size)


def _file(place: Path, model: BookModel) -> Path:
    return place / "left-out" / f"{model.name}.json"
