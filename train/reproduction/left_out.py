"""What a reproduction leaves out, and why: how long it would have taken, from a few timed batches.

The note is a file among the runs, so that a report can say so later. Nothing here trains to an end.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from edge_runtime.decode import DecodeError, canonical_json, decode, parse_json, to_plain
from edge_runtime.errors import EdgekitError
from train.book_model import BookModel
from train.checkpoint import write_file
from train.dataset import Split
from train.device import threads
from train.epoch import loss_of, make_optimizer, on_device
from train.reproduction.training_board import duration

_TIMED_BATCHES = 3


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A model that was not trained: the seconds that one epoch, of `epochs` for each of `seeds` runs, would take."""

    model: str
    epoch_s: float
    epochs: int
    seeds: int

    @property
    def reason(self) -> str:
        """For the report."""
        whole = duration(self.epoch_s * self.epochs * self.seeds)
        return (
            f"left out as too long for this device: {self.seeds} runs of {self.epochs} epochs would take about {whole} "
            f"(an epoch {duration(self.epoch_s)}, estimated from {_TIMED_BATCHES} batches)"
        )


def note(model: BookModel, place: Path, *, device: str, seeds: int) -> None:
    """Times a few batches of `model` and writes down that it is left out of the runs in `place`."""
    found = LeftOut(model=model.name, epoch_s=epoch_seconds(model, device), epochs=model.fit.epochs, seeds=seeds)
    write_file(_file(place, model), canonical_json(to_plain(found)))


def noted(model: BookModel, place: Path) -> LeftOut | None:
    """The note on `model`, None where there is none; raises `EdgekitError` when it is damaged."""
    path = _file(place, model)
    if not path.is_file():
        return None
    try:
        return decode(LeftOut, parse_json(path.read_bytes()), path.name)
    except DecodeError as error:
        raise EdgekitError(f"{path} is damaged: {error}. Remove it") from None


def epoch_seconds(model: BookModel, device: str) -> float:
    """About how long an epoch of training takes on `device`, from a few batches after a first one."""
    fit = model.fit
    dataset = model.data()
    some = slice(0, fit.batch_size)
    inputs, targets = on_device(
        model, Split(inputs=dataset.train.inputs[some], targets=dataset.train.targets[some]), device
    )
    net = model.build().to(device)
    if fit.channels_last:
        net = net.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
    optimizer, loss_function = make_optimizer(net, fit), loss_of(model.task, fit)
    half = torch.autocast(device, torch.bfloat16, enabled=fit.precision == "bf16-mixed")
    began = 0.0
    with threads(fit.cpu_threads):
        for batch in range(_TIMED_BATCHES + 1):
            if batch == 1:  # the first is slower: memory, kernels chosen
                began = time.perf_counter()
            with half:
                outputs = net(inputs)
            loss = loss_function(outputs.float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # waits for the device
    batches = math.ceil((fit.epoch_samples or len(dataset.train)) / fit.batch_size)
    return (time.perf_counter() - began) / _TIMED_BATCHES * batches


def _file(place: Path, model: BookModel) -> Path:
    return place / "left-out" / f"{model.name}.json"
