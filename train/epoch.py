"""One pass over the data: training and evaluation on tensors that already lie on the device.

What an epoch draws at random follows from (seed, epoch) alone. Nothing here knows files, progress or how many epochs
there are. A new loss or optimizer is one line in its table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.metrics import TaskMetric
from edge_runtime.tasks import task
from train.book_model import BookModel, FitConfig, input_module
from train.dataset import Split

if TYPE_CHECKING:
    from lightning.fabric import Fabric

# By task: (outputs, targets) to the mean loss of the batch.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"classification": F.cross_entropy}


def _sgd(parameters: Iterable[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )


def _adam(parameters: Iterable[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter], FitConfig], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
}
_EVALUATION_BATCH = 1000


def on_device(model: BookModel, split: Split, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """A split as tensors on `device`: inputs as the model takes them, for pictures (N, C, H, W) float32; targets."""
    with torch.no_grad():
        raw = torch.from_numpy(split.inputs).to(device)
        # Contiguous, because the permutation to (N, C, H, W) would otherwise leave every batch with strides of its own.
        return input_module(model).to(device)(raw).contiguous(), torch.from_numpy(split.targets).to(device)


def train_epoch(
    fabric: Fabric,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
) -> float:
    """Trains on every sample once, shuffled, and returns the mean over batches of the loss, as the book prints it.

    `batch_size` is that of all processes together: of each batch every process takes its share, weighted so that the
    gradient is the one that a single process would compute.
    """
    module.train()
    drawn = _seed(seed, epoch)
    torch.manual_seed(drawn)  # for dropout and the like
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(drawn)).to(inputs.device)
    batches = order.split(batch_size)
    total = torch.zeros((), device=inputs.device)  # summed on the device: .item() would wait for each batch
    for batch in batches:
        mine = batch[fabric.global_rank :: fabric.world_size]
        loss = loss_of(module(inputs[mine]), targets[mine])
        if fabric.world_size > 1:
            loss = loss * (len(mine) * fabric.world_size / len(batch))
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        total += loss.detach()
    mean = fabric.all_reduce(total / len(batches), reduce_op="mean")
    assert isinstance(mean, Tensor)
    return float(mean)


def evaluate(module: nn.Module, inputs: Tensor, targets: Tensor, task_name: str) -> TaskMetric:
    """The task's metric of `module`, in eval mode, over all of `inputs`, as `on_device` makes them."""
    metric = task(task_name).metric()
    module.eval()
    with torch.no_grad():
        for start in range(0, len(inputs), _EVALUATION_BATCH):
            piece = slice(start, start + _EVALUATION_BATCH)
            metric.update(module(inputs[piece]).float().cpu().numpy(), targets[piece].cpu().numpy())
    return metric


def _seed(seed: int, epoch: int) -> int:
    """A seed for one epoch; hashed, so that epochs of neighbouring seeds have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:8], "big") >> 1
