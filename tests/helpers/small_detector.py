"""A tiny detector that is right by construction, its pictures, and a bundle of it: bright blocks on a dark ground."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIDE, BLOCK = 16, 4
LABELS = ("block", "nothing like it")


class Blocks(nn.Module):
    """(N, 1, 16, 16) from 0 to 1, to logits (N, 16, 2) and boxes (N, 16, 4): where a window of 4 x 4 pixels is bright.

    The second label is never found.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bright = nn.Conv2d(1, 2, BLOCK, stride=BLOCK)
        self.moved = nn.Conv2d(1, 4, BLOCK, stride=BLOCK)
        with torch.no_grad():
            self.bright.weight[0], self.bright.weight[1] = 20 / BLOCK**2, -20 / BLOCK**2
            self.bright.bias.copy_(torch.tensor([-10.0, -10.0]))
            self.moved.weight.mul_(0.01)
            self.moved.bias.zero_()
        top, left = torch.meshgrid(torch.arange(0.0, SIDE, BLOCK), torch.arange(0.0, SIDE, BLOCK), indexing="ij")
        corners = torch.stack([left, top], -1).reshape(-1, 2)
        self.register_buffer("windows", torch.cat([corners, corners + BLOCK], 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes = self.windows - self.moved(x).flatten(2).transpose(1, 2)
        return self.bright(x).flatten(2).transpose(1, 2), boxes


def build() -> nn.Module:
    torch.manual_seed(0)
    return Blocks()


def swapped() -> nn.Module:
    """Boxes first, and another output between."""

    class Swapped(Blocks):
        def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            scores, boxes = super().forward(x)
            return {"where": boxes, "mean": x.mean((1, 2, 3)), "sure": scores.sigmoid()}

    torch.manual_seed(0)
    return Swapped()


def blocks(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 16, 16, 1) uint8, and what is true, (N, 3, 6) float32: one to three blocks each."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 40, (count, SIDE, SIDE, 1), np.uint8)
    truth = np.zeros((count, 3, 6), np.float32)
    truth[..., 0] = -1
    for i in range(count):
        for k, place in enumerate(draw.permutation(16)[: draw.integers(1, 4)]):
            x, y = int(place) % 4 * BLOCK, int(place) // 4 * BLOCK
            pixels[i, y : y + BLOCK, x : x + BLOCK] = draw.integers(180, 256)
            truth[i, k] = 0, 0, x, y, x + BLOCK, y + BLOCK
    return pixels, truth


def write_coco(folder: Path, pixels: np.ndarray, truth: np.ndarray, *, scale: int = 1) -> Path:
    """`folder`/coco.json and the pictures in `folder`/pictures, `scale` times as large."""
    (folder / "pictures").mkdir(parents=True)
    images, annotations = [], []
    for i, (one, rows) in enumerate(zip(pixels, truth, strict=True)):
        large = one[:, :, 0].repeat(scale, axis=0).repeat(scale, axis=1)
        Image.fromarray(large).save(folder / "pictures" / f"{i}.png")
        images.append({"id": 100 + i, "file_name": f"{i}.png", "width": large.shape[1], "height": large.shape[0]})
        for label, crowd, *box in rows.tolist():
            if label >= 0:
                left, top, right, bottom = (scale * edge for edge in box)
                entry = {"id": len(annotations) + 1, "image_id": 100 + i, "category_id": 7 if label else 3}
                annotations.append(entry | {"bbox": [left, top, right - left, bottom - top], "iscrowd": int(crowd)})
    categories = [{"id": 7, "name": LABELS[1]}, {"id": 3, "name": LABELS[0]}]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
