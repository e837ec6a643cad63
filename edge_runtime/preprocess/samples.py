"""Samples for models that take no pictures: out of files of arrays, typed numbers, or text. Knows no engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..array_file import read_array_file
from ..arrays import Arrays
from ..bundle.contract import TensorSpec
from ..errors import InputError, UsageError, shown
from .text import last_characters


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one run takes."""

    name: str
    """Where it comes from, for a person."""
    arrays: Arrays
    """One array for each input, in its dtype and shape."""
    size: tuple[int, int] | None = None
    """(width, height) of a picture as it was given, in its pixels."""


def samples_of_files(given: Sequence[str], inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """The samples in files, one after the other; a file may hold one sample, or many along a first axis.

    Args:
        given: FILE.npy for a model of one input; NAME=FILE.npy for each of several; or FILE.npz with all by name.
    Raises:
        UsageError: an input is not given, or is no input.
        InputError: a file cannot be read, or holds something else than the model takes.
    """
    files = _by_input(given, inputs)
    held = {spec.name: _samples_in(*files[spec.name], spec) for spec in inputs}
    counts = {name: len(array) for name, array in held.items()}
    if len(set(counts.values())) > 1:
        texts = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise InputError(f"the inputs have different numbers of samples: {texts}. Give as many of each")
    (first, _), count = files[inputs[0].name], counts[inputs[0].name]
    for i in range(count):
        arrays = {name: np.ascontiguousarray(array[i])[None] for name, array in held.items()}
        yield Sample(name=str(first) if count == 1 else f"{first}[{i}]", arrays=arrays)


def sample_of_row(row: str, inputs: Sequence[TensorSpec]) -> Sample:
    """Numbers with commas between them, in the order of the model's one input.

    Raises:
        UsageError: the model has several inputs. InputError: not as many numbers as it takes, or none.
    """
    spec = _only(inputs, "--row")
    count = math.prod(spec.shape[1:])
    try:
        numbers = np.array([float(word) for word in row.split(",")])
    except ValueError:
        raise InputError(f"--row {shown(row, 80)!r} should be numbers with commas, like 7.4,0.7,0") from None
    if numbers.size != count:
        raise InputError(f"--row has {numbers.size} numbers; {spec.name!r} takes {count} ({spec.shape_text})")
    return Sample(name=row, arrays={spec.name: _as(numbers.reshape(1, *spec.shape[1:]), spec, "--row")})


def sample_of_text(text: str, inputs: Sequence[TensorSpec]) -> Sample:
    """The last characters of a text, as many as the model's one input takes.

    Raises:
        UsageError: the model takes no characters.
    """
    spec = _only(inputs, "--text")
    if len(spec.shape) != 2 or not spec.dtype.startswith("int"):
        raise UsageError(f"--text is for models of characters; this one takes {spec.dtype} {spec.shape_text}")
    codes = last_characters(text, spec.shape[1])
    return Sample(name=text, arrays={spec.name: codes.astype(spec.dtype)[None]})


def _only(inputs: Sequence[TensorSpec], option: str) -> TensorSpec:
    if len(inputs) != 1:
        names = ", ".join(f"{spec.name}=FILE.npy" for spec in inputs)
        raise UsageError(f"{option} is for models of one input; this one has {len(inputs)}: --input {names}")
    return inputs[0]


def _by_input(given: Sequence[str], inputs: Sequence[TensorSpec]) -> dict[str, tuple[Path, str]]:
    """The file of each input, and the name in it where that is an .npz."""
    known = [spec.name for spec in inputs]
    files: dict[str, tuple[Path, str]] = {}
    for word in given:
        name, equals, path = word.partition("=")
        if equals and name in known:
            files[name] = (Path(path), name)
        elif word.endswith(".npz"):
            files |= {name: (Path(word), name) for name in known}
        elif len(known) == 1:
            files[known[0]] = (Path(word), known[0])
        else:
            raise UsageError(f"say which input {word} is: --input {known[0]}={word}. Inputs: {', '.join(known)}")
    if missing := [name for name in known if name not in files]:
        raise UsageError(f"the model also takes {', '.join(missing)}: add --input {missing[0]}=FILE.npy")
    return files


def _samples_in(path: Path, name: str, spec: TensorSpec) -> np.ndarray:
    """(N, …) as the model takes it, without the axis of a batch of one."""
    try:
        held = read_array_file(path)
    except OSError as error:
        raise InputError(f"cannot read {shown(path)}: {error.strerror or error}. Check the path") from None
    if isinstance(held, dict):
        known = list(held)
        array = held.get(name, held[known[0]] if len(known) == 1 else None)
        if array is None:
            listed = shown(", ".join(known[:9]) or "nothing")
            raise InputError(f"{path} holds {listed}, and no array {name!r}")
    else:
        array = held
    one = spec.shape[1:]
    if array.shape == one:
        array = array[None]
    if array.shape == (0, *one):
        raise InputError(f"{path} holds no sample: its first axis is empty. Give one at least")
    if array.shape[1:] != one or array.ndim != len(spec.shape):
        raise InputError(
            f"{path} holds {array.dtype} {list(array.shape)}; {spec.name!r} takes {spec.dtype} {list(one)} for a "
            f"sample, or (N, …) for several"
        )
    return _as(array, spec, str(path))


def _as(array: np.ndarray, spec: TensorSpec, where: str) -> np.ndarray:
    """In the input's dtype, where no number becomes another one but by rounding of floats."""
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where} holds {array.dtype}, which are no numbers; {spec.name!r} takes {spec.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(wanted)
    if (wanted.kind == "f" and (np.isinf(cast) & np.isfinite(array)).any()) or (
        wanted.kind != "f" and not np.array_equal(cast, array)
    ):
        raise InputError(
            f"{where} holds {array.dtype} from {array.min():g} to {array.max():g}; {spec.name!r} takes {spec.dtype}, "
            "and some of them are not in it"
        )
    return cast
