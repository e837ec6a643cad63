"""ExecuTorch programs (`.pte`) through its Python runtime: portable and quantized kernels, XNNPACK.

The runtime's Python binding passes torch tensors, so this module imports torch. What runs without it is
`executorch_native`; which one a bundle gets is decided in `executorch`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.manifest import Manifest
from ..errors import EngineError
from .torch_arrays import tensors_of


def runtime() -> Any:
    """The native module of the Python runtime; imports torch."""
    # The native module itself starts in a third of the time of `executorch.runtime`, which imports the lowering stack
    # as well. It has no documented name, so the documented module stays the way to fall back on.
    try:
        return importlib.import_module("executorch.extension.pybindings._C")
    except ModuleNotFoundError:
        return importlib.import_module("executorch.extension.pybindings.portable_lib")


class ExecuTorchSession:
    """The `forward` method of one loaded program. Runs from several threads wait for each other."""

    version = f"executorch {importlib.metadata.version('executorch')} (Python runtime)"

    def __init__(self, path: Path, num_threads: int):
        self._lock = threading.Lock()  # one set of buffers: the outputs are copied before the next run begins
        self._runtime = loaded = runtime()
        if loaded._threadpool_get_thread_count() != num_threads:
            loaded._unsafe_reset_threadpool(num_threads)
        # InternalConsistency walks the whole flatbuffer: damaged programs become errors instead of crashes.
        self._module = loaded._load_for_executorch(
            str(path), program_verification=loaded.Verification.InternalConsistency
        )
        if "forward" not in self._module.method_names():
            raise EngineError(f"{path.name} has no method 'forward', only {self._module.method_names()}")

    @property
    def num_threads(self) -> int:
        """Threads of the process's one pool: another program that was loaded since may have changed it."""
        return self._runtime._threadpool_get_thread_count()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tuple(tensors_of(inputs))
        with self._lock:
            found = self._module.run_method("forward", tensors)
            return [tensor.numpy() for tensor in found]  # clones: the program's own buffers are reused by the next run


def open_session(path: Path, manifest: Manifest, num_threads: int) -> ExecuTorchSession:
    """Loads a `.pte` for `num_threads` CPU threads (a setting of the whole process)."""
    return ExecuTorchSession(path, num_threads)
