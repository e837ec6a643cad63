"""A user's samples, read and matched to what the model takes.

Knows files and arrays; it runs no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import InputError, UsageError

from ..deploy import GOLDEN_SAMPLES
from .array_samples import TARGETS, Samples, check_rows, fewer, read_arrays
from .inputs import Inputs, array_inputs, picture_inputs
from .picture_samples import calibration_pictures, holds_pictures
from .request import Array, Given, Request
from .signature import Signature
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
    golden: Samples | None
    labelled: Path | None


def match_samples(source: Source, request: Request, signature: Signature, notes: Notes) -> Matched:
    """Matches samples and inputs; `signature` is of the user's `forward`.

    Raises:
        UsageError, InputError, MissingData: see `picture_inputs`, `array_inputs`, `read_arrays`.
    """
    if request.targets is not None and (request.validation is None or isinstance(request.validation, (str, Path))):
        raise UsageError("`targets` are the true answers to `validation`, so `validation` must be arrays")
    found = {
        "calibration": _samples(request.calibration, signature, "calibration"),
        "validation": _samples(request.validation, signature, "validation", request.targets),
        "unlabelled": _samples(request.unlabelled, signature, "unlabelled"),
        "golden": _samples(request.golden, signature, "golden"),
    }
    labelled = None
    if _of_pictures(source, request, found):
        inputs = picture_inputs(request, source.taken)
        assert inputs.picture is not None
        most = {"calibration": request.calibration_samples, "unlabelled": MOST_UNLABELLED, "golden": GOLDEN_SAMPLES}
        for name, given in found.items():
            if isinstance(given, Path) and name == "validation":
                labelled, found[name] = given, None
            elif isinstance(given, Path):
                found[name] = calibration_pictures(given, inputs.picture, name="image", most=most[name])
            elif given is not None:
                found[name] = _as_picture(given)
    else:
        bound = {
            name: _bound(given, signature) if isinstance(given, Samples) else None for name, given in found.items()
        }
        shown = next((samples.arrays for samples in bound.values() if samples is not None), None)
        inputs = array_inputs(signature, request.shapes, shown)
        found = dict(bound)
    held = {
        name: None if samples is None else _held_to(inputs, samples, notes)  # type: ignore[arg-type]
        for name, samples in found.items()
    }
    return Matched(
        inputs=inputs,
        calibration=held["calibration"] and fewer(held["calibration"], request.calibration_samples),
        validation=held["validation"],
        unlabelled=held["unlabelled"],
        golden=held["golden"] and fewer(held["golden"], GOLDEN_SAMPLES),
        labelled=labelled,
    )


def _samples(
    given: Given | None, signature: Signature, what: str, targets: Array | None = None
) -> Path | Samples | None:
    """Arrays in whatever form they were given as samples by name; the path of pictures stays one."""
    if given is None or isinstance(given, Samples):
        return given
    if isinstance(given, (str, Path)):
        path = Path(given)
        return path if holds_pictures(path) else read_arrays(path, signature)
    if isinstance(given, (np.ndarray, torch.Tensor)):
        given = [given]
    if isinstance(given, Mapping):
        arrays = {str(key): _array(value) for key, value in given.items()}
    else:
        arrays = {key: _array(value) for key, value in zip(signature.called(len(given)), given, strict=True)}
    if not arrays:
        raise InputError(f"{what} holds no arrays. Give at least one real sample")
    truth = None if targets is None else _array(targets)
    check_rows(arrays if truth is None else arrays | {TARGETS: truth}, what)
    return Samples(arrays=arrays, targets=truth, words=f"{len(next(iter(arrays.values()))):,} samples in memory")


def _bound(samples: Samples, signature: Signature) -> Samples:
    return replace(samples, arrays=signature.bound(samples.arrays, samples.words))


def _as_picture(samples: Samples) -> Samples:
    """A single array, whatever its name, as the one input of a model that takes pictures."""
    if len(samples.arrays) > 1:
        raise InputError(
            f"{samples.words}: a model of pictures takes one array of them, found {', '.join(samples.arrays)}. Give "
            "the pixels alone, or arrays without --mean, --std and --resize"
        )
    return replace(samples, arrays={"image": next(iter(samples.arrays.values()))})


def _array(value: Array) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _of_pictures(source: Source, request: Request, found: Mapping[str, Path | Samples | None]) -> bool:
    """Whether the samples are pictures: files of them, or (N, H, W, C) uint8 for a model whose picture is described.

    Raises:
        UsageError: some are pictures and others are none, or what only pictures have is given with arrays.
    """
    described = request.describes_pictures or source.taken is not None
    kinds = {
        name: isinstance(given, Path) or (described and _are_pixels(given))
        for name, given in found.items()
        if given is not None
    }
    if not kinds:
        return described
    if len(set(kinds.values())) > 1:
        pictures, arrays = (next(name for name, one in kinds.items() if one is which) for which in (True, False))
        raise UsageError(
            f"--calibration and --validation should both hold pictures, or both arrays; --{pictures} holds pictures, "
            f"--{arrays} arrays"
        )
    if not any(kinds.values()) and request.describes_pictures:
        raise UsageError(
            "--mean, --std, --resize, --mode, --interpolation and --no-normalise are for pictures, and the samples are "
            "arrays: they go to the model as they are. Leave these options out, or give raw pixels, (N, H, W, 3) uint8"
        )
    return all(kinds.values())


def _are_pixels(samples: Samples) -> bool:
    rows = next(iter(samples.arrays.values()))
    return len(samples.arrays) == 1 and rows.dtype == np.uint8 and rows.shape[3:] in ((1,), (3,))


def _held_to(inputs: Inputs, samples: Samples, notes: Notes) -> Samples:
    """The samples in the order, dtypes and shapes of the inputs."""
    names = [spec.name for spec in inputs.specs]
    if set(samples.arrays) != set(names):
        raise InputError(
            f"{samples.words} are of {', '.join(samples.arrays)}, other samples of {', '.join(names)}. Give the same "
            "arrays in all of them"
        )
    arrays: Arrays = {}
    for spec in inputs.specs:
        rows = samples.arrays[spec.name]
        if rows.shape[1:] != spec.shape[1:]:
            raise InputError(
                f"{samples.words}: {spec.name!r} is {list(rows.shape[1:])} each, the model takes {list(spec.shape[1:])}"
            )
        if rows.dtype != spec.dtype:
            notes.add(f"{spec.name}: samples in {rows.dtype} were converted to {spec.dtype}")
        arrays[spec.name] = np.ascontiguousarray(rows, dtype=spec.dtype)
    return replace(samples, arrays=arrays)
