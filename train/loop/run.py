"""A training run in memory: set up from scratch or resumed, trained an epoch at a time, saved, finished.

`trainer.py` makes the steps, `resume.py` and `checkpoint.py` write the files, and `fit.py` decides how long it lasts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.tasks.metrics import TaskMetric
from edgekit.train import checkpoint, provenance
from edgekit.train.book_model import BookModel, FitConfig
from edgekit.train.checkpoint import EpochRecord, RunRecord, TrainedOn
from edgekit.train.dataset import Dataset
from edgekit.train.loop import resume
from edgekit.train.loop.early_stopping import is_best, stop_reason
from edgekit.train.loop.epoch import evaluate, on_device
from edgekit.train.loop.event_log import EventLog
from edgekit.train.loop.event_pictures import ValidationPass
from edgekit.train.loop.learner import batches_of, make_learner

if TYPE_CHECKING:
    from lightning.fabric import Fabric

# Writing the resume state would take longer than such an epoch; the thermometer has 5,000 of 1 ms each.
SHORT_EPOCH_S = 0.02


class Run:
    """One run: its net, batches and optimizer on the device of `fabric`, and the curve of the epochs so far.

    Args:
        folder: where the run is saved.
        dataset: what `model.data` returned; `identity` holds its hash.
        run_id: tells this run from another one in the same folder.
        identity: the settings and data that the weights follow from, as the resume state keeps them.
        state: to resume from; None for a fresh run.
        keep_every_s: see `fit`.
    """

    def __init__(
        self,
        model: BookModel,
        folder: Path,
        config: FitConfig,
        dataset: Dataset,
        fabric: Fabric,
        *,
        run_id: str,
        identity: Mapping[str, Any],
        state: resume.ResumeState | None = None,
        keep_every_s: float = 1.0,
    ) -> None:
        self._model, self._folder, self._config, self._dataset, self._fabric = model, folder, config, dataset, fabric
        self._run_id, self._identity, self._keep_every_s = run_id, dict(identity), keep_every_s
        torch.manual_seed(config.seed)
        self._net = model.build()
        self._validation = on_device(model, dataset.validation, fabric.device)
        self._batches = batches_of(model, dataset.train, config, fabric.device)
        if model.prepare and not state:
            seen = dataset.calibration if model.crops else dataset.train
            model.prepare(self._net, on_device(model, seen, fabric.device)[0])
        self._learner = make_learner(self._net, self._batches, model.task, config, fabric, state)
        self._module = self._learner.module
        self.curve: list[EpochRecord] = []
        self._devices: dict[str, int] = {}
        if state:
            self.curve.extend(state.curve)
            self._devices.update(state.devices)
        self._kept_at = time.perf_counter()

    @property
    def stopped(self) -> str | None:
        """Why the run stops early; None if it does not."""
        return stop_reason(self.curve, self._config.patience, self._model.task)

    @property
    def ended(self) -> bool:
        """Whether no epoch is left to train."""
        return len(self.curve) >= self._config.epochs or self.stopped is not None

    def train_epoch(self, log: EventLog | None = None) -> EpochRecord:
        """Trains the next epoch and measures the net on the validation data; both go into the curve and into `log`.

        Raises:
            EdgekitError: the loss is no longer a number.
        """
        model, config, epoch = self._model, self._config, len(self.curve) + 1
        began = time.perf_counter()
        loss = self._learner.trainer.epoch(epoch)
        if not math.isfinite(loss):
            raise EdgekitError(
                f"training diverged: in epoch {epoch} the loss is {loss}. Lower the learning rate "
                f"({config.learning_rate:g}). The last epoch that was kept is {epoch - 1}"
            )
        extra = model.extra_metrics() if model.extra_metrics else None
        answers = ValidationPass(extra) if log and log.shows(epoch) else None
        metric = evaluate(self._module, *self._validation, model.task, answers or extra, model.suppression)
        values = {metric.name: metric.value, **(extra.values() if extra else {})}
        if config.best_by and self._fabric.is_global_zero and is_best(values, self.curve, config.best_by):
            checkpoint.save_weights(self._net, self._folder / checkpoint.BEST_FILE)
        if model.test_time_augmentation and epoch == config.epochs:
            averaged = evaluate(model.test_time_augmentation(self._module), *self._validation, model.task)
            values[f"{metric.name}_with_views"] = averaged.value
        self.curve.append(EpochRecord(epoch=epoch, loss=loss, validation=values, seconds=time.perf_counter() - began))
        device = provenance.device_name(self._fabric.device)
        self._devices[device] = self._devices.get(device, 0) + 1
        if log:
            some, validation = self._batches.some(), self._validation[0]
            log.write(
                self.curve[-1],
                rate=self._learner.trainer.rate,
                net=self._net,
                inputs=some,
                answers=answers,
                validation=validation,
            )
        return self.curve[-1]

    def keep(self) -> None:
        """Writes the resume state after an epoch, unless the epoch was short and one was written a moment ago."""
        short = self.curve[-1].seconds < SHORT_EPOCH_S
        if not self._fabric.is_global_zero or (short and not self.ended and not self._is_due()):
            return
        lookahead = self._learner.lookahead
        state = resume.ResumeState(
            run_id=self._run_id,
            identity=self._identity,
            curve=tuple(self.curve),
            model=dict(self._net.state_dict()),
            optimizer=self._learner.optimizer.state_dict(),
            slow=lookahead.state() if lookahead else {},
            devices=self._devices,
        )
        resume.write_state(self._folder, state)
        self._kept_at = time.perf_counter()

    def _is_due(self) -> bool:
        return time.perf_counter() - self._kept_at >= self._keep_every_s

    def finish(self) -> RunRecord:
        """Measures the net once more and writes its weights and the record that vouches for them."""
        if self._config.best_by:
            self._fabric.barrier()
            checkpoint.load_weights(self._net, self._folder / checkpoint.BEST_FILE)
        metric = evaluate(self._module, *self._validation, self._model.task, suppression=self._model.suppression)
        if self._fabric.is_global_zero:
            checkpoint.save_weights(self._net, self._folder / checkpoint.WEIGHTS_FILE)
        self._fabric.barrier()
        record = self._record(metric)
        if self._fabric.is_global_zero:
            checkpoint.write_run(self._folder, record)
        return record

    def _record(self, metric: TaskMetric) -> RunRecord:
        weights = self._folder / checkpoint.WEIGHTS_FILE
        parts = tuple(TrainedOn(device=device, epochs=epochs) for device, epochs in self._devices.items())
        return RunRecord(
            format_version=checkpoint.FORMAT_VERSION,
            model=self._model.name,
            task=self._model.task,
            config=self._config,
            precision=self._identity["precision"],
            metric=metric.name,
            value=metric.value,
            low=metric.low,
            high=metric.high,
            train_samples=len(self._dataset.train),
            validation_samples=len(self._dataset.validation),
            parameters=sum(p.numel() for p in self._net.parameters()),
            curve=tuple(self.curve),
            wall_s=sum(epoch.seconds for epoch in self.curve),
            data=self._dataset.origin,
            data_sha256=self._identity["data"],
            device=provenance.device_name(self._fabric.device),
            machine=machine(),
            versions=provenance.versions(),
            commit=provenance.commit(),
            weights_file=weights.name,
            weights_sha256=sha256_file(weights),
            trained_on=parts if len(parts) > 1 else (),
        )
