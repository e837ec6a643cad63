"""A model whose weights want their pictures otherwise than its library feeds them, as a user's module of few lines.

These weights of MobileNetV2 come from a TensorFlow Lite file: they take pixels from -1 to 1, and pictures turned by 180
degrees, because the two libraries pad differently. Both go into `forward`, so that no device has to know of it.

    edgekit optimize examples/mobilenet_v2_tf2.py:build --weights mobilenet_v2_tf2_torchvision_rot180.pth \\
        --sample-shape 1,3,224,224 --resize-to 256 --calibration DIR --validation val.csv --labels imagenet_labels.txt
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import MobileNetV2


class TurnedMobileNetV2(MobileNetV2):
    """(N, 3, 224, 224) float32 from 0 to 1, to logits (N, 1000)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 2 - 1).flip(2, 3))


def build() -> nn.Module:
    return TurnedMobileNetV2()
