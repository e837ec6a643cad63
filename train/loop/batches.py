"""The training data on the device, and the batches of an epoch: in random order, pictures mirrored and moved at random.

Nothing is done sample by sample: an epoch's draws are made at once, and one gather picks, moves and mirrors a batch.
All draws follow from (seed, epoch) alone. Knows no model and no loss.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.train.book_model import FitConfig


class BatchSource(Protocol):
    """What a trainer draws from: `begin` an epoch, then `take` pieces of the order that it returned."""

    on_device: bool
    """`take` works on the device alone, so that it can be part of a recorded step."""

    def __len__(self) -> int: ...

    def begin(self, epoch: int) -> Tensor: ...

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]: ...

    def some(self) -> Tensor: ...


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch; hashed, so that epochs of neighbouring seeds have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:8], "big") >> 1


class Batches:
    """Training samples by index, each as the current epoch augments it.

    Args:
        inputs, targets: on the device, as `on_device` makes them; pictures are (N, C, H, W).
        config: its `seed`, `flip`, `translate` and `channels_last` are used.

    Raises:
        ValueError: `flip` or `translate` for inputs that are not pictures.
    """

    on_device = True

    def __init__(self, inputs: Tensor, targets: Tensor, config: FitConfig) -> None:
        self._config = config
        self._targets = targets
        self._augmented = config.flip != "never" or config.translate > 0
        if self._augmented and inputs.ndim != 4:
            raise ValueError(f"flip and translate need pictures (N, C, H, W), not inputs of {list(inputs.shape)}")
        self._by_pixel = inputs.ndim == 4 and (config.channels_last or self._augmented)  # stored as (N, H, W, C)
        if not self._by_pixel:
            self._inputs = inputs
            return
        self._height, self._width = inputs.shape[2:]
        if config.translate:  # the gap beside a moved picture is filled with its own mirror image
            inputs = F.pad(inputs, (config.translate,) * 4, mode="reflect")
        self._inputs = inputs.permute(0, 2, 3, 1).contiguous()
        if self._augmented:
            device, count = inputs.device, len(inputs)
            self._row, self._column = (torch.arange(size, device=device) for size in (self._height, self._width))
            # Filled anew for each epoch and never replaced: a CUDA graph reads them where they are.
            self._down, self._right = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(2))
            self._mirrored = torch.zeros(count, dtype=torch.bool, device=device)

    def __len__(self) -> int:
        return len(self._targets)

    def begin(self, epoch: int) -> Tensor:
        """Draws for `epoch`, counted from 1, and returns the order of the samples, (N,) int64 on the device."""
        drawn = epoch_seed(self._config.seed, epoch)
        # Drawn on the CPU, so that every device and every process trains in the same order.
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(drawn))
        if self._augmented:
            self._draw(torch.Generator(self._inputs.device).manual_seed(drawn), epoch)
        return order.to(self._inputs.device)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at `indices`, (B,) int64 on the device: inputs (B, ...) and targets."""
        targets = self._targets.index_select(0, indices)
        if not self._by_pixel:
            return self._inputs[indices], targets
        pixels = self._augment(indices) if self._augmented else self._inputs.index_select(0, indices)
        inputs = pixels.permute(0, 3, 1, 2)  # (B, C, H, W), in memory still by pixel, which is channels_last
        return (inputs if self._config.channels_last else inputs.contiguous()), targets

    def some(self) -> Tensor:
        """The first few inputs, as the current epoch augments them."""
        return self.take(torch.arange(min(16, len(self)), device=self._inputs.device))[0]

    def _draw(self, generator: torch.Generator, epoch: int) -> None:
        moves = 2 * self._config.translate + 1  # 1: nothing is moved
        for shift in (self._down, self._right):
            shift.random_(0, moves, generator=generator)
        if self._config.flip == "random":
            self._mirrored.random_(0, 2, generator=generator)
        elif self._config.flip == "alternating":
            # Each picture is seen from both sides in turn, from a first side of its own (arXiv 2404.00498).
            first = torch.Generator(self._inputs.device).manual_seed(epoch_seed(self._config.seed, 0))
            self._mirrored.random_(0, 2, generator=first)
            if epoch % 2:
                self._mirrored.logical_not_()

    def _augment(self, indices: Tensor) -> Tensor:
        rows = self._down[indices, None] + self._row  # (B, H)
        column = torch.where(self._mirrored[indices, None], self._column.flip(0), self._column)
        columns = self._right[indices, None] + column  # (B, W)
        return self._inputs[indices[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
