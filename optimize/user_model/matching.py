"""A user's samples, read and matched to what the model takes.

Knows files and arrays; it runs no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import InputError, UsageError

from .array_samples import TARGETS, Samples, check_rows, fewer, read_arrays
from .inputs import Inputs, array_inputs, picture_inputs
from .picture_samples import calibration_pictures, holds_pictures
from .request import Array, Given, Request
from .sources import Source


@dataclass(kw_only=True)
class Notes:
    """Sentences for the user; those that matter later also for the manifest."""

    says: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def add(self, text: str, *, keep: str = "") -> None:
        self.says.append(text)
        if keep:
            self.kept[keep] = text


MOST_UNLABELLED = 10_000  # pictures, which are all in memory at once


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What the model takes, and the samples that were given, in that form.

    `labelled` are pictures that are not read yet: they are matched with the labels, once these are known.
    """

    inputs: Inputs
    calibration: Samples | None
    validation: Samples | None
    unlabelled: Samples | None
    labelled: Path | None


def match_samples(source: Source, request: Request, names: Sequence[str], notes: Notes) -> Matched:
    """Matches samples and inputs; `names` are the arguments of the user's `forward`.

    Raises:
        UsageError, InputError, MissingData: see `picture_inputs`, `array_inputs`, `read_arrays`.
    """
    if request.targets is not None and (request.validation is None or isinstance(request.validation, (str, Path))):
        raise UsageError("targets are the true answers to `validation`, which is to be arrays then")
    calibration = _in_memory(request.calibration, names, "calibration")
    validation = _in_memory(request.validation, names, "validation", request.targets)
    unlabelled = _in_memory(request.unlabelled, names, "unlabelled")
    labelled = None
    if _of_pictures(source, request, calibration, validation, names):
        inputs = picture_inputs(request, source.taken)
        assert inputs.picture is not None
        if isinstance(calibration, Path):
            most = request.calibration_samples
            calibration = calibration_pictures(calibration, inputs.picture, name="image", most=most)
        if isinstance(validation, Path):
            labelled, validation = validation, None
        if isinstance(unlabelled, Path):
            unlabelled = calibration_pictures(unlabelled, inputs.picture, name="image", most=MOST_UNLABELLED)
    else:
        calibration = read_arrays(calibration, names) if isinstance(calibration, Path) else calibration
        validation = read_arrays(validation, names) if isinstance(validation, Path) else validation
        unlabelled = read_arrays(unlabelled, names) if isinstance(unlabelled, Path) else unlabelled
        shown = next((found.arrays for found in (calibration, validation) if found is not None), None)
        inputs = array_inputs(names, request.shapes, shown)
    given = (calibration, validation, unlabelled)
    held = [None if samples is None else _held_to(inputs, samples, notes) for samples in given]
    return Matched(
        inputs=inputs,
        calibration=held[0] and fewer(held[0], request.calibration_samples),
        validation=held[1],
        unlabelled=held[2],
        labelled=labelled,
    )


def _in_memory(
    given: Given | None, names: Sequence[str], what: str, targets: Array | None = None
) -> Path | Samples | None:
    """Arrays in whatever form they were given as samples by name; a path stays one."""
    if given is None or isinstance(given, Samples):
        return given
    if isinstance(given, (str, Path)):
        return Path(given)
    if isinstance(given, (np.ndarray, torch.Tensor)):
        given = [given]
    if isinstance(given, Mapping):
        arrays = {str(key): _array(value) for key, value in given.items()}
    else:
        called = [names[i] if i < len(names) else f"input_{i}" for i in range(len(given))]
        arrays = {key: _array(value) for key, value in zip(called, given, strict=True)}
    if not arrays:
        raise InputError(f"{what} holds no arrays. Give at least one real sample")
    truth = None if targets is None else _array(targets)
    check_rows(arrays if truth is None else arrays | {TARGETS: truth}, what)
    return Samples(arrays=arrays, targets=truth, words=f"{len(next(iter(arrays.values()))):,} samples in memory")


def _array(value: Array) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _of_pictures(
    source: Source,
    request: Request,
    calibration: Path | Samples | None,
    validation: Path | Samples | None,
    names: Sequence[str],
) -> bool:
    """Whether the samples are pictures: files of them, or (N, H, W, C) uint8 for a model whose picture is described."""
    given = [where for where in (calibration, validation) if where is not None]
    described = request.describes_pictures or source.taken is not None
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
    return replace(samples, arrays=arrays)
