"""Batches of CT crops from a store: balanced by kind, turned and noised on the device, one affine map a sample.

Crops stay where they are, usually on disk, and only those of a batch are read. All draws follow from (seed, epoch) and
the place in the epoch, so that several processes that share a batch see the same crops.
Sources: chapter 12, `getCtAugmentedCandidate`; chapter 13, `SegmentationAugmentation`; chapter 14, `augment3d`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.train.book_model import FitConfig
from edgekit.train.dataset import Split
from edgekit.train.loop.batches import epoch_seed

OFFSET, SCALE, NOISE_HU = 0.1, 0.2, 25.0  # the book's: a share of half a crop, of 1, and a standard deviation
NODULE_OR_NOT = (1, 0)  # a repeating pattern of kinds, as `Split.kinds` has them: every other sample is a nodule
MALIGNANT_OR_NOT = (1, 2, 0, 2)  # benign, malignant, no nodule, malignant: chapter 14
PATTERNS: dict[str, tuple[int, ...]] = {"nodules": NODULE_OR_NOT, "malignancy": MALIGNANT_OR_NOT}


class CropBatches:
    """Training samples of a split of CT crops, as the current epoch draws and augments them.

    Inputs (N, 1, D, H, W), or (N, C, H, W) with masks (N, 1, H, W), which are moved alike; of any number type.

    Args:
        split: arrays, memory-mapped or not. Balancing goes by its `kinds`, or by its targets where it has none.
        config: its `seed`, `batch_size`, `epoch_samples`, `balance` and `augment` are used.
        inputs: what cuts raw values to the model's range, in float32.

    Raises:
        ValueError: the split has no samples of a kind that the balance needs.
    """

    on_device = False

    def __init__(self, split: Split, config: FitConfig, *, inputs: nn.Module, device: torch.device | str) -> None:
        self._split, self._config, self._device = split, config, torch.device(device)
        self._inputs = inputs.to(device)
        self._has_masks = split.targets.ndim == 4
        self._axes = split.inputs.ndim - 2  # 3 for crops, 2 for slices
        self._length = config.epoch_samples or len(split)
        kinds = split.targets if split.kinds is None else split.kinds
        self._of_kind = {}
        for kind in PATTERNS.get(config.balance, ()):
            self._of_kind[kind] = np.flatnonzero(kinds == kind)
            if not len(self._of_kind[kind]):
                raise ValueError(f"balancing {config.balance} needs samples of kind {kind}, and there are none")
        self._rows = np.zeros(0, np.int64)
        self._maps = torch.zeros(0)
        self._epoch = 0

    def __len__(self) -> int:
        return self._length

    def begin(self, epoch: int) -> Tensor:
        """Draws for `epoch`, counted from 1, and returns the places in it, (L,) int64."""
        self._epoch = epoch
        generator = torch.Generator().manual_seed(epoch_seed(self._config.seed, epoch))
        self._rows = self._draw_rows(generator)
        if self._config.augment != "none":
            self._maps = self._draw_maps(generator)
        return torch.arange(self._length)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at places `indices` of the epoch, (B,): inputs (B, ...) float32 and targets, on the device."""
        places = indices.cpu()
        rows = self._rows[places.numpy()]
        inputs = self._inputs(self._sent(self._split.inputs[rows]))
        targets = self._sent(self._split.targets[rows])
        if self._config.augment == "none":
            return inputs, targets
        grid = F.affine_grid(
            self._maps[places].to(self._device), [len(rows), 1, *inputs.shape[2:]], align_corners=False
        )
        # Outside the crop its border is repeated, as in the book.
        inputs = F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
        if self._has_masks:
            moved = F.grid_sample(targets.float(), grid, padding_mode="border", align_corners=False)
            targets = (moved > 0.5).float()
        if self._noisy:
            generator, seed = torch.Generator(self._device), epoch_seed(self._config.seed, self._epoch)
            for sample, place in zip(inputs, places.tolist(), strict=True):  # the same noise in whichever process
                generator.manual_seed(seed ^ place)
                sample += NOISE_HU * torch.randn(sample.shape, generator=generator, device=self._device)
        return inputs, targets

    def some(self) -> Tensor:
        """The first few inputs, as the current epoch augments them."""
        return self.take(torch.arange(min(16, self._length)))[0]

    @property
    def _noisy(self) -> bool:
        """The book's `augment3d` of chapter 14 leaves noise out; its U-Net of chapter 13 has it."""
        return self._config.augment in ("affine", "rigid") or self._axes == 2

    def _sent(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self._device.type == "cuda":  # from pinned memory the copy runs beside Python
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor

    def _draw_rows(self, generator: torch.Generator) -> np.ndarray:
        """(L,) rows of the split: shuffled, or kinds in their pattern, each kind shuffled and repeated as needed."""
        pattern = PATTERNS.get(self._config.balance)
        if not pattern:
            turns = -(-self._length // len(self._split))
            orders = [torch.randperm(len(self._split), generator=generator) for _ in range(turns)]
            return torch.cat(orders)[: self._length].numpy()
        rows = np.zeros(self._length, np.int64)
        places = np.arange(self._length)
        for kind, members in self._of_kind.items():
            mine = places[np.array(pattern)[places % len(pattern)] == kind]
            order = members[torch.randperm(len(members), generator=generator).numpy()]
            rows[mine] = np.resize(order, len(mine))
        # Mixed within each batch: of the processes that share it, none should get all the nodules.
        within = places // self._config.batch_size + torch.rand(self._length, generator=generator).numpy()
        return rows[np.argsort(within)]

    def _draw_maps(self, generator: torch.Generator) -> Tensor:
        """(L, axes, axes + 1) float32: where each voxel of a sample comes from, in grid units of -1 to 1.

        "rigid" does not scale: a nodule keeps its size. "book" repeats what chapters 13 and 14 do: one map for a whole
        batch, no offset (both write it where it is not read), and no scale for 3-D crops.
        """
        book = self._config.augment == "book"
        count = -(-self._length // self._config.batch_size) if book else self._length
        axes = self._axes

        def spread(limit: float) -> Tensor:
            return limit * (2 * torch.rand(count, axes, generator=generator) - 1)

        sides = 1 - 2.0 * torch.randint(0, 2, (count, axes), generator=generator)
        if self._config.augment == "affine" or (book and axes == 2):
            sides = sides * (1 + spread(SCALE))
        turn = 2 * math.pi * torch.rand(count, generator=generator)
        rotation = torch.eye(axes).repeat(count, 1, 1)  # of columns and rows, the grid's first two axes
        rotation[:, 0, 0] = rotation[:, 1, 1] = turn.cos()
        rotation[:, 1, 0] = turn.sin()
        rotation[:, 0, 1] = -turn.sin()
        offset = torch.zeros(count, axes, 1) if book else spread(OFFSET)[:, :, None]
        maps = torch.cat([torch.diag_embed(sides) @ rotation, offset], dim=2)
        return maps.repeat_interleave(self._config.batch_size, 0)[: self._length] if book else maps
