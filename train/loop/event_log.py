"""TensorBoard: a run's curves, some of its training pictures, and histograms of its weights.

A resumed run continues the same curves. Each epoch is logged before its resume state is written; steps that a killed
run left beyond that state are purged on resuming, so that none is there twice. TensorBoard is imported when used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.train.checkpoint import EpochRecord, unwritable
from edgekit.train.loop.event_pictures import ValidationPass, add_masks, add_two_classes, grey

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
_FILES = "events.out.tfevents.*"
_PICTURES = 16


class EventLog:
    """Writes `folder`/tensorboard from the first epoch it is given; until then an older log stays.

    Args:
        done: the epochs of the run that is resumed, none for a fresh one.
        epochs: of the whole run; pictures and weights are logged at the first, the last and about ten others.

    Raises:
        EdgekitError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, done: Sequence[EpochRecord], *, epochs: int) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401 -- better missed now than after hours of training
        except ImportError:
            raise EdgekitError(
                f"--tensorboard needs tensorboard, which is not installed. Run: {install('train')}"
            ) from None
        self._folder, self._done, self._epochs = folder / FOLDER, tuple(done), epochs
        self._writer: SummaryWriter | None = None

    def shows(self, epoch: int) -> bool:
        """Whether pictures and weights are logged after `epoch`."""
        return epoch in (1, self._epochs) or epoch % max(1, self._epochs // 10) == 0

    def write(
        self,
        record: EpochRecord,
        *,
        rate: float,
        net: nn.Module,
        inputs: Tensor,
        answers: ValidationPass | None = None,
        validation: Tensor | None = None,
    ) -> None:
        """Logs one epoch.

        Args:
            rate: its last learning rate.
            inputs: some of the batches as the model was fed them.
            answers: the validation pass, where it is to be shown; `validation` are its inputs.
        """
        try:
            writer = self._writer = self._writer or self._open()
            _scalars(writer, record)
            writer.add_scalar("learning_rate", rate, record.epoch)
            if self.shows(record.epoch):
                _weights(writer, net, record.epoch)
                _pictures(writer, inputs, record.epoch)
                if answers is not None and validation is not None:
                    _validation(writer, answers, validation, record.epoch)
            writer.flush()
        except OSError as error:
            raise unwritable(self._folder, error) from None

    def close(self) -> None:
        """Ends the log; every epoch written is on disk already."""
        if self._writer:
            self._writer.close()

    def _open(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        old = sorted(self._folder.glob(_FILES))
        if not self._done:
            for path in old:
                path.unlink()
            return SummaryWriter(str(self._folder))
        writer = SummaryWriter(str(self._folder), purge_step=len(self._done) + 1)
        if not old:  # the run began without a log; its curve is known all the same
            for record in self._done:
                _scalars(writer, record)
        return writer


def _scalars(writer: SummaryWriter, record: EpochRecord) -> None:
    writer.add_scalar("loss/train", record.loss, record.epoch)
    for name, value in record.validation.items():
        writer.add_scalar(f"{name}/validation", value, record.epoch)
    writer.add_scalar("seconds", record.seconds, record.epoch)


def _weights(writer: SummaryWriter, net: nn.Module, epoch: int) -> None:
    for name, parameter in net.named_parameters():
        if bool(torch.isfinite(parameter).all()):  # a histogram cannot hold NaN or infinity
            writer.add_histogram(f"weights/{name}", parameter.detach().float().cpu(), epoch)


def _validation(writer: SummaryWriter, answers: ValidationPass, inputs: Tensor, epoch: int) -> None:
    outputs = answers.outputs
    if outputs.ndim == 2 and outputs.shape[1] == 2 and answers.targets.ndim == 1:
        add_two_classes(writer, answers, epoch)
    elif outputs.ndim == 4 and outputs.shape == answers.targets.shape:
        add_masks(writer, answers, inputs, epoch)


def _pictures(writer: SummaryWriter, inputs: Tensor, epoch: int) -> None:
    """A grid of training pictures, stretched to the range of their own values, because they are normalized.

    Crops, and slices with their neighbours, are shown by their middle slice.
    """
    if inputs.ndim not in (4, 5):
        return
    if inputs.ndim == 5 or inputs.shape[1] not in (1, 3):
        writer.add_images("inputs/train", grey(inputs[:_PICTURES]), epoch)
        return
    some = inputs[:_PICTURES].detach().float().cpu()  # (P, C, H, W)
    low, high = some.amin(), some.amax()
    writer.add_images("inputs/train", (some - low) / (high - low).clamp(min=1e-6), epoch)
