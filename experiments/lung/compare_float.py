"""What a bundle of the lung project's nets answers on real data, compared with its float net: whole slices, and crops.

Makes nothing and knows no recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.errors import MissingData
from edgekit.edge_runtime.machine.cpu import cores
from edgekit.optimize.deploy import DeployModel
from edgekit.train.data import lidc, luna_samples
from edgekit.train.data.ct import AIR_HU, CLIP_HU
from edgekit.train.data.scan_rows import CONTEXT
from edgekit.train.dataset import Split
from edgekit.train.nodules.analysis import THRESHOLD
from edgekit.train.nodules.bundles import BundleNet, Tiled

NEAR = (0.1, 0.5, 1.0)  # of a logit to zero, where a pixel is flagged from
SLICES = luna_samples.HELD_OUT[::3]  # whole slices of the CT, never calibrated on, that a U-Net is compared on
Net = Callable[[Tensor], Tensor]


def compare_float(folder: Path, model: DeployModel) -> dict[str, Any]:
    """How the bundle in `folder` differs from `model`: {"whole_slices": …} for a U-Net, {"crops": …} for a classifier.

    {} for other nets, and where the real data are not there.
    """
    try:
        with Bundle.open(folder) as bundle, torch.inference_mode():
            net = BundleNet(load(bundle, num_threads=cores()), bundle.manifest)
            if model.name == "luna_unet":
                _, _, height, width = bundle.manifest.inputs[0].shape
                hu = luna_samples.read_dicom().hu
                return {"whole_slices": compare_slices(Tiled(net, (height, width)), model.module, hu)}
            if model.name == "luna_classifier":
                return {"crops": compare_crops(net, model.module, lidc.crops_by_content())}
    except MissingData:
        pass
    return {}


def compare_slices(net: Net, float_net: Net, hu: np.ndarray) -> dict[str, Any]:
    """How many pixels of the slices `SLICES` of `hu` (D, H, W) the two nets flag differently."""
    flagged = differ = 0
    near = dict.fromkeys(NEAR, 0)
    for middle in SLICES:
        rows = np.clip(hu[middle - CONTEXT : middle + CONTEXT + 1], AIR_HU, CLIP_HU).astype(np.float32)
        batch = torch.from_numpy(rows)[None]
        float_answer = float_net(batch)
        here, there = net(batch) > THRESHOLD, float_answer > THRESHOLD
        logits = float_answer.double().logit().abs()
        flagged += int(there.sum())
        differ += int((here ^ there).sum())
        near = {width: count + int((logits < width).sum()) for width, count in near.items()}
    return {
        "data": f"slices {', '.join(map(str, SLICES))} of {luna_samples.DICOM_ORIGIN}, none of them calibrated on",
        "flagged_by_float": flagged,
        "differ": differ,
        "share": round(differ / max(1, flagged), 6),
        "float_logits_near_zero": {str(width): round(count / max(1, flagged), 6) for width, count in near.items()},
    }


def compare_crops(net: Net, float_net: Net, shown: Mapping[str, Split]) -> dict[str, Any]:
    """How many crops each of the two takes for nodules, by what the crops show, and how far their P are apart.

    `net` answers logits (N, 2); `float_net`, a deployed module, ends in its softmax.
    """
    counts = {}
    for what, split in shown.items():
        crops = torch.from_numpy(split.inputs)
        here = net(crops).double().softmax(1)[:, 1]
        there = float_net(crops).double()[:, 1]
        counts[what] = {
            "crops": len(split),
            "nodules": int((here > THRESHOLD).sum()),
            "nodules_by_float": int((there > THRESHOLD).sum()),
            "otherwise": int(((here > THRESHOLD) ^ (there > THRESHOLD)).sum()),
            "largest_change": round(float((here - there).abs().max()), 6),
        }
    return counts
