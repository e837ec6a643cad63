"""SYNTHETIC chest CTs in LUNA16's own files: lungs, vessels, and nodules of known place, diameter and malignancy.

For tests, and to train and measure without LUNA16's 120 GB. Nothing learned from them holds for patients, so every uid
begins with SYNTHETIC and the folder says so. This module knows geometry and files, no model.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.files import write_atomically, write_bytes
from edgekit.train.data.luna import ANNOTATIONS, CANDIDATES, MALIGNANCY
from edgekit.train.data.texture import Field, draw_waves, waves

MARK, MARK_FILE = "SYNTHETIC", "SYNTHETIC.txt"
SMALLEST = (40, 96)  # slices, and pixels a side, into which a crop of each kind fits
SPACING_MM = (1.25, 0.7, 0.7)  # slice, row, column, as in most of LUNA16
_AIR, _LUNG, _TISSUE, _BONE = -1000, -860, 40, 450
_NOISE_HU = 30


@dataclass(frozen=True, kw_only=True)
class Nodule:
    """A ball; a malignant one has a ragged surface and is mottled inside.

    Large ones are malignant more often, but that says little: the diameter alone has an area under the ROC curve of
    0.78, while the texture nearly decides. So a net that has learned the texture has something to show.
    """

    center_mm: tuple[float, float, float]
    """(x, y, z) in the patient."""
    diameter_mm: float
    """Of the ball."""
    malignant: bool
    """Whether it is ragged and mottled."""


@dataclass(frozen=True, kw_only=True)
class SyntheticScan:
    """A computed scan and what it shows."""

    uid: str
    """Begins with SYNTHETIC."""
    hu: np.ndarray
    """(D, H, W) int16."""
    origin_mm: tuple[float, float, float]
    """(x, y, z) of voxel (0, 0, 0)."""
    nodules: tuple[Nodule, ...]
    """Two to five as a rule."""
    others_mm: tuple[tuple[float, float, float], ...]
    """(x, y, z) of places without a nodule that a detector may take for one: vessels, walls."""


def make_scan(number: int, *, seed: int = 1, slices: int = 120, side: int = 256, others: int = 60) -> SyntheticScan:
    """One scan, the same for the same arguments.

    Args:
        others: how many places without a nodule.

    Raises:
        UsageError: smaller than the crops of the book.
    """
    if slices < SMALLEST[0] or side < SMALLEST[1]:
        raise UsageError(
            f"scans of {slices} slices of {side} x {side} are too small for the book's crops. Use at least "
            f"{SMALLEST[0]} slices of {SMALLEST[1]} x {SMALLEST[1]}"
        )
    random = np.random.default_rng([seed, number])
    shape = (slices, side, side)
    size = np.array(shape) * SPACING_MM
    canvas = _Canvas(shape)
    middle = size / 2
    canvas.blend(middle, np.array([size[0], 0.42 * size[1], 0.47 * size[2]]), _TISSUE)
    canvas.blend(middle + _zyx(0, 0.3 * size[1], 0), np.array([size[0], 0.07 * size[1], 0.07 * size[2]]), _BONE)
    lungs = [
        (
            middle + _zyx(0, 0, sign * 0.22 * size[2]),
            np.array([0.48, 0.32, 0.18]) * size * random.uniform(0.93, 1.05, 3),
        )
        for sign in (-1, 1)
    ]
    for center, radii in lungs:
        canvas.blend(center, radii, _LUNG)
    canvas.hu += _smooth_noise(random, shape) * 25
    vessels = [place for lung in lungs for place in _vessels(random, canvas, *lung, middle)]
    nodules = _nodules(random, canvas, lungs)
    canvas.hu += random.normal(0, _NOISE_HU, shape).astype(np.float32)
    places = _others(random, vessels, lungs, nodules, others)
    corner = -middle  # the patient's zero is the scan's middle

    def patient(place: np.ndarray) -> tuple[float, float, float]:
        z, y, x = (place + corner).tolist()
        return round(x, 6), round(y, 6), round(z, 6)

    return SyntheticScan(
        uid=uid_of(number, seed),
        hu=np.clip(canvas.hu.round(), -1024, 3071).astype(np.int16),
        origin_mm=patient(np.zeros(3)),
        nodules=tuple(
            Nodule(center_mm=patient(center), diameter_mm=round(float(diameter), 6), malignant=malignant)
            for center, diameter, malignant in nodules
        ),
        others_mm=tuple(map(patient, places)),
    )


def uid_of(number: int, seed: int) -> str:
    return f"{MARK}.{seed}.{number:04d}"


def write_scans(
    root: Path,
    count: int,
    *,
    seed: int = 1,
    slices: int = 120,
    side: int = 256,
    others: int = 60,
    on_scan: Callable[[SyntheticScan], None] | None = None,
) -> None:
    """Writes `count` scans under `root` in LUNA16's layout: subset0 to subset9, and the three lists.

    Raises:
        UsageError: no scans, or too small ones; or `root` holds scans that are not synthetic.
    """
    import SimpleITK  # only this function's callers need it

    if count < 1:
        raise UsageError(f"{count} scans: at least 1 is needed")
    if any(root.glob("subset*")) and not (root / MARK_FILE).is_file():
        raise UsageError(f"{root} holds scans that are not synthetic; the two must not be mixed. Give another folder")
    write_bytes(
        root / MARK_FILE,
        f"{MARK}: these {count} scans were computed (seed {seed}); they show no patient. "
        "Nothing learned or measured on them holds for patients.\n".encode(),
    )
    annotations, malignancy, candidates = [], [], []
    for number in range(count):
        scan = make_scan(number, seed=seed, slices=slices, side=side, others=others)
        image = SimpleITK.GetImageFromArray(scan.hu)
        image.SetSpacing(SPACING_MM[::-1])
        image.SetOrigin(scan.origin_mm)
        folder = root / f"subset{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(image, str(folder / f"{scan.uid}.mhd"))
        for nodule in scan.nodules:
            place = [scan.uid, *nodule.center_mm, nodule.diameter_mm]
            annotations.append(place)
            malignancy.append([*place, *_ratings(nodule)])
            # Detectors find a nodule near its middle, here at an eighth of the diameter.
            x, y, z = nodule.center_mm
            candidates.append([scan.uid, x + nodule.diameter_mm / 8, y, z, 1])
        candidates += [[scan.uid, *place, 0] for place in scan.others_mm]
        if on_scan:
            on_scan(scan)
    place_head = ["seriesuid", "coordX", "coordY", "coordZ"]
    box = [f"bbox{end}{axis}" for end in ("Low", "High") for axis in "XYZ"]
    details = ["mal_bool", "mal_details", *box, "len_mal_details"]
    _write_table(root / ANNOTATIONS, [*place_head, "diameter_mm"], annotations)
    _write_table(root / MALIGNANCY, [*place_head, "diameter_mm", *details], malignancy)
    _write_table(root / CANDIDATES, [*place_head, "class"], candidates)


def _ratings(nodule: Nodule) -> list[object]:
    """What else annotations_with_malignancy.csv says: four radiologists' ratings, and the box in mm."""
    low, high = ([c + sign * nodule.diameter_mm / 2 for c in nodule.center_mm] for sign in (-1, 1))
    ratings = [4, 5, 4, 3] if nodule.malignant else [2, 1, 3, 2]
    return [nodule.malignant, str(ratings), *low, *high, len(ratings)]


def _write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    with write_atomically(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


class _Canvas:
    """Voxels into which soft-edged bodies are blended; places and lengths are mm from the first voxel, (z, y, x)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.hu = np.full(shape, _AIR, np.float32)

    def blend(
        self,
        center: np.ndarray,
        radii: np.ndarray,
        hu: float,
        ragged: Field | None = None,
        mottled: Field | None = None,
    ) -> None:
        """An ellipsoid of `hu`, its edge a voxel wide.

        `ragged`: unit directions (3, …) to factors of the radius. `mottled`: mm from the middle (3, …) to HU to add.
        """
        spacing = np.array(SPACING_MM)
        reach = radii * (1.5 if ragged else 1.05) + 2
        low = np.maximum(0, np.floor((center - reach) / spacing)).astype(int)
        high = np.minimum(self.hu.shape, np.ceil((center + reach) / spacing).astype(int) + 1)
        if (low >= high).any():
            return
        axes = [(np.arange(a, b) * s - c) / r for a, b, s, c, r in zip(low, high, spacing, center, radii, strict=True)]
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        distance = np.sqrt((z * z + y * y + x * x).astype(np.float32))
        places = np.stack(np.broadcast_arrays(z, y, x)) if ragged or mottled else np.zeros(0)  # in radii
        if ragged:
            distance = distance / ragged(places / np.maximum(distance, 1e-6))
        # From 1 inside to 0 outside within about a voxel, because a scanner averages over one.
        share = np.clip(0.5 + (1 - distance) * float(radii.min()) / SPACING_MM[1], 0, 1)
        part = self.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        density = hu + mottled(places * radii[:, None, None, None]) if mottled else hu
        part += share * (density - part)


def _zyx(z: float, y: float, x: float) -> np.ndarray:
    return np.array([z, y, x], np.float64)


def _smooth_noise(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Texture of about 4 voxels, mean 0 and deviation about 1."""
    coarse = random.normal(0, 1, tuple(-(-side // 4) for side in shape)).astype(np.float32)
    for axis in range(3):
        coarse = coarse.repeat(4, axis)
    return coarse[: shape[0], : shape[1], : shape[2]]


def _vessels(
    random: np.random.Generator, canvas: _Canvas, center: np.ndarray, radii: np.ndarray, middle: np.ndarray
) -> list[np.ndarray]:
    """Draws branching tubes from the middle outwards, thinner with every step; returns places on them."""
    places = []
    root = center + _zyx(0, 0, np.sign(middle[2] - center[2]) * 0.8 * radii[2])
    branches = [(root, random.normal(0, 1, 3) + _zyx(0, 0, np.sign(center[2] - middle[2])), 3.0) for _ in range(9)]
    while branches:
        place, direction, radius = branches.pop()
        while radius > 0.6 and (((place - center) / radii) ** 2).sum() < 0.97:
            direction = direction / np.linalg.norm(direction) + random.normal(0, 0.25, 3)
            step = max(1.0, 0.8 * radius)
            place = place + step * direction / np.linalg.norm(direction)
            canvas.blend(place, np.full(3, radius), _TISSUE)
            places.append(place)
            radius *= 0.985
            if random.random() < 0.06 and radius > 1:
                branches.append((place, direction + random.normal(0, 1, 3), 0.75 * radius))
    return places


def _nodules(
    random: np.random.Generator, canvas: _Canvas, lungs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[tuple[np.ndarray, float, bool]]:
    """Draws two to five (middle, diameter, malignant) inside the lungs, apart from each other; returns them."""
    made: list[tuple[np.ndarray, float, bool]] = []
    wanted = int(random.integers(2, 6))
    for _ in range(200):
        if len(made) == wanted:
            break
        diameter = float(np.clip(random.lognormal(np.log(7.5), 0.45), 3.5, 22))
        center, radii = lungs[int(random.integers(2))]
        direction = random.normal(0, 1, 3)
        place = center + direction / np.linalg.norm(direction) * random.uniform(0, 0.85) ** (1 / 3) * (radii - diameter)
        if (radii < 2 * diameter).any() or any(np.linalg.norm(place - other) < diameter + d for other, d, _ in made):
            continue
        malignant = bool(random.random() < 1 / (1 + np.exp(-(diameter - 10) / 3)))
        bumps, mottles = draw_waves(random, 3.0), draw_waves(random, 1.2)
        texture = (waves(bumps, 0.12, around=1, clip=(0.7, 1.4)), waves(mottles, 90)) if malignant else ()
        canvas.blend(place, np.full(3, diameter / 2), random.uniform(0, 80), *texture)
        made.append((place, diameter, malignant))
    return made


def _others(
    random: np.random.Generator,
    vessels: Sequence[np.ndarray],
    lungs: Sequence[tuple[np.ndarray, np.ndarray]],
    nodules: Sequence[tuple[np.ndarray, float, bool]],
    count: int,
) -> list[np.ndarray]:
    """Places away from every nodule: six of ten on vessels, the others in the lung and at its wall."""
    chosen: list[np.ndarray] = []
    while len(chosen) < count:
        if random.random() < 0.6:
            place = vessels[int(random.integers(len(vessels)))]
        else:
            center, radii = lungs[int(random.integers(2))]
            direction = random.normal(0, 1, 3)
            place = center + direction / np.linalg.norm(direction) * random.uniform(0.3, 1.0) * radii * 0.97
        if all(np.linalg.norm(place - other) > diameter / 2 + 6 for other, diameter, _ in nodules):
            chosen.append(place)
    return chosen
