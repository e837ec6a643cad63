"""ONNX models on OpenVINO's CPU plugin. Knows nothing about bundles' folders or images.

It computes in float32 unless another precision is asked for: left alone it takes bfloat16 where the processor has that,
at 20 to 40 dB. The library's tools for conversion are not imported with it, because that alone reports its use to the
library's makers and writes a file into the user's home.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..bundle.manifest import Manifest
from ..errors import EngineError, shown
from .engine import Options, Precision

_TOOLS = "openvino.tools.ovc"
_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


def _imported() -> ModuleType:
    """The library, without `_TOOLS`; as it is where somebody imported it before."""
    if _TOOLS in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_TOOLS] = None  # type: ignore[assignment]  # the library takes that for "not installed"
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_TOOLS]  # whoever asks for them by name still gets them


openvino: Any = _imported()


def version() -> str:
    """The version of the installed package; the library itself names its build as well."""
    return importlib.metadata.version("openvino")


def capabilities() -> list[str]:
    """The types that it computes in on this processor, as it calls them: FP32, INT8, BF16, …"""
    known = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name in known if name[-1].isdigit()]


@functools.cache
def _core() -> Any:
    return openvino.Core()


class _Request:
    """One set of buffers: a request of OpenVINO, with its tensors in the manifest's order."""

    def __init__(self, compiled: Any, inputs: Sequence[Any], outputs: Sequence[Any], *, is_static: bool):
        self._request = compiled.create_infer_request()
        self._taken = [self._request.get_tensor(port) for port in inputs]
        self._views = [tensor.data for tensor in self._taken]
        self._ports = outputs
        self._given = [self._request.get_tensor(port) for port in outputs] if is_static else None

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for i, array in enumerate(arrays):
            if self._views[i].shape != array.shape:
                self._taken[i].shape = array.shape
                self._views[i] = self._taken[i].data
            # Copied: a tensor that shares the caller's memory could be written to.
            np.copyto(self._views[i], array)
        self._request.start_async()  # `infer` does the same with more of Python around it
        self._request.wait()
        # Where shapes are free, each run may answer in other buffers.
        given = self._given or [self._request.get_tensor(port) for port in self._ports]
        return [tensor.data.copy() for tensor in given]  # the next run writes into the tensor


class OpenVinoSession:
    """One compiled model, with tensors in the manifest's order.

    Several threads may run it: each has buffers of its own, and the runs take turns on the model's threads.
    """

    def __init__(self, path: Path, manifest: Manifest, options: Options):
        self.version = f"openvino {version()}"
        if path.suffix != ".onnx":  # the ending chooses its reader, and some read other files beside it
            raise EngineError(f"{self.version} reads ONNX from files that end in .onnx; this one is called {path.name}")
        if options.precision != "float32":
            self.version += f" ({options.precision})"
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[options.precision],
            "INFERENCE_NUM_THREADS": options.num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Every process would be bound to the same first cores, where they wait for each other.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            # By its path: out of memory, a file that names another one would be given that from the current folder.
            self._compiled = _core().compile_model(_core().read_model(path), "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"{self.version} could not load {path.name}: {_reason(error)}") from None
        if options.precision != "float32" and self._computes_in() != options.precision:
            raise EngineError(
                f"{self.version} computes in {self._computes_in()} on this processor, not in {options.precision}. "
                "Leave the precision out"
            )
        self._inputs = _in_order(path, "inputs", self._compiled.inputs, [spec.name for spec in manifest.inputs])
        self._outputs = _in_order(path, "outputs", self._compiled.outputs, [spec.name for spec in manifest.outputs])
        self._is_static = all(port.get_partial_shape().is_static for port in (*self._inputs, *self._outputs))
        self._idle = [self._new_request()]

    @property
    def num_threads(self) -> int:
        """The threads of this model, as OpenVINO reports them."""
        return int(self._compiled.get_property("INFERENCE_NUM_THREADS"))

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            request = self._idle.pop()  # of several threads one gets it, and the others make their own
        except IndexError:
            request = self._new_request()
        try:
            outputs = request.run(inputs)
        except RuntimeError as error:  # the request is dropped, since nobody knows what state it is in
            raise EngineError(f"{self.version} failed to run the model: {_reason(error)}") from None
        self._idle.append(request)
        return outputs

    def _new_request(self) -> _Request:
        return _Request(self._compiled, self._inputs, self._outputs, is_static=self._is_static)

    def _computes_in(self) -> str:
        """The type that floats are computed in, as numpy calls it, or as OpenVINO does."""
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return next((name for name, known in _HINTS.items() if known == hint), hint)


def open_session(path: Path, manifest: Manifest, options: Options) -> OpenVinoSession:
    """Loads an `.onnx` file for `options.num_threads` CPU threads.

    Raises:
        EngineError: OpenVINO cannot run it, or this processor cannot compute in `options.precision`.
    """
    return OpenVinoSession(path, manifest, options)


def _in_order(path: Path, what: str, ports: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """The model's ports in the order of the manifest's names. Raises EngineError where names differ."""
    by_name = {name: port for port in ports for name in port.get_names()}
    if len(ports) != len(names) or not by_name.keys() >= set(names):
        raise EngineError(
            f"{path.name} has the {what} {sorted(by_name)}, but the manifest says {sorted(names)}: they do not belong "
            "together. Pack the bundle again"
        )
    return [by_name[name] for name in names]


def _reason(error: Exception) -> str:
    """What OpenVINO says, without the places in its own source code where it says it."""
    places = r"Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:"
    return shown(re.sub(places, " ", str(error)), 600)
