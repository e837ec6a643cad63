"""`Engine`: one loaded model, numpy in and out. It checks every array against the manifest before native code sees it.

Knows no library: a `Session` runs the model, and the other modules of this folder open one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ..bundle.manifest import Manifest, TensorSpec
from ..command_line import EDGEKIT
from ..errors import EdgekitError, EngineError, InputError, shown

Precision = Literal["float32", "bfloat16"]
_SMALL = 8192  # elements; up to here, one pass with a temporary array is faster than two passes without


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model is to be run; the same for every engine."""

    num_threads: int = 1
    """CPU threads inside one run."""
    spin: bool = False
    """Whether threads may wait for the next run at full speed: shorter runs with several threads, and busy cores in
    between. A permission: an engine whose threads never do so pays no attention to it."""
    precision: Precision = "float32"
    """The type that floats are computed in."""


class Session(Protocol):
    """A loaded model, with positional arrays in and out: what `open_session` returns."""

    version: str
    """Name and version of the library that runs it."""

    @property
    def num_threads(self) -> int:
        """CPU threads inside one `run`, as the library itself reports where it does."""

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Runs once. Several threads may call it; where the library runs one call at a time, the others wait."""


class OpenSession(Protocol):
    """The function that every engine's module offers."""

    def __call__(self, path: Path, manifest: Manifest, options: Options) -> Session: ...


class Engine:
    """A loaded model: `run(arrays) -> arrays`, numpy in, numpy out.

    Any number of threads may call `run`; each gets the answers to its own arrays, in arrays of its own. onnxruntime,
    TorchScript and torch.export run them at the same time. OpenVINO runs them in turns, on the threads it was given;
    ExecuTorch and AOTInductor have one set of buffers, so there they wait for each other. `close` may be called
    meanwhile: runs that have begun finish, later ones raise.

    Attributes:
        name: the format, as in the manifest.
        version: name and version of the library that runs it, e.g. "onnxruntime 1.32.0".
    """

    def __init__(
        self,
        name: str,
        session: Session,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        check_finite: bool = True,
    ):
        self.name = name
        self.version = session.version
        self._session: Session | None = session
        self._inputs = [
            (spec, np.dtype(spec.dtype), check_finite and spec.dtype.startswith("float")) for spec in inputs
        ]
        self._outputs = [(spec, np.dtype(spec.dtype)) for spec in outputs]

    @property
    def num_threads(self) -> int:
        """CPU threads inside one `run`, as the library reports; torch and ExecuTorch have one setting per process."""
        return self._open().num_threads

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch.

        Args:
            arrays: one array for each input of the manifest, with exactly its dtype and shape, in any memory layout.
                Where the batch is free, axis 0 may have any length it allows, the same for all inputs.
        Returns:
            one array for each output of the manifest, by name.
        Raises:
            InputError: a name, dtype or shape does not fit, or there is a NaN or an infinite value.
            EngineError: the library failed, its answer does not fit the manifest, or the engine was closed.
        """
        session = self._open()
        if len(arrays) != len(self._inputs):
            raise self._wrong_names(arrays)
        ordered, rows = [], 0
        for spec, dtype, finite in self._inputs:
            array = arrays.get(spec.name)
            if array is None:
                raise self._wrong_names(arrays)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise _wrong_array(spec, array)
            if array.shape != spec.shape or rows:
                rows = self._rows(spec, array, rows)
            if finite and not _is_finite(array):
                raise _not_finite(spec, array)
            if not array.flags.c_contiguous or not array.flags.aligned:
                array = array.copy(order="C")
            ordered.append(array)
        if rows:
            rows = self._rows(self._inputs[0][0], ordered[0], rows)
        try:
            outputs = session.run(ordered)
        except EdgekitError:
            raise
        except Exception as error:
            raise EngineError(f"{self.version} failed to run the model: {shown(error, 1000)}") from None
        return self._named(outputs, rows)

    def close(self) -> None:
        """Releases the loaded model; `run` raises afterwards."""
        self._session = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Session:
        session = self._session  # read once, since another thread may close the engine at any moment
        if session is None:
            raise EngineError(f"this {self.name} engine was closed. Load the bundle again")
        return session

    def _rows(self, spec: TensorSpec, array: np.ndarray, rows: int) -> int:
        """The length of axis 0: free, within its bounds, and equal to `rows` where another input has set that."""
        batch = spec.batch
        if batch is None or array.ndim != len(spec.shape) or array.shape[1:] != spec.shape[1:]:
            raise _wrong_array(spec, array)
        length = len(array)
        if not batch.min <= length <= batch.max:
            raise InputError(
                f"input {spec.name!r} has a batch of {length}; this bundle takes {batch}. "
                + ("Give it at least one row" if length < batch.min else "Split the batch, or pack with --max-batch")
            )
        if rows and length != rows:
            raise InputError(
                f"input {spec.name!r} has a batch of {length}, another input one of {rows}. Give both the same"
            )
        return length

    def _named(self, outputs: Sequence[np.ndarray], rows: int) -> dict[str, np.ndarray]:
        answers = {}
        for (spec, dtype), array in zip(self._outputs, outputs, strict=True):
            shape = (rows, *spec.shape[1:]) if rows else spec.shape
            if array.shape != shape or array.dtype != dtype:
                raise EngineError(
                    f"the model answered {array.dtype} {list(array.shape)} for {spec.name!r}, but the manifest says "
                    f"{dtype} {list(shape)}: they do not belong together. Pack the bundle again"
                )
            answers[spec.name] = array
        return answers

    def _wrong_names(self, arrays: Mapping[str, object]) -> InputError:
        wanted = ", ".join(spec.name for spec, _, _ in self._inputs)
        return InputError(f"the model takes the inputs: {wanted}. Found: {', '.join(map(str, arrays)) or 'none'}")


def _is_finite(array: np.ndarray) -> bool:
    if array.size <= _SMALL:
        return bool(np.isfinite(array).all())
    # A NaN shows in both, an infinity in one. A sum may overflow, and BLAS would start threads.
    return math.isfinite(np.maximum.reduce(array, axis=None)) and math.isfinite(np.minimum.reduce(array, axis=None))


def _not_finite(spec: TensorSpec, array: np.ndarray) -> InputError:
    place = np.argwhere(~np.isfinite(array))[0].tolist()
    return InputError(
        f"input {spec.name!r} holds {array[tuple(place)]} at {place}, and the answer would be nonsense. Fix the data "
        "where it comes from; load_engine(bundle, check_finite=False) lets such values through"
    )


def _wrong_array(spec: TensorSpec, given: object) -> InputError:
    if not isinstance(given, np.ndarray):
        return InputError(
            f"input {spec.name!r} should be a numpy array of {spec.dtype} {spec.shape_text}, "
            f"found {type(given).__name__}. numpy.asarray(VALUE, {spec.dtype!r}) makes one"
        )
    remedy = f"`{EDGEKIT} inspect BUNDLE` prints a bundle's inputs"
    if given.dtype.newbyteorder("=") == spec.dtype and not given.dtype.isnative:
        remedy = f"Its byte order is not this machine's: use .astype({spec.dtype!r})"
    return InputError(
        f"input {spec.name!r} should be {spec.dtype} {spec.shape_text}, "
        f"found {given.dtype} {list(given.shape)}. {remedy}"
    )
