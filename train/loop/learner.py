"""What trains a net: its batches, its optimizer, the lookahead and the `Trainer`, set up together on Fabric's device.

Runs, benchmarks and estimates of the time all start here, so that they measure the loop that trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgekit.train.book_model import BookModel, FitConfig, input_module
from edgekit.train.dataset import Split
from edgekit.train.loop.batches import Batches, BatchSource
from edgekit.train.loop.crop_batches import CropBatches
from edgekit.train.loop.device import records_steps, set_up
from edgekit.train.loop.epoch import loss_of, on_device, restore_optimizer
from edgekit.train.loop.lookahead import Lookahead
from edgekit.train.loop.resume import ResumeState
from edgekit.train.loop.trainer import Trainer

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A net in training."""

    net: nn.Module
    """The net itself."""
    module: nn.Module
    """The net as Fabric wrapped it; it shares the weights."""
    optimizer: torch.optim.Optimizer
    """Of all parameters that are not frozen."""
    lookahead: Lookahead | None
    """Where the settings ask for it."""
    trainer: Trainer
    """Makes the epochs."""


def batches_of(model: BookModel, split: Split, config: FitConfig, device: torch.device | str) -> BatchSource:
    """The samples of `split` as `model` is trained on them: crops are read from disk, all else is on the device."""
    if model.crops:
        return CropBatches(split, config, inputs=input_module(model), device=device)
    return Batches(*on_device(model, split, device), config)  # which keeps the pictures in a layout of its own


def make_learner(
    net: nn.Module,
    batches: BatchSource,
    task: str,
    config: FitConfig,
    fabric: Fabric,
    state: ResumeState | None = None,
) -> Learner:
    """Sets `net` up to be trained on `batches` with the loss of `task`; if a `state` is given, from where it ended.

    Nothing is drawn at random here: the net comes with its weights.
    """
    if config.channels_last:
        net = net.to(memory_format=torch.channels_last)
    if state:
        net.load_state_dict(state.model)
    recorded = records_steps(fabric, config, on_device=batches.on_device)
    module, optimizer = set_up(fabric, net, config, recorded=recorded)
    if state:
        restore_optimizer(optimizer, state.optimizer)
    lookahead = _lookahead_of(net, batches, config, state)
    loss = loss_of(task, config)
    trainer = Trainer(fabric, module, optimizer, loss, batches, config, lookahead, recorded=recorded)
    return Learner(net=net, module=module, optimizer=optimizer, lookahead=lookahead, trainer=trainer)


def _lookahead_of(
    net: nn.Module, batches: BatchSource, config: FitConfig, state: ResumeState | None
) -> Lookahead | None:
    if not config.lookahead:
        return None
    steps = math.ceil(len(batches) / config.batch_size) * config.epochs
    return Lookahead(net, every=config.lookahead, steps=steps, slow=state.slow if state else None)
