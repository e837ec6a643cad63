"""Lookahead: every few steps the weights are pulled back towards a slow average of themselves.

The average weighs more and more as training proceeds, so that the run ends on it. Source: Zhang et al., Lookahead
Optimizer, 2019; the growing hold follows what arXiv 2404.00498 describes. Knows no optimizer and no schedule.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Lookahead:
    """Holds the slow weights of `module`: all its floating-point state, running statistics too.

    Args:
        every: after how many steps the weights are pulled.
        steps: of the whole run.
        slow: the slow weights of the run that is resumed.
    """

    HOLD = 0.95

    def __init__(self, module: nn.Module, *, every: int, steps: int, slow: Mapping[str, Tensor] | None = None) -> None:
        fast = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
        self._fast = list(fast.values())
        self._slow = [(slow or fast)[name].detach().to(value.device, copy=True) for name, value in fast.items()]
        self._names = list(fast)
        self._every, self._steps = every, steps

    def after(self, step: int) -> None:
        """Call it after each step, counted from 0. After the last step the weights are the slow ones."""
        with torch.no_grad():
            if step + 1 == self._steps:
                torch._foreach_copy_(self._fast, self._slow)
            elif (step + 1) % self._every == 0:
                hold = self.HOLD**self._every * ((step + 1) / self._steps) ** 3
                torch._foreach_lerp_(self._slow, self._fast, 1 - hold)
                torch._foreach_copy_(self._fast, self._slow)

    def state(self) -> dict[str, Tensor]:
        """The slow weights by name, for the resume state."""
        return dict(zip(self._names, self._slow, strict=True))
