"""Training steps and epochs: eager, compiled or replayed from CUDA graphs, in one process or several.

Only an epoch's mean loss is read back from the device, once. Nothing here knows files or progress.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgekit.train.book_model import FitConfig
from edgekit.train.loop.batches import BatchSource, epoch_seed
from edgekit.train.loop.cuda_graphs import RecordedSteps
from edgekit.train.loop.lookahead import Lookahead
from edgekit.train.loop.schedule import SCHEDULES

if TYPE_CHECKING:
    from lightning.fabric import Fabric

_STEPS_OF_A_GRAPH = 12  # launching a graph takes as long as a few kernels of a small net


class Trainer:
    """Trains `module` with `optimizer`, both as Fabric set them up; an epoch is all of `batches`.

    The batch size is that of all processes together: every process takes its share of each batch, weighted so that the
    gradient is the one that a single process would compute. Batch norm is an exception: it sees its own share only.

    Args:
        loss_of: (outputs, targets) to the mean loss of the batch.
        lookahead: is told of each step.
        recorded: replay steps from CUDA graphs; `optimizer` was made for it.
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
        *,
        recorded: bool = False,
    ) -> None:
        self._fabric, self._module, self._optimizer = fabric, module, optimizer
        self._loss_of, self._batches, self._config, self._lookahead = loss_of, batches, config, lookahead
        self._total = torch.zeros((), device=fabric.device)  # summed on the device: .item() would wait for each batch
        self._per_epoch = -(-len(batches) // config.batch_size)
        self._rates = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self._loss = self._compiled() if config.compiled and fabric.world_size == 1 else self._plain
        self._recorded: RecordedSteps | None = None
        if recorded:
            self._recorded = RecordedSteps(
                self._step,
                optimizer,
                self._rates,
                device=fabric.device,
                batch_size=config.batch_size,
                together=1 if lookahead else _STEPS_OF_A_GRAPH,  # it acts between steps
                scheduled=config.schedule != "constant",
            )

    @property
    def rate(self) -> float:
        """The learning rate of the latest step, of the first group of parameters."""
        return float(self._optimizer.param_groups[0]["lr"])

    def epoch(self, epoch: int) -> float:
        """Trains on every sample once, shuffled; returns the mean of the batches' losses, as the book prints it.

        That loss includes the `l2_penalty` times the sum of squares of all parameters (chapter 8, section 8.5.2).
        """
        self._module.train()
        torch.manual_seed(epoch_seed(self._config.seed, epoch))  # for dropout and the like
        self._total.zero_()
        number = (epoch - 1) * self._per_epoch
        order = self._batches.begin(epoch)
        if self._recorded:
            made = self._replay(order, number)
            number, order = number + made, order[made * self._config.batch_size :]  # at most one smaller batch
        for batch in order.split(self._config.batch_size) if len(order) else ():
            self._set_rate(number)
            self._step(batch)
            if self._lookahead:
                self._lookahead.after(number)
            number += 1
        mean = self._fabric.all_reduce(self._total / self._per_epoch, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return float(mean)

    def _replay(self, order: Tensor, first: int) -> int:
        """All whole batches of an epoch; `first` is the number of its first step in the run. Returns how many."""
        assert self._recorded
        size = self._config.batch_size
        whole = len(order) // size
        batches = order[: whole * size].view(whole, size)
        factors = torch.tensor([self._factor(first + i) for i in range(whole)], device=order.device)
        made = 0
        while made < whole:
            made += self._recorded.make(batches[made:], factors[made:])
            if self._lookahead:
                self._lookahead.after(first + made - 1)
        return whole

    def _factor(self, step: int) -> float:
        return SCHEDULES[self._config.schedule](step, self._per_epoch * self._config.epochs)

    def _set_rate(self, step: int) -> None:
        if self._config.schedule == "constant":
            return
        factor = self._factor(step)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            if self._recorded:
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def _step(self, batch: Tensor) -> None:
        world = self._fabric.world_size
        mine = batch[self._fabric.global_rank :: world] if 1 < world <= len(batch) else batch
        loss = self._loss(mine)
        if 1 < world <= len(batch):
            loss = loss * (len(mine) * world / len(batch))
        if self._config.l2_penalty:  # after the weighting: it belongs to the batch, not to a process's share
            loss = loss + self._config.l2_penalty * _sum_of_squares(self._module)
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._optimizer.step()
        self._total += loss.detach()

    def _plain(self, indices: Tensor) -> Tensor:
        inputs, targets = self._batches.take(indices)
        return self._loss_of(self._module(inputs), targets)

    def _compiled(self) -> Callable[[Tensor], Tensor]:
        """`_plain` by torch.compile, which fuses kernels; batches that are on the device are gathered in it too."""
        net, precision = self._module.module, self._fabric.autocast  # Fabric's wrapper would break the graph
        assert isinstance(net, nn.Module)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            return self._loss_of(net(inputs).float(), targets)

        def whole(indices: Tensor) -> Tensor:
            return loss(*self._batches.take(indices))

        made = torch.compile(whole if self._batches.on_device else loss, dynamic=False)

        def run(indices: Tensor) -> Tensor:
            with precision():
                return made(indices) if self._batches.on_device else made(*self._batches.take(indices))

        return run


def _sum_of_squares(module: nn.Module) -> Tensor:
    """Of all parameters, each counted once even if layers share it; as one kernel, not one a parameter."""
    return torch.cat([parameter.flatten() for parameter in module.parameters()]).square().sum()
