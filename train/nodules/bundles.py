"""The nets of `edgekit nodules` as bundles: each has the inputs and outputs of its float net, through `edge_runtime`.

A bundle's sides are fixed, and a scan's slice is larger: the U-Net sees it in tiles, and only their middles count.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.command_line import command_line
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.engines.engine import Engine
from edgekit.edge_runtime.errors import EdgekitError, InputError, UsageError
from edgekit.edge_runtime.machine.cpu import cores
from edgekit.train.data.scan_rows import SEGMENT
from edgekit.train.models.luna_classifier import CROP
from edgekit.train.nodules.analysis import Nets

MODELS = {"segmenter": "luna_unet", "classifier": "luna_classifier", "malignancy": "luna_malignancy"}
SEES = 24  # how far around a pixel the U-Net's answer depends on others (22), rounded up to a multiple of its pooling
_LOG = logging.getLogger(__name__)


class Tiled(nn.Module):
    """Makes of a U-Net for tiles of (height, width) one for slices of any larger size: (N, 7, H, W) to (N, 1, H, W).

    The answer is that of the net on the whole slice: a tile counts only where its own border is out of sight, or is
    the slice's border too. H and W are multiples of 4, as the net requires.

    Raises:
        InputError: when called with slices smaller than a tile, or with sides that are not multiples of 4.
    """

    def __init__(self, net: nn.Module, sides: tuple[int, int]) -> None:
        super().__init__()
        if any(side <= 2 * SEES or side % 4 for side in sides):
            raise UsageError(
                f"tiles of {sides[0]} x {sides[1]} pixels are too small: no pixel is far enough from the border. Pack "
                f"luna_unet for sides that are multiples of 4 above {2 * SEES}"
            )
        self.net, self.sides = net, sides

    def forward(self, hu: Tensor) -> Tensor:
        count, _, *whole = hu.shape
        if any(there < side or there % 4 for there, side in zip(whole, self.sides, strict=True)):
            raise InputError(
                f"slices of {whole[0]} x {whole[1]} pixels cannot be cut into the bundle's tiles of "
                f"{self.sides[0]} x {self.sides[1]}. Give a scan that is at least as large"
            )
        answer = hu.new_empty((count, 1, *whole))
        rows, columns = (_tiles(there, side) for there, side in zip(whole, self.sides, strict=True))
        for row, top, bottom in rows:
            for column, left, right in columns:
                tile = hu[:, :, row : row + self.sides[0], column : column + self.sides[1]]
                inner = self.net(tile)[:, :, top - row : bottom - row, left - column : right - column]
                answer[:, :, top:bottom, left:right] = inner
        return answer


def _tiles(whole: int, side: int) -> list[tuple[int, int, int]]:
    """Where each tile along a side begins, and from where to where it counts; together they cover the side once."""
    starts = [*range(0, whole - side, side - 2 * SEES), whole - side]
    seams = [0, *(start + SEES for start in starts[1:]), whole]
    return list(zip(starts, seams[:-1], seams[1:], strict=True))


class BundleNet(nn.Module):
    """A loaded bundle with one input and one output, called row by row with tensors; `probabilities` become logits."""

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        super().__init__()
        (self._takes,), (self._gives,) = manifest.inputs, manifest.outputs
        self._engine = engine

    def forward(self, hu: Tensor) -> Tensor:
        rows = hu.numpy().astype(self._takes.dtype, copy=False)
        answers = [self._engine.run({self._takes.name: row[None]})[self._gives.name] for row in rows]
        answer = torch.from_numpy(np.concatenate(answers))
        if self._gives.name == "probabilities":  # the softmax of their logarithms gives them back
            answer = answer.clamp_min(torch.finfo(answer.dtype).tiny).log()
        return answer


def choose_bundles(root: Path) -> dict[str, Path]:
    """The bundle of each net in the folder `root`, by the names of `Nets`; malignancy only if there is one.

    Raises:
        UsageError: the U-Net or the classifier is missing, or there are two bundles of one net.
        BundleError: no such folder, or a bundle in it is damaged.
    """
    by_net: dict[str, list[Path]] = {net: [] for net in MODELS}
    for path in find_bundles(root):
        with Bundle.open(path) as bundle:
            for net, model in MODELS.items():
                if bundle.manifest.model == model:
                    by_net[net].append(path)
    for net, paths in by_net.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise UsageError(
                f"{root} holds {len(paths)} bundles of {MODELS[net]}: {names}. Keep only one of them there"
            )
        if not paths and net != "malignancy":
            raise UsageError(
                f"{root} holds no bundle of {MODELS[net]}. Make one: {command_line('optimize', MODELS[net])}"
            )
    return {net: paths[0] for net, paths in by_net.items() if paths}


def load_bundle_nets(bundles: Mapping[str, Bundle]) -> Nets:
    """Loads the bundles of `choose_bundles`; raises like `edge_runtime.load_engine`, `UsageError` for other nets."""
    nets: dict[str, nn.Module] = {}
    for net, bundle in bundles.items():
        manifest = bundle.manifest
        sides = _sides(bundle)
        wanted = (1, SEGMENT[0], *sides[2:]) if net == "segmenter" else (1, 1, *CROP)
        if sides != wanted:
            raise UsageError(
                f"{bundle.source} takes {list(sides)}, but the {net} has to take {list(wanted)}. "
                f"Pack {MODELS[net]} again"
            )
        if not bundle.verified:
            _LOG.warning("%s is %s: nobody has verified its answers", bundle.source, manifest.status)
        made = BundleNet(load(bundle, num_threads=cores()), manifest)
        nets[net] = Tiled(made, (sides[2], sides[3])) if net == "segmenter" else made
    try:
        return Nets(**nets)
    except TypeError:
        raise EdgekitError(f"a segmenter and a classifier are needed, found {', '.join(nets) or 'none'}") from None


def _sides(bundle: Bundle) -> tuple[int, ...]:
    manifest = bundle.manifest
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1 or len(manifest.inputs[0].shape) < 4:
        raise UsageError(
            f"{bundle.source} is not a net for scans: it needs one input of at least four axes, and one output"
        )
    return manifest.inputs[0].shape
