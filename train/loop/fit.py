"""Trains any `BookModel`, on Lightning Fabric, on any device, in several processes if torchrun starts them.

A whole split lives on the device as one tensor, normalized once; batches are gathered there by index. A resumed run
repeats an uninterrupted one, on the CPU bit for bit with the same number of threads. Nothing here prints.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import require_writable
from edgekit.edge_runtime.locking import alone_in
from edgekit.train import checkpoint, provenance
from edgekit.train.book_model import BookModel, FitConfig
from edgekit.train.checkpoint import EpochRecord, RunRecord
from edgekit.train.loop import resume
from edgekit.train.loop.device import check_settings, launched_fabric, threads
from edgekit.train.loop.early_stopping import stop_reason
from edgekit.train.loop.event_log import EventLog
from edgekit.train.loop.run import Run


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    record: RunRecord
    """The content of its run.json."""
    folder: Path
    """Where it lies."""
    trained_epochs: int
    """Epochs that this call trained; 0 if the run was finished already."""
    stopped: str | None = None
    """Why it stopped early; None if it did not."""

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
    keep_every_s: float = 1.0,
) -> RunResult:
    """Trains `model` into `folder`: weights.safetensors and run.json at the end, resume.pt after each epoch.

    Args:
        config: overrides the model's own. When resuming it must be the run's, but with more `epochs` if you like.
        go_on: resume the run in `folder` after its last finished epoch. Without it a finished run there stays until
            this one is done.
        command: what the user types to start this run; messages quote it.
        precision: overrides the settings' own.
        tensorboard: log the run into `folder`/tensorboard.
        on_epoch: called after each epoch, once the epoch is safe on disk.
        keep_every_s: epochs shorter than 20 ms are saved only this often, and the last of them; 0 saves every one.

    Raises:
        UsageError: an unknown device or precision, one that this machine does not have, no run that these settings
            could resume, or another process that trains into `folder`.
        MissingData: the data set is not on disk.
        Interrupted: Ctrl-C; the last finished epoch is kept, and the message says how to resume.
        EdgekitError: the loss is no longer a number, a file is damaged, or the disk is full.
    """
    config = config or model.fit
    precision = precision or config.precision
    check_settings(device, precision)
    provenance.commit()  # now, when the code was just loaded; hours later another commit may be checked out
    # Of several processes that train one model together, the first one holds the folder for all.
    with alone_in(folder) if os.environ.get("RANK", "0") == "0" else nullcontext():
        state = resume.state_to_resume(folder, command) if go_on else None
        run_id = state.run_id if state else uuid.uuid4().hex
        with (
            resume.keeping_last_epoch(folder, run_id, epochs=config.epochs, command=command),
            threads(config.cpu_threads),
        ):
            dataset = model.data()
            identity = {"model": model.name, "data": dataset.sha256(), **asdict(config), "precision": precision}
            if state:
                resume.check_same_run(state, identity, folder)
                stopped = stop_reason(state.curve, config.patience, model.task)
                if (stopped or state.epoch == config.epochs) and (finished := _finished(folder, state)):
                    return RunResult(record=finished, folder=folder, trained_epochs=0, stopped=stopped)
            try:
                require_writable(folder)  # not after the first epoch, which may take an hour
            except OSError as error:
                raise checkpoint.unwritable(folder, error) from None
            fabric = launched_fabric(device, precision)
            run = Run(
                model,
                folder,
                config,
                dataset,
                fabric,
                run_id=run_id,
                identity=identity,
                state=state,
                keep_every_s=keep_every_s,
            )
            log = EventLog(folder, run.curve, epochs=config.epochs) if tensorboard and fabric.is_global_zero else None
            while not run.ended:
                epoch = run.train_epoch(log)
                run.keep()
                if fabric.is_global_zero and on_epoch:
                    on_epoch(epoch)
            if log:
                log.close()
            record = run.finish()
        trained = len(run.curve) - (state.epoch if state else 0)
        return RunResult(record=record, folder=folder, trained_epochs=trained, stopped=run.stopped)


def _finished(folder: Path, state: resume.ResumeState) -> RunRecord | None:
    """The record of the run that `state` completed; None if the process died before writing it."""
    try:
        record = checkpoint.read_run(folder)
    except EdgekitError:  # missing, damaged or of an older run: it is written again from the state
        return None
    return record if record.curve == state.curve else None
