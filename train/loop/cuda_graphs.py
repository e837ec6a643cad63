"""Training steps as CUDA graphs: recorded once, then replayed, a dozen at a time.

A small net's step is fifty short kernels, and Python and the driver take longer to launch them than they run. Source:
PyTorch's notes on CUDA semantics, "Whole-network capture". Knows no model, loss or schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_EAGER_BEFORE_GRAPH = 3  # steps in which cuDNN, the optimizer and the allocator settle


class RecordedSteps:
    """Steps of one batch size on a CUDA device; the first few are made eagerly and are part of training.

    Args:
        step: makes one step with the samples at (B,) int64 indices, changing everything in place.
        optimizer: its learning rates become tensors, where a recorded step finds them.
        rates: the full learning rate of each of its groups of parameters.
        batch_size: B.
        together: how many steps make one graph, if there are that many to do.
        scheduled: the learning rates change from step to step.
    """

    def __init__(
        self,
        step: Callable[[Tensor], None],
        optimizer: torch.optim.Optimizer,
        rates: Sequence[float],
        *,
        device: torch.device,
        batch_size: int,
        together: int,
        scheduled: bool,
    ) -> None:
        self._step, self._optimizer, self._rates = step, optimizer, rates
        self._together, self._scheduled = together, scheduled
        # Graphs read these: they are filled before each replay, never replaced.
        self._batches = torch.zeros(together, batch_size, dtype=torch.int64, device=device)
        self._factors = torch.ones(together, device=device)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = torch.tensor(rate, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._eager_steps = 0

    def make(self, batches: Tensor, factors: Tensor) -> int:
        """Makes the first of the given steps, and returns how many.

        Args:
            batches: (S, B) int64 indices on the device, a row a step.
            factors: (S,) float32 on the device, of the full learning rates.
        """
        eager = self._eager_steps < _EAGER_BEFORE_GRAPH
        count = self._together if len(batches) >= self._together and not eager else 1
        self._batches[:count].copy_(batches[:count])
        self._factors[:count].copy_(factors[:count])
        if eager:
            self._eager_steps += 1
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._steps(1)
            torch.cuda.current_stream().wait_stream(side)
            return 1
        if count not in self._graphs:
            self._graphs[count] = torch.cuda.CUDAGraph()
            self._optimizer.zero_grad()  # so that the recorded backward pass makes gradients in the graph's own memory
            with torch.cuda.graph(self._graphs[count]):
                self._steps(count)
        self._graphs[count].replay()
        return count

    def _steps(self, count: int) -> None:
        for i in range(count):
            if self._scheduled:
                for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                    torch.mul(self._factors[i], rate, out=group["lr"])
            self._step(self._batches[i])
