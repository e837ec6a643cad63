"""What a user says of a model of his own, and the samples that go with it, matched to what the model takes.

Knows files and arrays; it runs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.bundle.golden import Arrays
from edgekit.edge_runtime.errors import InputError, UsageError

from ..deploy import Predict
from .array_samples import Samples, fewer, read_arrays
from .inputs import Inputs, PictureWishes, Shape, array_inputs, picture_inputs
from .picture_samples import calibration_pictures, holds_pictures
from .sources import Source


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user says of a model and its samples; "" and None leave it to the source, the samples or a default.

    `calibration` and `validation`: a path, or samples in memory. `most`: how many calibration samples are used.
    `random`: calibrate and check on noise where no samples are given; nothing is proven then, and the bundle says so.
    """

    calibration: Path | Samples | None = None
    validation: Path | Samples | None = None
    labels: tuple[str, ...] = ()
    task: str = ""
    name: str = ""
    shapes: tuple[Shape, ...] = ()
    picture: PictureWishes = field(default_factory=PictureWishes)
    most: int = 256
    random: bool = False
    evaluate: Callable[[Predict], float] | None = None


@dataclass(kw_only=True)
class Notes:
    """Sentences for the user; those that matter later also for the manifest."""

    says: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def add(self, text: str, *, keep: str = "") -> None:
        self.says.append(text)
        if keep:
            self.kept[keep] = text


@dataclass(frozen=True, kw_only=True)
class Taking:
    """What the model takes, and the samples that were given, in that form; labelled pictures are not read yet."""

    inputs: Inputs
    calibration: Samples | None
    validation: Samples | None


def take(source: Source, wishes: Wishes, names: Sequence[str], notes: Notes) -> Taking:
    """Matches samples and inputs; `names` are the arguments of the user's `forward`.

    Labelled pictures (`wishes.validation` a path) are left for when the labels are known.

    Raises:
        UsageError, InputError, MissingData: see `picture_inputs`, `array_inputs`, `read_arrays`.
    """
    calibration, validation = wishes.calibration, wishes.validation
    if _of_pictures(source, wishes, names):
        inputs = picture_inputs(wishes.shapes, wishes.picture, source.taken)
        assert inputs.picture is not None
        if isinstance(calibration, Path):
            calibration = calibration_pictures(calibration, inputs.picture, name="image", most=wishes.most)
        labelled = None if isinstance(validation, Path) else validation
    else:
        calibration = read_arrays(calibration, names) if isinstance(calibration, Path) else calibration
        labelled = read_arrays(validation, names) if isinstance(validation, Path) else validation
        shown = next((found.arrays for found in (calibration, labelled) if found is not None), None)
        inputs = array_inputs(names, wishes.shapes, shown)
    held = [None if found is None else _held_to(inputs, found, notes) for found in (calibration, labelled)]
    return Taking(inputs=inputs, calibration=held[0] and fewer(held[0], wishes.most), validation=held[1])


def _of_pictures(source: Source, wishes: Wishes, names: Sequence[str]) -> bool:
    """Whether the samples are pictures: files of them, or (N, H, W, C) uint8 for a model whose picture is described."""
    given = [where for where in (wishes.calibration, wishes.validation) if where is not None]
    described = bool(wishes.picture) or source.taken is not None
    if not given:
        return described
    kinds = {holds_pictures(w) if isinstance(w, Path) else described and _are_pixels(w, names) for w in given}
    if len(kinds) > 1:
        raise UsageError("--calibration and --validation should both hold pictures, or both arrays")
    return kinds.pop()


def _are_pixels(samples: Samples, names: Sequence[str]) -> bool:
    rows = next(iter(samples.arrays.values()))
    return len(samples.arrays) == len(names) == 1 and rows.dtype == np.uint8 and rows.shape[3:] in ((1,), (3,))


def _held_to(inputs: Inputs, samples: Samples, notes: Notes) -> Samples:
    """The samples in the order, dtypes and shapes of the inputs."""
    arrays: Arrays = {}
    values = dict(samples.arrays)
    if len(values) == 1 and len(inputs.specs) == 1:
        values = {inputs.specs[0].name: next(iter(values.values()))}
    for spec in inputs.specs:
        rows = values[spec.name]
        if rows.shape[1:] != spec.shape[1:]:
            raise InputError(
                f"{samples.words}: {spec.name!r} is {list(rows.shape[1:])} each, the model takes {list(spec.shape[1:])}"
            )
        if rows.dtype != spec.dtype:
            notes.add(f"{spec.name}: samples in {rows.dtype} were converted to {spec.dtype}")
        arrays[spec.name] = np.ascontiguousarray(rows, dtype=spec.dtype)
    return Samples(arrays=arrays, targets=samples.targets, words=samples.words)
