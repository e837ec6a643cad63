"""The one training run, on Lightning Fabric: any `BookModel`, any device, several processes where torchrun starts them.

A whole split lives on the device as one tensor, normalised once; batches are gathered there by index. A resumed run
repeats an uninterrupted one, on the CPU bit for bit. Nothing here prints or knows a command; `commands.py` does.
"""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edge_runtime.benchmark import machine
from edge_runtime.errors import EdgekitError, UsageError, unknown
from edge_runtime.files import sha256_file
from edge_runtime.metrics import TaskMetric
from train import checkpoint, provenance, resume
from train.book_model import BookModel, FitConfig
from train.checkpoint import EpochRecord, RunRecord
from train.dataset import Dataset
from train.epoch import LOSSES, OPTIMIZERS, evaluate, on_device, train_epoch

if TYPE_CHECKING:
    from lightning.fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run: its record, its folder, and how many epochs this call trained (0: it was finished already)."""

    record: RunRecord
    folder: Path
    trained_epochs: int

    @property
    def weights(self) -> Path:
        return self.folder / checkpoint.WEIGHTS_FILE


def fit(
    model: BookModel,
    folder: Path,
    *,
    config: FitConfig | None = None,
    device: str = "auto",
    precision: str = "32-true",
    go_on: bool = False,
    command: str = "",
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> RunResult:
    """Trains `model` into `folder`: weights.safetensors and run.json at the end, resume.pt after each epoch.

    Args:
        config: instead of the model's own. When going on it must be the run's, but `epochs` may be more.
        go_on: from the last finished epoch in `folder`. Otherwise a finished run there stays until this one is done.
        command: what the user types to start this run; messages quote it.
        on_epoch: called after each epoch, when that epoch is safe on disk.

    Raises:
        UsageError: unknown device or precision, or nothing there that these settings could go on from.
        MissingData: the data set is not on disk.
        Interrupted: Ctrl-C; the last finished epoch is kept, and the message says how to go on.
        EdgekitError: the loss is no longer a number, a file is damaged, or the disk is full.
    """
    config = config or model.fit
    check_settings(device, precision)
    state = resume.state_to_resume(folder, command) if go_on else None
    run_id = state.run_id if state else uuid.uuid4().hex
    with resume.keeping_last_epoch(folder, run_id, epochs=config.epochs, command=command), _threads(config.cpu_threads):
        dataset = model.data()
        identity = {"model": model.name, "data": dataset.sha256(), "precision": precision, **asdict(config)}
        if state:
            resume.check_same_run(state, identity, folder)
            if state.epoch == config.epochs and (finished := _finished(folder, state)):
                return RunResult(record=finished, folder=folder, trained_epochs=0)
        fabric = _fabric(device, precision)
        torch.manual_seed(config.seed)
        net = model.build()
        module, optimizer = fabric.setup(net, OPTIMIZERS[config.optimizer](net.parameters(), config))
        curve: list[EpochRecord] = []
        if state:
            curve.extend(state.curve)
            net.load_state_dict(state.model)
            optimizer.load_state_dict(state.optimizer)
        train, validation = (on_device(model, split, fabric.device) for split in (dataset.train, dataset.validation))
        for epoch in range(len(curve) + 1, config.epochs + 1):
            began = time.perf_counter()
            loss = train_epoch(
                fabric,
                module,
                optimizer,
                LOSSES[model.task],
                *train,
                batch_size=config.batch_size,
                seed=config.seed,
                epoch=epoch,
            )
            if not math.isfinite(loss):
                raise EdgekitError(
                    f"training diverged: in epoch {epoch} the loss is {loss}. Lower the learning rate "
                    f"({config.learning_rate:g}). What was kept is epoch {epoch - 1}"
                )
            metric = evaluate(module, *validation, model.task)
            seconds = time.perf_counter() - began
            curve.append(EpochRecord(epoch=epoch, loss=loss, validation={metric.name: metric.value}, seconds=seconds))
            if fabric.is_global_zero:
                kept = resume.ResumeState(
                    run_id=run_id,
                    identity=identity,
                    curve=tuple(curve),
                    model=dict(net.state_dict()),
                    optimizer=optimizer.state_dict(),
                )
                resume.write_state(folder, kept)
                if on_epoch:
                    on_epoch(curve[-1])
        trained = len(curve) - (state.epoch if state else 0)
        metric = evaluate(module, *validation, model.task)
        if fabric.is_global_zero:
            checkpoint.save_weights(net, folder / checkpoint.WEIGHTS_FILE)
        fabric.barrier()
        record = _record(model, folder, config, identity, dataset, metric, curve, net, fabric)
        if fabric.is_global_zero:
            checkpoint.write_run(folder, record)
    return RunResult(record=record, folder=folder, trained_epochs=trained)


def check_settings(device: str, precision: str) -> None:
    """Raises `UsageError` for a device or precision that is not known or not on this machine."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in there and not there[device]():
        raise UsageError(f"torch {torch.__version__} finds no {device} device here. Use --device cpu, or auto")


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Limits torch to `count` CPU threads, and gives the caller back the number that was set."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fabric(device: str, precision: str) -> Fabric:
    # Without Triton, which the CPU does not need, importing Fabric would begin with torch's warning about it.
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    from lightning.fabric import Fabric  # four seconds to import, too long for a wrong name or missing data

    local, world = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric


def _finished(folder: Path, state: resume.ResumeState) -> RunRecord | None:
    """The record of the run that `state` ended, None where the process died before it had written that."""
    try:
        record = checkpoint.read_run(folder)
    except EdgekitError:  # an older run's, a damaged one's or none: all are written again from the state
        return None
    return record if record.curve == state.curve else None


def _record(
    model: BookModel,
    folder: Path,
    config: FitConfig,
    identity: Mapping[str, Any],
    dataset: Dataset,
    metric: TaskMetric,
    curve: list[EpochRecord],
    net: nn.Module,
    fabric: Fabric,
) -> RunRecord:
    weights = folder / checkpoint.WEIGHTS_FILE
    return RunRecord(
        format_version=checkpoint.FORMAT_VERSION,
        model=model.name,
        task=model.task,
        config=config,
        precision=identity["precision"],
        metric=metric.name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        train_samples=len(dataset.train),
        validation_samples=len(dataset.validation),
        parameters=sum(p.numel() for p in net.parameters()),
        curve=tuple(curve),
        wall_s=sum(epoch.seconds for epoch in curve),
        data=dataset.origin,
        data_sha256=identity["data"],
        device=provenance.device_name(fabric.device),
        machine=machine(),
        versions=provenance.versions(),
        commit=provenance.commit(),
        weights_file=weights.name,
        weights_sha256=sha256_file(weights),
    )
