"""Engines run arrays; they know nothing about images.

`load(bundle)` picks the engine by the manifest's `format` and imports it then, so that a device needs only the engine
its bundles ask for. `Engine` holds every input to the manifest before native code sees it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..bundle import Bundle
from ..errors import EdgekitError, EngineError, InputError, MissingDependency, unknown
from ..manifest import Manifest, TensorSpec

# format in the manifest -> (module with `open_session`, extra that installs it)
ENGINES: dict[str, tuple[str, str]] = {
    "onnx": ("edge_runtime.engines.onnx", "onnx"),
    "executorch": ("edge_runtime.engines.executorch", "executorch"),
    "torchscript": ("edge_runtime.engines.torchscript", "executorch"),
}


class Session(Protocol):
    """What an engine's module gives back from `open_session`: a loaded model, positional arrays in and out."""

    version: str

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]: ...


class OpenSession(Protocol):
    """The one function of an engine's module."""

    def __call__(self, path: Path, manifest: Manifest, num_threads: int) -> Session: ...


class Engine:
    """A loaded model: `run(arrays) -> arrays`, numpy in, numpy out. Use it from one thread at a time.

    Attributes:
        name: the format, as in the manifest.
        version: name and version of the library that runs it, e.g. "onnxruntime 1.32.0".
    """

    def __init__(self, name: str, session: Session, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]):
        self.name = name
        self.version = session.version
        self._session: Session | None = session
        self._inputs = [(spec.name, np.dtype(spec.dtype), spec.shape) for spec in inputs]
        self._outputs = [spec.name for spec in outputs]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch.

        Args:
            arrays: one array for each of the manifest's inputs, exactly its dtype and shape.
        Returns:
            one array for each of the manifest's outputs, by name.
        Raises:
            InputError: a name, dtype or shape that does not fit.
            EngineError: the library failed, or the engine was closed.
        """
        if self._session is None:
            raise EngineError(f"this {self.name} engine was closed")
        if len(arrays) != len(self._inputs):
            raise self._wrong_names(arrays)
        ordered = []
        for name, dtype, shape in self._inputs:
            array = arrays.get(name)
            if array is None:
                raise self._wrong_names(arrays)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
                raise _wrong_array(name, dtype, shape, array)
            ordered.append(array)
        try:
            found = self._session.run(ordered)
        except EdgekitError:
            raise
        except Exception as error:
            raise EngineError(f"{self.version} failed to run the model: {error}") from None
        return dict(zip(self._outputs, found, strict=True))

    def close(self) -> None:
        """Lets go of the loaded model; `run` raises afterwards."""
        self._session = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wrong_names(self, arrays: Mapping[str, object]) -> InputError:
        wanted = ", ".join(name for name, _, _ in self._inputs)
        return InputError(f"the model takes the inputs: {wanted}. Found: {', '.join(arrays) or 'none'}")


def load(bundle: Bundle, *, num_threads: int = 1) -> Engine:
    """Loads a bundle's model in the engine its manifest names.

    Args:
        num_threads: CPU threads the engine may use inside one `run`.
    Raises:
        MissingDependency: the engine's library is not installed.
        EngineError: the library refused the file.
    """
    manifest = bundle.manifest
    if num_threads < 1:
        raise InputError(f"num_threads should be 1 or more, found {num_threads}")
    open_session = open_session_of(manifest.artifact.format, str(bundle.source))
    try:
        session = open_session(bundle.model_path, manifest, num_threads)
    except EdgekitError:
        raise
    except Exception as error:
        raise EngineError(f"{bundle.source}: {manifest.artifact.file} could not be loaded: {error}") from None
    return Engine(manifest.artifact.format, session, manifest.inputs, manifest.outputs)


def open_session_of(format: str, source: str) -> Callable[[Path, Manifest, int], Session]:
    """The `open_session` of a format's engine. Raises UsageError on an unknown format, MissingDependency."""
    if format not in ENGINES:
        raise unknown("bundle format", format, ENGINES)
    module, extra = ENGINES[format]
    try:
        open_session: Callable[[Path, Manifest, int], Session] = importlib.import_module(module).open_session
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edge_runtime"):
            raise
        raise MissingDependency(
            f"{source} needs {error.name}, which is not installed. Run: pip install 'edgekit[{extra}]'"
        ) from None
    return open_session


def _wrong_array(name: str, dtype: np.dtype, shape: tuple[int, ...], found: object) -> InputError:
    if not isinstance(found, np.ndarray):
        return InputError(f"input {name!r} should be a numpy array, found {type(found).__name__}")
    return InputError(
        f"input {name!r} should be {dtype} {list(shape)}, found {found.dtype} {list(found.shape)}. "
        "`edgekit inspect BUNDLE` prints what a bundle takes"
    )
