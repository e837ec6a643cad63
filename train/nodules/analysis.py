"""The book's analysis of a whole chest CT: flagged voxels, their groups, and which groups are nodules. Chapter 14.

Knows arrays and nets; `report.py` writes files. It is for study only: of the book's 2,288 findings in 89 scans, 2,156
were not nodules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from edgekit.edge_runtime.errors import EdgekitError, InputError, UsageError, unknown
from edgekit.train.checkpoint import load_weights
from edgekit.train.data.book import book_file
from edgekit.train.data.ct import AIR_HU, CLIP_HU, Index, crop
from edgekit.train.data.dicom import Volume
from edgekit.train.data.scan_rows import CONTEXT
from edgekit.train.models.luna_classifier import CROP, LunaClassifier
from edgekit.train.models.luna_malignancy import PUBLISHED as PUBLISHED_CLASSIFIER
from edgekit.train.models.luna_unet import LunaUNet

PUBLISHED_SEGMENTER = (
    "part2/models/seg_2020-01-26_19.45.12_w4d3c1-bal_1_nodupe-label_pos-d1_fn8-adam.best.state"  # epoch 5
)
THRESHOLD = 0.5  # of both nets
BOOK = "book"
_SLICES, _CROPS = 1, 4  # in one batch; more are slower on a CPU, because they do not fit into its cache
_MULTIPLE = 4  # of which the sides of the U-Net's input have to be multiples

OnProgress = Callable[[int, int], None]
Show = Callable[[str], AbstractContextManager[OnProgress]]  # as `edgekit.cli.terminal.progress`


@dataclass(frozen=True, kw_only=True)
class Nets:
    """The nets of an analysis."""

    segmenter: nn.Module
    """(N, 7, H, W) HU to probabilities (N, 1, H, W)."""
    classifier: nn.Module
    """(N, 1, 32, 48, 48) HU to logits (N, 2): no nodule, nodule."""
    malignancy: nn.Module | None = None
    """The same input to logits (N, 2): benign, malignant."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Flagged voxels that are connected."""

    center: tuple[float, float, float]
    """(slice, row, column), weighted by density."""
    voxels: int
    """How many. Those that erosion took from the group's surface count too."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A group that the classifier takes for a nodule."""

    number: int
    """1 is the most probable finding."""
    voxel: Index
    """(slice, row, column) of its centre, from 0."""
    center_mm: tuple[float, float, float]
    """The same place as (x, y, z) in the patient."""
    diameter_mm: float
    """Of a ball with as many voxels."""
    voxels: int
    """Of the group."""
    nodule: float
    """The probability that it is a nodule."""
    malignant: float | None
    """The probability that it is malignant; None without a malignancy net."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The result for one scan."""

    findings: tuple[Finding, ...]
    """The most probable first."""
    filtered_mm: tuple[tuple[float, float, float], ...]
    """(x, y, z) of the groups that are not findings."""
    flagged_voxels: int
    """How many voxels the segmenter flagged."""
    mask: np.ndarray = field(repr=False, compare=False)
    """(D, H, W) bool: the flagged voxels."""
    groups: int
    """How many groups they form."""
    most_probable: float | None
    """P(nodule) of the best group; None without groups."""
    seconds: dict[str, float]
    """By stage."""


def choose_weights(
    weights: str | None, *, segmenter: Path | None, classifier: Path | None, malignancy: Path | None
) -> dict[str, Path]:
    """The weight file of each net, by the names of `Nets`; without files, or with "book", the published ones.

    Raises:
        UsageError: a name other than "book", or only one of the two files.
        MissingData: the published checkpoints are missing; the message has the command that downloads them.
    """
    if weights not in (None, BOOK):
        raise unknown("weights", weights or "", [BOOK])
    if weights is None and (segmenter is None) != (classifier is None):
        given, absent = ("--segmenter", "--classifier") if segmenter else ("--classifier", "--segmenter")
        raise UsageError(f"{given} is only one of two nets. Add {absent} FILE, or --weights book for the other")
    if weights == BOOK and segmenter and classifier:
        raise UsageError("--weights book has no use beside --segmenter and --classifier: leave it out")
    chosen = {
        "segmenter": segmenter or book_file(PUBLISHED_SEGMENTER),
        "classifier": classifier or book_file(PUBLISHED_CLASSIFIER),
    }
    return chosen | ({"malignancy": malignancy} if malignancy else {})


def load_nets(paths: Mapping[str, Path]) -> Nets:
    """The book's nets with the weights of `choose_weights`; raises like `load_weights`."""
    segmenter, classifier = LunaUNet(), LunaClassifier()
    load_weights(segmenter, paths["segmenter"])
    load_weights(classifier, paths["classifier"])
    malignancy = None
    if "malignancy" in paths:
        malignancy = LunaClassifier()
        load_weights(malignancy, paths["malignancy"])
    return Nets(segmenter=segmenter, classifier=classifier, malignancy=malignancy)


@contextmanager
def _silent(_: str) -> Iterator[OnProgress]:
    yield lambda done, total: None


def analyse(volume: Volume, nets: Nets, *, show: Show = _silent) -> Analysis:
    """Segments every slice, groups the flagged voxels, classifies each group. Source: chapter 14, `nodule_analysis`.

    Args:
        volume: HU need not be clipped.
        show: given a label, a context that yields the function to call with done and total.

    Raises:
        InputError: the scan is smaller than a crop.
        EdgekitError: a net answers NaN.
    """
    shape = volume.hu.shape
    if any(side < width for side, width in zip(shape, CROP, strict=True)):
        raise InputError(
            f"scan {volume.series_uid} has {shape[0]} slices of {shape[1]} x {shape[2]}, too few for the classifier's "
            f"crops. Give a scan of at least {CROP[0]} slices of {CROP[1]} x {CROP[2]}"
        )
    began = time.perf_counter()
    with show("segmenting slices") as note:
        mask = segment(volume.hu, nets.segmenter, on_progress=note)
    segmented = time.perf_counter()
    groups = group_voxels(mask, volume.hu)
    voxels = [_nearest(group.center) for group in groups]
    apart = time.perf_counter()
    with show("classifying groups") as note:
        nodule = classify(volume.hu, voxels, nets.classifier, on_progress=note)
    kept = [int(i) for i in np.argsort(-nodule, kind="stable") if nodule[i] > THRESHOLD]
    malignant: Sequence[float | None] = [None] * len(kept)
    if nets.malignancy:
        malignant = classify(volume.hu, [voxels[i] for i in kept], nets.malignancy).tolist()
    ended = time.perf_counter()
    return Analysis(
        findings=tuple(
            Finding(
                number=number,
                voxel=voxels[i],
                center_mm=_xyz(volume.patient_mm(groups[i].center)),
                diameter_mm=round(ball_diameter_mm(groups[i].voxels, volume.spacing_mm), 2),
                voxels=groups[i].voxels,
                nodule=float(nodule[i]),
                malignant=bad,
            )
            for number, (i, bad) in enumerate(zip(kept, malignant, strict=True), 1)
        ),
        filtered_mm=tuple(
            _xyz(volume.patient_mm(group.center)) for i, group in enumerate(groups) if not nodule[i] > THRESHOLD
        ),
        flagged_voxels=int(np.count_nonzero(mask)),
        mask=mask,
        groups=len(groups),
        most_probable=float(nodule.max()) if len(groups) else None,
        seconds={
            "segment": round(segmented - began, 2),
            "group": round(apart - segmented, 2),
            "classify": round(ended - apart, 2),
        },
    )


@torch.inference_mode()
def segment(hu: np.ndarray, net: nn.Module, *, on_progress: OnProgress | None = None) -> np.ndarray:
    """(D, H, W) bool: where `net` answers more than 0.5. It sees each slice between three on each side.

    At both ends the last slice is repeated. Raises EdgekitError if the net answers NaN.
    """
    depth, height, width = hu.shape
    net = net.eval().to(memory_format=torch.channels_last)
    mask = np.zeros(hu.shape, bool)
    around = np.arange(-CONTEXT, CONTEXT + 1)
    for start in range(0, depth, _SLICES):
        middles = np.arange(start, min(start + _SLICES, depth))
        slices = hu[np.clip(middles[:, None] + around, 0, depth - 1)]  # (N, 7, H, W)
        batch = torch.from_numpy(slices.astype(np.float32)).clamp_(AIR_HU, CLIP_HU)
        batch = F.pad(batch, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
        probabilities = _check_finite(net(batch.contiguous(memory_format=torch.channels_last)), "segmenter")
        mask[middles] = (probabilities[:, 0, :height, :width] > THRESHOLD).numpy()
        if on_progress:
            on_progress(int(middles[-1]) + 1, depth)
    return mask


def group_voxels(mask: np.ndarray, hu: np.ndarray) -> list[Group]:
    """The groups of voxels that are left of `mask` (D, H, W) after one erosion; voxels are joined by their faces.

    A centre is the mean of the group's voxels weighted by HU + 1001, clipped to -1000..1000: dense tissue attracts it.
    """
    labels, count = ndimage.label(ndimage.binary_erosion(mask))
    places = np.nonzero(labels)
    of = labels[places]
    weight = np.clip(hu[places].astype(np.float64), AIR_HU, CLIP_HU) + 1001
    # Like ndimage.center_of_mass, which would make several float64 arrays as large as the scan.
    mass = np.bincount(of, weight, count + 1)[1:]
    centers = [np.bincount(of, weight * place, count + 1)[1:] / mass for place in places]
    boxes = ndimage.find_objects(labels)
    return [
        Group(center=(float(i), float(r), float(c)), voxels=_count_regrown(labels, mask, number, boxes[number - 1]))
        for number, (i, r, c) in enumerate(zip(*centers, strict=True), 1)
    ]


def _count_regrown(labels: np.ndarray, mask: np.ndarray, number: int, box: tuple[slice, ...]) -> int:
    """How many voxels group `number` has, together with those of `mask` that touch it, even if only at a corner."""
    wide = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
    # Corners too, because a small ball, eroded and grown by faces only, would lose a third of its voxels.
    grown = ndimage.binary_dilation(labels[wide] == number, np.ones((3, 3, 3), bool))
    return int(np.count_nonzero(grown & mask[wide]))


def ball_diameter_mm(voxels: int, spacing_mm: tuple[float, float, float]) -> float:
    """The diameter of a ball with the volume of this many voxels."""
    return float(np.cbrt(6 * voxels * math.prod(spacing_mm) / math.pi))


@torch.inference_mode()
def classify(
    hu: np.ndarray, centers: Sequence[Index], net: nn.Module, *, on_progress: OnProgress | None = None
) -> np.ndarray:
    """The probability of class 1, (N,) float64, for a crop around each centre; raises EdgekitError if it is NaN."""
    net = net.eval().to(memory_format=torch.channels_last_3d)
    probabilities = np.zeros(len(centers))
    for start in range(0, len(centers), _CROPS):
        part = centers[start : start + _CROPS]
        crops = np.stack([crop(hu, center, CROP) for center in part]).astype(np.float32)
        batch = torch.from_numpy(crops).clamp_(AIR_HU, CLIP_HU)[:, None]  # (N, 1, 32, 48, 48)
        logits = net(batch.contiguous(memory_format=torch.channels_last_3d))
        probabilities[start : start + len(part)] = _check_finite(logits, "classifier").double().softmax(1)[:, 1].numpy()
        if on_progress:
            on_progress(start + len(part), len(centers))
    return probabilities


def _check_finite(answer: Tensor, net: str) -> Tensor:
    if not bool(torch.isfinite(answer).all()):
        raise EdgekitError(f"the {net} answers NaN or infinity: its weights are damaged. Use an earlier checkpoint")
    return answer


def _nearest(center: tuple[float, float, float]) -> Index:
    i, r, c = (round(value) for value in center)
    return i, r, c


def _xyz(place: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 2) for value in place)
    return x, y, z
