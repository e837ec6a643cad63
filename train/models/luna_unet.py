"""Which pixels of a CT slice belong to a nodule? The book's U-Net of chapter 13."""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Target
from edgekit.train.data import luna_samples, luna_sets
from edgekit.train.data.ct import AIR_HU, CLIP_HU
from edgekit.train.data.scan_rows import SEGMENT
from edgekit.train.extra_metrics import PixelMetrics
from edgekit.train.models.luna_classifier import init_weights

LABELS = ("share of the pixels in a nodule",)


class ConvBlock(nn.Module):
    """Twice a 3 x 3 convolution, ReLU and batch norm; height and width stay the same."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for taken in (inputs, outputs):
            layers += [nn.Conv2d(taken, outputs, kernel_size=3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class UpBlock(nn.Module):
    """Doubles the size by a transposed convolution, then a `ConvBlock` on that and the bridge from the way down."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.conv_block = ConvBlock(inputs, outputs)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        up = self.up(x)
        top, left = (bridge.shape[2] - up.shape[2]) // 2, (bridge.shape[3] - up.shape[3]) // 2
        bridge = bridge[:, :, top : top + up.shape[2], left : left + up.shape[3]]
        return self.conv_block(torch.cat([up, bridge], 1))


class UNet(nn.Module):
    """Ronneberger et al. 2015 (arXiv 1505.04597), as the book uses it: padded, with batch norm, average pooling.

    (N, `inputs`, H, W) to (N, 1, H', W'), where H' and W' are H and W rounded down to multiples of 2^(depth - 1).
    Level i has 2^(first + i) channels.
    """

    def __init__(self, inputs: int, depth: int, first: int) -> None:
        super().__init__()
        widths = [2 ** (first + level) for level in range(depth)]
        self.down_path = nn.ModuleList(map(ConvBlock, [inputs, *widths[:-1]], widths))
        self.up_path = nn.ModuleList(map(UpBlock, widths[:0:-1], widths[-2::-1]))
        self.last = nn.Conv2d(widths[0], 1, kernel_size=1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        bridges: list[Tensor] = []
        for i, down in enumerate(self.down_path):
            x = down(x if i == 0 else self.pool(x))
            bridges.append(x)
        for i, up in enumerate(self.up_path):
            x = up(x, bridges[-i - 2])
        return self.last(x)


class LunaUNet(nn.Module):
    """(N, 7, H, W) Hounsfield units from -1000 to 1000, a slice between three on each side, to its mask (N, 1, H, W).

    The mask has each pixel's probability of belonging to a nodule. H and W are multiples of 4; 118,271 parameters.
    Layer names are the book's, so that its published weights load. Source: chapter 13, `UNetWrapper`.

    Args:
        inputs, depth, first: 8, 4, 3 make the net of the checkpoint of June 2019, with 121,905 parameters.
    """

    def __init__(self, inputs: int = 7, depth: int = 3, first: int = 4) -> None:
        super().__init__()
        self.input_batchnorm = nn.BatchNorm2d(inputs)
        self.unet = UNet(inputs, depth, first)
        init_weights(self)

    def forward(self, hu: Tensor) -> Tensor:
        return torch.sigmoid(self.unet(self.input_batchnorm(hu)))


# The book keeps the epoch that is best by recall. A net that flags every pixel would win, and since the loss weighs
# misses eight times, training begins with such epochs. So ours is kept by F1.
MODEL = BookModel(
    name="luna_unet",
    chapter=13,
    summary="which pixels of a chest CT belong to a nodule, a slice of 96 x 96 pixels and six neighbours: the U-Net",
    task="segmentation",
    build=LunaUNet,
    data=luna_sets.segments,
    normalization=None,
    preprocessing=None,
    takes=TensorSpec(name="hu", dtype="float32", shape=(1, *SEGMENT)),
    clip=(AIR_HU, CLIP_HU),
    labels=LABELS,
    fit=FitConfig(
        epochs=20,
        batch_size=16,
        learning_rate=1e-3,
        optimizer="adam",
        epoch_samples=300_000,
        augment="affine",
        best_by="f1",
    ),
    crops=True,
    samples=luna_samples.slices,
    extra_metrics=PixelMetrics,
    gated="dice",  # one that flags every pixel has all of the recall
    target=Target(
        metric="recall",
        value=0.8423,
        source="Deep Learning with PyTorch, chapter 13: the share of nodule pixels found on whole slices, epoch 10",
    ),
)
