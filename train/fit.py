"""The one training run, on Lightning Fabric: any `BookModel`, any device, several processes where torchrun starts them.

A whole split lives on the device as one tensor, normalised once; batches are gathered there by index. A resumed run
repeats an uninterrupted one, on the CPU with as many threads bit for bit. Nothing here prints or knows a command;
`commands.py` does.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edge_runtime.benchmark import machine
from edge_runtime.errors import EdgekitError
from edge_runtime.files import sha256_file
from edge_runtime.metrics import TaskMetric
from train import checkpoint, provenance, resume
from train.batches import Batches, BatchSource
from train.book_model import BookModel, FitConfig, input_module
from train.checkpoint import EpochRecord, RunRecord, TrainedOn
from train.crop_batches import CropBatches
from train.dataset import Dataset
from train.device import check_settings, launched_fabric, records_steps, set_up, threads
from train.early_stopping import is_best, stop_reason
from train.epoch import evaluate, loss_of, on_device, restore_optimizer
from train.event_log import EventLog
from train.event_pictures import Kept
from train.lookahead import Lookahead
from train.trainer import Trainer

if TYPE_CHECKING:
    from lightning.fabric import Fabric

# Writing the resume state would take longer than such an epoch; a thermometer has 5,000 of 1 ms each.
SHORT_EPOCH_S = 0.02


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run: its record, its folder, and how many epochs this call trained (0: it was finished already).

    `stopped` says why it ended before its last epoch, None where it did not.
    """

    record: RunRecord
    folder: Path
    trained_epochs: int
    stopped: str | None = None

    @property
    def weights(self) -> Path:
        return self.folder / checkpoint.WEIGHTS_FILE


def fit(
    model: BookModel,
    folder: Path,
    *,
    config: FitConfig | None = None,
    device: str = "auto",
    precision: str | None = None,
    go_on: bool = False,
    command: str = "",
    tensorboard: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> RunResult:
    """Trains `model` into `folder`: weights.safetensors and run.json at the end, resume.pt after each epoch.

    Args:
        config: instead of the model's own. When going on it must be the run's, but `epochs` may be more.
        go_on: from the last finished epoch in `folder`. Otherwise a finished run there stays until this one is done.
        command: what the user types to start this run; messages quote it.
        precision: instead of the settings' own.
        tensorboard: log the run into `folder`/tensorboard.
        on_epoch: called after each epoch, when that epoch is safe on disk; of epochs shorter than 20 ms, once a second
            one is.

    Raises:
        UsageError: unknown device or precision, settings that this device has not, or nothing there that these settings
            could go on from.
        MissingData: the data set is not on disk.
        Interrupted: Ctrl-C; the last finished epoch is kept, and the message says how to go on.
        EdgekitError: the loss is no longer a number, a file is damaged, or the disk is full.
    """
    config = config or model.fit
    precision = precision or config.precision
    check_settings(device, precision)
    provenance.commit()  # now, when the code was just loaded; hours later another commit may be checked out
    state = resume.state_to_resume(folder, command) if go_on else None
    run_id = state.run_id if state else uuid.uuid4().hex
    with resume.keeping_last_epoch(folder, run_id, epochs=config.epochs, command=command), threads(config.cpu_threads):
        dataset = model.data()
        identity = {"model": model.name, "data": dataset.sha256(), **asdict(config), "precision": precision}
        if state:
            resume.check_same_run(state, identity, folder)
            stopped = stop_reason(state.curve, config.patience, model.task)
            if (stopped or state.epoch == config.epochs) and (finished := _finished(folder, state)):
                return RunResult(record=finished, folder=folder, trained_epochs=0, stopped=stopped)
        fabric = launched_fabric(device, precision)
        torch.manual_seed(config.seed)
        net = model.build()
        validation = on_device(model, dataset.validation, fabric.device)
        batches: BatchSource
        if model.crops:
            batches = CropBatches(dataset.train, config, inputs=input_module(model), device=fabric.device)
            if model.prepare and not state:
                model.prepare(net, on_device(model, dataset.calibration, fabric.device)[0])
        else:
            train = on_device(model, dataset.train, fabric.device)
            batches = Batches(*train, config)
            if model.prepare and not state:
                model.prepare(net, train[0])
            del train  # `batches` has the pictures in a layout of its own
        if config.channels_last:
            net = net.to(memory_format=torch.channels_last)
        if state:
            net.load_state_dict(state.model)
        recorded = records_steps(fabric, config, on_device=batches.on_device)
        module, optimizer = set_up(fabric, net, config, recorded=recorded)
        curve: list[EpochRecord] = []
        device_name = provenance.device_name(fabric.device)
        devices: dict[str, int] = {}
        if state:
            curve.extend(state.curve)
            devices.update(state.devices)
            restore_optimizer(optimizer, state.optimizer)
        lookahead = lookahead_of(net, batches, config, state)
        log = EventLog(folder, curve, epochs=config.epochs) if tensorboard and fabric.is_global_zero else None
        loss_function = loss_of(model.task, config)
        trainer = Trainer(fabric, module, optimizer, loss_function, batches, config, lookahead, recorded=recorded)
        written = time.perf_counter()
        while len(curve) < config.epochs and not stop_reason(curve, config.patience, model.task):
            epoch = len(curve) + 1
            began = time.perf_counter()
            loss = trainer.epoch(epoch)
            if not math.isfinite(loss):
                raise EdgekitError(
                    f"training diverged: in epoch {epoch} the loss is {loss}. Lower the learning rate "
                    f"({config.learning_rate:g}). What was kept is epoch {epoch - 1}"
                )
            figures = model.figures() if model.figures else None
            shown = Kept(figures) if log and log.shows(epoch) else None
            metric = evaluate(module, *validation, model.task, shown or figures)
            validation_values = {metric.name: metric.value, **(figures.values() if figures else {})}
            if config.best_by and fabric.is_global_zero and is_best(validation_values, curve, config.best_by):
                checkpoint.save_weights(net, folder / checkpoint.BEST_FILE)
            if model.views and epoch == config.epochs:
                validation_values[f"{metric.name}_with_views"] = evaluate(
                    model.views(module), *validation, model.task
                ).value
            seconds = time.perf_counter() - began
            curve.append(EpochRecord(epoch=epoch, loss=loss, validation=validation_values, seconds=seconds))
            devices[device_name] = devices.get(device_name, 0) + 1
            if log:
                some = batches.some()
                log.write(curve[-1], rate=trainer.rate, net=net, inputs=some, kept=shown, validation=validation[0])
            last = epoch == config.epochs or stop_reason(curve, config.patience, model.task) is not None
            due = last or seconds >= SHORT_EPOCH_S or time.perf_counter() - written >= 1
            if fabric.is_global_zero and due:
                kept = resume.ResumeState(
                    run_id=run_id,
                    identity=identity,
                    curve=tuple(curve),
                    model=dict(net.state_dict()),
                    optimizer=optimizer.state_dict(),
                    slow=lookahead.state() if lookahead else {},
                    devices=devices,
                )
                resume.write_state(folder, kept)
                written = time.perf_counter()
            if fabric.is_global_zero and on_epoch:
                on_epoch(curve[-1])
        if log:
            log.close()
        trained = len(curve) - (state.epoch if state else 0)
        if config.best_by:
            fabric.barrier()
            checkpoint.load_weights(net, folder / checkpoint.BEST_FILE)
        metric = evaluate(module, *validation, model.task)
        if fabric.is_global_zero:
            checkpoint.save_weights(net, folder / checkpoint.WEIGHTS_FILE)
        fabric.barrier()
        record = _record(model, folder, config, identity, dataset, metric, curve, net, fabric, devices)
        if fabric.is_global_zero:
            checkpoint.write_run(folder, record)
    stopped = stop_reason(curve, config.patience, model.task)
    return RunResult(record=record, folder=folder, trained_epochs=trained, stopped=stopped)


def lookahead_of(
    net: nn.Module, batches: BatchSource, config: FitConfig, state: resume.ResumeState | None = None
) -> Lookahead | None:
    """The lookahead that `config` asks for, from where `state` left it; None where it asks for none."""
    if not config.lookahead:
        return None
    steps = math.ceil(len(batches) / config.batch_size) * config.epochs
    return Lookahead(net, every=config.lookahead, steps=steps, slow=state.slow if state else None)


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
    devices: Mapping[str, int],
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
        trained_on=tuple(TrainedOn(device=d, epochs=n) for d, n in devices.items()) if len(devices) > 1 else (),
    )
