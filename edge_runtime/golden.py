"""`golden.npz`: real inputs and what the float model answered to them. Plain arrays, never pickled objects.

    inputs/<name>    (N, …)  one row a sample, as the device feeds them, batch axis dropped to N
    outputs/<name>   (N, …)  the float model's answers
    packed/<name>    (N, …)  the artifact's own answers when it was packed
    targets          (N, …)  the true answers

It knows nothing about engines; `replay` runs it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import BundleError
from .files import write_atomically
from .manifest import TensorSpec

Arrays = dict[str, np.ndarray]

MAX_GOLDEN_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """Golden samples in memory; each array has one row a sample."""

    inputs: Arrays
    outputs: Arrays
    packed: Arrays
    targets: np.ndarray

    @property
    def samples(self) -> int:
        return len(self.targets)

    def sample(self, index: int) -> Arrays:
        """The inputs of one sample, with a batch axis of 1."""
        return {name: rows[index : index + 1] for name, rows in self.inputs.items()}


def save_golden(path: Path, golden: GoldenSet) -> None:
    """Writes `golden.npz` atomically: uncompressed, so equal content gives equal bytes and no size can be hidden."""
    arrays: Arrays = {"targets": golden.targets}
    for group in ("inputs", "outputs", "packed"):
        arrays |= {f"{group}/{name}": rows for name, rows in getattr(golden, group).items()}
    with write_atomically(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_golden(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> GoldenSet:
    """Reads `golden.npz` and holds every array to the manifest's tensors.

    Raises:
        BundleError: compressed or oversized members, pickled objects, a missing array, a wrong dtype or shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # np.load would inflate whatever it is given; only stored members are as large as the file says.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise BundleError(f"{path}: golden.npz is compressed; only stored arrays are read")
            if path.stat().st_size > MAX_GOLDEN_BYTES:
                raise BundleError(f"{path}: golden.npz is larger than {MAX_GOLDEN_BYTES:,} bytes")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except BundleError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise BundleError(f"{path}: golden.npz cannot be read: {error}") from None

    def group(kind: str, specs: tuple[TensorSpec, ...], rows: int) -> Arrays:
        return {spec.name: _rows(path, arrays, f"{kind}/{spec.name}", spec, rows) for spec in specs}

    targets = arrays.get("targets")
    if targets is None or targets.ndim == 0 or len(targets) == 0:
        raise BundleError(f"{path}: golden.npz has no targets")
    rows = len(targets)
    return GoldenSet(
        inputs=group("inputs", inputs, rows),
        outputs=group("outputs", outputs, rows),
        packed=group("packed", outputs, rows),
        targets=targets,
    )


def _rows(path: Path, arrays: Mapping[str, np.ndarray], key: str, spec: TensorSpec, rows: int) -> np.ndarray:
    found = arrays.get(key)
    expected = (rows, *spec.shape[1:])
    if found is None:
        raise BundleError(f"{path}: golden.npz has no array {key!r}")
    if found.dtype != spec.dtype or found.shape != expected:
        raise BundleError(
            f"{path}: golden.npz array {key!r} should be {spec.dtype} {list(expected)}, "
            f"found {found.dtype} {list(found.shape)}"
        )
    return found
