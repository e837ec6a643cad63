"""A PT2E observer whose range comes from `ranges.py`. Importing it takes torchao, which takes seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchao.quantization.pt2e import HistogramObserver

from .ranges import range_of


class RangeObserver(HistogramObserver):
    """Collects torchao's running histogram of a tensor, and picks the range from it by `method` of `ranges.METHODS`."""

    def __init__(self, *, method: str, **settings: Any):
        super().__init__(**settings)
        self.method = method

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, as every observer gives them."""
        low, high = self.min_val.item(), self.max_val.item()
        if low > high:  # nothing ever passed here
            return super().calculate_qparams()
        edges = np.linspace(low, high, self.bins + 1)
        start, stop = range_of(self.method, self.histogram.numpy(), edges, low, high)
        return self._calculate_qparams(torch.tensor(start), torch.tensor(stop))
