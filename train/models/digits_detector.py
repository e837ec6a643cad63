"""A small detector: which handwritten digits are on a canvas, and where. Our own design, without anchors, one scale.

Every fourth pixel across and down is a place that scores ten digits and says how far it is to the edges of the one it
lies on (FCOS, arXiv 1904.01355, at one scale).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing, Suppression
from edgekit.train.book_model import BookModel, FitConfig, Normalization, Target
from edgekit.train.data import digit_scenes

STRIDE = 4
_FIRST_DISTANCE = 8.0  # pixels from a place to each edge, before anything is learned
_FIRST_LOGIT = -4.0  # few places show a digit


class DigitsDetector(nn.Module):
    """(N, 1, 64, 64) float32 to logits (N, 256, 10) and boxes (N, 256, 4): left, top, right, bottom in pixels.

    In training the places (256, 2) come besides: x and y, row by row, for the loss. Boxes are the places less what the
    last layer gives: subtractions stay in float, where 8 bits would round a sum on the scale of the whole picture to a
    quarter of a pixel.
    """

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_layer(1, 16, stride=2),  # (N, 16, 32, 32)
            *_layer(16, 32, stride=2),  # (N, 32, 16, 16)
            *_layer(32, 32),
            *_layer(32, 32),
            *_layer(32, 32),
            *_layer(32, 32),  # each place sees 39 pixels across
        )
        self.scores = nn.Conv2d(32, len(digit_scenes.LABELS), kernel_size=1)
        self.distances = nn.Conv2d(32, 4, kernel_size=1)
        nn.init.constant_(self.scores.bias, _FIRST_LOGIT)  # type: ignore[arg-type]
        nn.init.normal_(self.distances.weight, std=0.01)
        with torch.no_grad():
            self.distances.bias.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0]) * _FIRST_DISTANCE)  # type: ignore[union-attr]
        along = (torch.arange(digit_scenes.SIDE // STRIDE) + 0.5) * STRIDE
        y, x = torch.meshgrid(along, along, indexing="ij")
        self.register_buffer("places", torch.stack([x, y], dim=-1).reshape(-1, 2), persistent=False)  # (256, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.body(x)
        logits = self.scores(x).flatten(2).transpose(1, 2)  # (N, 256, 10)
        distances = self.distances(x).flatten(2).transpose(1, 2)  # (N, 256, 4)
        boxes = torch.cat([self.places, self.places], dim=1) - distances
        return (logits, boxes, self.places) if self.training else (logits, boxes)


def _layer(inside: int, outside: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()


MODEL = BookModel(
    name="digits_detector",
    chapter=0,
    summary="handwritten digits on a canvas of 64 x 64 pixels, found and boxed; its data come with scikit-learn",
    task="detection",
    build=DigitsDetector,
    data=digit_scenes.digit_scenes,
    normalization=Normalization(mean=(0.1505,), std=(0.1621,)),  # of the training split
    preprocessing=ImagePreprocessing(
        kind="image",
        mode="L",
        height=digit_scenes.SIDE,
        width=digit_scenes.SIDE,
        resize="stretch",
        resize_to=digit_scenes.SIDE,
        interpolation="bilinear",
        in_graph=("uint8 (N, H, W, C) to float32 (N, C, H, W)", "pixel / 255, minus the mean, over the std"),
        expects="one to five handwritten digits, bright strokes on black, each about a third of the picture high",
    ),
    labels=digit_scenes.LABELS,
    suppression=Suppression(score_threshold=0.05, iou_threshold=0.5, max_detections=20),
    fit=FitConfig(epochs=14, batch_size=32, learning_rate=2e-3, optimizer="adam", schedule="one_cycle", cpu_threads=1),
    target=Target(metric="mean_average_precision", value=0.8, source="edgekit's own aim; the book has no detector"),
)
