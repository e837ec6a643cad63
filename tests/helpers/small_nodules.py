"""Balls in a scan, and nets that answer as told: what the tests of `edgekit nodules` share."""

import numpy as np
import torch
from torch import nn

from edgekit.train.data.dicom import Volume
from edgekit.train.models.luna_classifier import LunaClassifier
from edgekit.train.models.luna_unet import LunaUNet

LUNG_HU = -860


def ball(shape, center, radius):
    return sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(map(slice, shape))], center, strict=True)) <= radius**2


def upright(hu, spacing_mm):
    """A scan along the patient's axes, its first voxel at their zero."""
    return Volume(
        hu=hu, spacing_mm=spacing_mm, origin_mm=(0, 0, 0), orientation=np.eye(3)[::-1].copy(), series_uid="any"
    )


def emptied(module):
    """The net with nothing learned: every convolution and bias zero, so that a test can set what it needs."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)):
                part.weight.zero_()
                part.bias.zero_()
    return module


def thresholding():
    """A real U-Net whose weights carry the middle slice to the end, where all above about -350 HU is flagged."""
    module = emptied(LunaUNet())
    first, last = module.unet.down_path[0].block, module.unet.up_path[-1].conv_block.block
    with torch.no_grad():
        first[0].weight[0, 3, 1, 1], first[0].bias[0] = 1, 400
        first[3].weight[0, 0, 1, 1] = last[3].weight[0, 0, 1, 1] = 1
        last[0].weight[0, 16, 1, 1] = 1  # after 16 channels from below comes the bridge
        module.unet.last.weight[0, 0], module.unet.last.bias[0] = 0.1, -5
    return module


def always(logit):
    module = emptied(LunaClassifier())
    module.head_linear.bias.data[1] = logit
    return module


class Middle(nn.Module):
    """Nodule where the crop's middle voxels are dense on average."""

    def forward(self, hu):
        dense = hu[:, 0, 14:18, 22:26, 22:26].mean((1, 2, 3)) / 100
        return torch.stack([torch.zeros_like(dense), dense], 1)


class Share(nn.Module):
    def forward(self, hu):
        return (hu > 0).float().mean(1, keepdim=True)
