"""Training steps and epochs: eager, compiled or replayed from a CUDA graph, in one process or several.

The only thing read back from the device is an epoch's mean loss, once. Nothing here knows files or progress.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from train.batches import BatchSource, epoch_seed
from train.book_model import FitConfig
from train.lookahead import Lookahead
from train.schedule import SCHEDULES

if TYPE_CHECKING:
    from lightning.fabric import Fabric

_EAGER_BEFORE_GRAPH = 3  # steps that let cuDNN, the optimizer and the allocator settle before one is recorded


class Trainer:
    """Trains `module` with `optimizer`, both as Fabric set them up, on all of `batches` an epoch.

    The batch size is that of all processes together: of each batch every process takes its share, weighted so that the
    gradient is the one that a single process would compute (batch norm aside, which sees its own share only).

    Args:
        loss_of: (outputs, targets) to the mean loss of the batch.
        lookahead: told of each step, where there is one.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        batches: BatchSource,
        config: FitConfig,
        lookahead: Lookahead | None = None,
    ) -> None:
        self._fabric, self._module, self._optimizer = fabric, module, optimizer
        self._loss_of, self._batches, self._config, self._lookahead = loss_of, batches, config, lookahead
        self._total = torch.zeros((), device=fabric.device)  # summed on the device: .item() would wait for each batch
        self._per_epoch = -(-len(batches) // config.batch_size)
        self._rates = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager_steps = 0
        if config.cuda_graph:
            self._indices = torch.zeros(config.batch_size, dtype=torch.int64, device=fabric.device)
            for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
                group["lr"] = torch.tensor(rate, device=fabric.device)  # where a recorded step finds it

    @property
    def rate(self) -> float:
        """The learning rate of the latest step, of the first group of parameters."""
        return float(self._optimizer.param_groups[0]["lr"])

    def epoch(self, epoch: int) -> float:
        """Trains on every sample once, shuffled, and returns the mean over batches of the loss, as the book prints it.

        That loss includes the `l2_penalty` times the sum of squares of all parameters (chapter 8, section 8.5.2).
        """
        self._module.train()
        torch.manual_seed(epoch_seed(self._config.seed, epoch))  # for dropout and the like
        step = self._graphed if self._config.cuda_graph else self._step
        self._total.zero_()
        first = (epoch - 1) * self._per_epoch
        for number, batch in enumerate(self._batches.begin(epoch).split(self._config.batch_size), first):
            self._set_rate(number)
            step(batch)
            if self._lookahead:
                self._lookahead.after(number)
        mean = self._fabric.all_reduce(self._total / self._per_epoch, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return float(mean)

    def _set_rate(self, step: int) -> None:
        if self._config.schedule == "constant":
            return
        factor = SCHEDULES[self._config.schedule](step, self._per_epoch * self._config.epochs)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            if self._config.cuda_graph:
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def _step(self, batch: Tensor) -> None:
        world = self._fabric.world_size
        mine = batch[self._fabric.global_rank :: world] if 1 < world <= len(batch) else batch
        inputs, targets = self._batches.take(mine)
        loss = self._loss_of(self._module(inputs), targets)
        if 1 < world <= len(batch):
            loss = loss * (len(mine) * world / len(batch))
        if self._config.l2_penalty:  # after the weighting: it belongs to the batch, not to this process's share of it
            loss = loss + self._config.l2_penalty * _sum_of_squares(self._module)
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._optimizer.step()
        self._total += loss.detach()

    def _graphed(self, batch: Tensor) -> None:
        """The same step from a CUDA graph, which needs every batch of one size: the last, smaller one is done eagerly.

        Source: PyTorch's notes on CUDA semantics, "Whole-network capture"; the steps before it are part of training.
        """
        if len(batch) < len(self._indices):
            self._step(batch)
            return
        self._indices.copy_(batch)
        if self._eager_steps < _EAGER_BEFORE_GRAPH:
            self._eager_steps += 1
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._step(self._indices)
            torch.cuda.current_stream().wait_stream(side)
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            self._optimizer.zero_grad()  # so that the recorded backward pass makes gradients in the graph's own memory
            with torch.cuda.graph(self._graph):
                self._step(self._indices)
        self._graph.replay()


def _sum_of_squares(module: nn.Module) -> Tensor:
    """Of all parameters, each counted once however many layers share it; as one kernel, not one a parameter."""
    return torch.cat([parameter.flatten() for parameter in module.parameters()]).square().sum()
