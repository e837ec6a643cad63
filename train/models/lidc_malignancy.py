"""Malignant or not, from a slice of a real nodule and its extent: a small 2-D net, beside chapter 14's 3-D net."""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Target
from edgekit.train.data import lidc_malignancy
from edgekit.train.data.ct import AIR_HU, CLIP_HU
from edgekit.train.extra_metrics import RankingMetrics
from edgekit.train.models.luna_malignancy import LABELS

MEASURED = 7


class SliceNet(nn.Module):
    """(N, 2, 64, 64) from -1000 to 1000 to logits (N, 2): benign, malignant; 23,630 parameters by default.

    The channels are the slice in Hounsfield units and a disc with the nodule's area. The size of a nodule says much, so
    every pixel is 0.7 mm wide, and nothing is averaged over places before the linear layers.

    Args:
        width: channels of the last two convolutions; the first has a quarter of them, the second half.
        measured: feed `measurements` to the last layers too.
    """

    def __init__(self, width: int = 32, dropout: float = 0.3, measured: bool = False) -> None:
        super().__init__()
        numbers = MEASURED if measured else 0
        self.measured = measured
        self.input_batchnorm = nn.BatchNorm2d(2)
        self.conv1 = nn.Conv2d(2, width // 4, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm2d(width // 4)
        self.conv2 = nn.Conv2d(width // 4, width // 2, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, kernel_size=3, padding=1)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv4 = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.norm4 = nn.BatchNorm2d(width)
        self.measured_norm = nn.BatchNorm1d(numbers) if measured else nn.Identity()
        self.fc1 = nn.Linear(width * 4 * 4 + numbers, 16)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(16 + numbers, 2)

    def forward(self, x: Tensor) -> Tensor:
        numbers = self.measured_norm(measurements(x)) if self.measured else x  # (N, 7)
        x = self.input_batchnorm(x)
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)  # (N, 8, 32, 32)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)  # (N, 16, 16, 16)
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)  # (N, 32, 8, 8)
        x = F.max_pool2d(F.relu(self.norm4(self.conv4(x))), 2)  # (N, 32, 4, 4)
        x = x.flatten(1)
        x = self.dropout(F.relu(self.fc1(torch.cat([x, numbers], 1) if self.measured else x)))
        return self.fc2(torch.cat([x, numbers], 1) if self.measured else x)


def measurements(x: Tensor) -> Tensor:
    """What a radiologist would measure, (N, 7), from slice and disc, (N, 2, H, W).

    Logarithm of the disc's area in pixels; mean and deviation of the density in it, in kHU; mean density in a ring of
    four pixels around it; how much of the disc and of the ring is solid, above -300 HU; and how much of the disc is
    calcified, above 200 HU.
    """
    density, inside = x[:, 0:1] / 1000, x[:, 1:2] / 2000 + 0.5
    # First along one side, then along the other: the same as nine by nine at once, but several times faster.
    tall = F.max_pool2d(inside, (9, 1), stride=1, padding=(4, 0))
    ring = F.max_pool2d(tall, (1, 9), stride=1, padding=(0, 4)) - inside
    # From x itself, not from `inside`: in int8 the area stays exact, and XNNPACK cannot lower a quantized tensor that
    # is used both by its own pooling and by an operator outside of it.
    area = (x[:, 1].sum((1, 2)) / 2000 + x.shape[2] * x.shape[3] / 2).clamp(min=1)
    around = ring.sum((1, 2, 3)).clamp(min=1)
    solid, chalk = torch.sigmoid((density + 0.3) * 20), torch.sigmoid((density - 0.2) * 20)
    mean = (inside * density).sum((1, 2, 3)) / area
    square = (inside * density * density).sum((1, 2, 3)) / area
    numbers = [
        area.log(),
        mean,
        (square - mean * mean).clamp(min=1e-6).sqrt(),
        (ring * density).sum((1, 2, 3)) / around,
        (inside * solid).sum((1, 2, 3)) / area,
        (ring * solid).sum((1, 2, 3)) / around,
        (inside * chalk).sum((1, 2, 3)) / area,
    ]
    return torch.stack(numbers, dim=1)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What `experiments/lidc/search.py` compares."""

    softness: str = "hard"
    """Of the training targets: a name in `lidc_malignancy.SOFTNESS`."""
    augment: Literal["affine", "rigid"] = "affine"
    """As in `FitConfig`."""
    measured: bool = False
    """As in `SliceNet`."""
    width: int = 32
    """As in `SliceNet`."""
    dropout: float = 0.3
    """As in `SliceNet`."""
    weight_decay: float = 1e-4
    """As in `FitConfig`."""
    epochs: int = 20
    """As in `FitConfig`."""


SETTINGS: dict[str, Setting] = {
    f"{softness}, {augment}{', measured' if measured else ''}": Setting(
        softness=softness, augment=augment, measured=measured
    )
    for softness in lidc_malignancy.SOFTNESS
    for augment in ("affine", "rigid")
    for measured in (False, True)
} | {
    "soft, rigid, measured, 40 epochs": Setting(softness="soft", augment="rigid", measured=True, epochs=40),
    "soft, rigid, measured, width 64": Setting(softness="soft", augment="rigid", measured=True, width=64),
    "soft, rigid, measured, dropout 0.6": Setting(softness="soft", augment="rigid", measured=True, dropout=0.6),
    "soft, rigid, measured, decay 3e-3": Setting(softness="soft", augment="rigid", measured=True, weight_decay=3e-3),
    "soft, rigid, measured, 8 epochs": Setting(softness="soft", augment="rigid", measured=True, epochs=8),
    "soft, rigid, measured, 4 epochs": Setting(softness="soft", augment="rigid", measured=True, epochs=4),
    "linear, rigid, measured, 8 epochs": Setting(softness="linear", augment="rigid", measured=True, epochs=8),
    "soft, affine, measured, 8 epochs": Setting(softness="soft", augment="affine", measured=True, epochs=8),
}


# The best of results/lidc-malignancy-search.json.
CHOSEN = "soft, rigid, measured"


def model_of(setting: Setting) -> BookModel:
    """The model with this setting."""
    return replace(
        _BASE,
        build=partial(SliceNet, setting.width, setting.dropout, setting.measured),
        data=partial(lidc_malignancy.malignancy, setting.softness),
        fit=replace(_BASE.fit, augment=setting.augment, weight_decay=setting.weight_decay, epochs=setting.epochs),
    )


_BASE = BookModel(
    name="lidc_malignancy",
    chapter=0,
    summary="malignant or not, one slice of a real nodule of LIDC-IDRI, 64 x 64, and its extent: a small 2-D net",
    task="classification",
    build=SliceNet,
    data=lidc_malignancy.malignancy,
    normalization=None,
    preprocessing=None,
    takes=TensorSpec(name="slice_and_disc", dtype="float32", shape=(1, 2, lidc_malignancy.SIDE, lidc_malignancy.SIDE)),
    clip=(AIR_HU, CLIP_HU),
    labels=LABELS,
    # No epoch is picked by the validation nodules: there are too few to choose by them and judge on them too.
    fit=FitConfig(
        epochs=20,
        batch_size=32,
        learning_rate=2e-3,
        optimizer="adam",
        weight_decay=1e-4,
        schedule="one_cycle",
        cpu_threads=1,
        augment="affine",
    ),
    crops=True,
    extra_metrics=RankingMetrics,
    target=Target(
        metric="auc",
        value=0.899,
        source="edgekit's own aim: what the diameter alone has on the same nodules",
    ),
)

MODEL = model_of(SETTINGS[CHOSEN])
