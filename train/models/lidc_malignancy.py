"""Malignant or not, from a slice of a real nodule and its extent: a small 2-D net beside chapter 14's 3-D one."""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.manifest import TensorSpec
from train.book_model import BookModel, FitConfig, Target
from train.data import lidc_malignancy
from train.data.ct import AIR_HU, CLIP_HU
from train.models.luna_malignancy import LABELS
from train.nodule_figures import Ranking


class SliceNet(nn.Module):
    """(N, 2, 64, 64) from -1000 to 1000 to logits (N, 2): benign, malignant; 23,630 parameters.

    The channels are the slice in Hounsfield units and the disc of the nodule's area. The size of a nodule says much, so
    every pixel is 0.7 mm and all places are kept to the end, where dropout is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_batchnorm = nn.BatchNorm2d(2)
        self.conv1 = nn.Conv2d(2, 8, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.norm3 = nn.BatchNorm2d(32)
        self.conv4 = nn.Conv2d(32, 32, kernel_size=3, padding=1)
        self.norm4 = nn.BatchNorm2d(32)
        self.fc1 = nn.Linear(32 * 4 * 4, 16)
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_batchnorm(x)
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)  # (N, 8, 32, 32)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)  # (N, 16, 16, 16)
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)  # (N, 32, 8, 8)
        x = F.max_pool2d(F.relu(self.norm4(self.conv4(x))), 2)  # (N, 32, 4, 4)
        return self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))


MODEL = BookModel(
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
    # No epoch is picked by the validation nodules: there are too few of them to be chosen by and judged on.
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
    figures=Ranking,
    target=Target(
        metric="auc",
        value=0.899,
        source="edgekit's own aim: what the diameter alone has on the same nodules",
    ),
)
