"""ExecuTorch programs (`.pte`) through its Python runtime: portable and quantized kernels, XNNPACK.

The runtime's Python binding takes torch tensors, so this module imports torch. `executorch_native` does without torch,
and `executorch` chooses between the two.
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
from .engine import Options
from .torch_arrays import tensors_of


def runtime() -> Any:
    """The native module of the Python runtime; imports torch."""
    # The native module itself loads in a third of the time of `executorch.runtime`, which also imports the lowering
    # stack. It has no documented name, so the documented module remains the fallback.
    try:
        return importlib.import_module("executorch.extension.pybindings._C")
    except ModuleNotFoundError:
        return importlib.import_module("executorch.extension.pybindings.portable_lib")


class ExecuTorchSession:
    """The `forward` method of one loaded program. Runs from several threads wait for each other."""

    def __init__(self, path: Path, num_threads: int, *, why: str = ""):
        reason = f": {why}" if why else ""
        self.version = f"executorch {importlib.metadata.version('executorch')} (Python runtime{reason})"
        self._lock = threading.Lock()  # one set of buffers, so outputs are copied before the next run begins
        self._runtime = loaded = runtime()
        if loaded._threadpool_get_thread_count() != num_threads:
            loaded._unsafe_reset_threadpool(num_threads)
        # InternalConsistency walks the whole flatbuffer: damaged programs become errors instead of crashes.
        self._module = loaded._load_for_executorch(
            str(path), program_verification=loaded.Verification.InternalConsistency
        )
        if "forward" not in self._module.method_names():
            raise EngineError(
                f"{path.name} has no method 'forward', only {self._module.method_names()}. Export it again"
            )

    @property
    def num_threads(self) -> int:
        """Threads of the one pool of this process; a program that was loaded later may have changed it."""
        return self._runtime._threadpool_get_thread_count()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tuple(tensors_of(inputs))
        with self._lock:
            outputs = self._module.run_method("forward", tensors)
            return [tensor.numpy() for tensor in outputs]  # these are clones: the next run reuses the program's buffers


def open_session(path: Path, manifest: Manifest, options: Options, *, why: str = "") -> ExecuTorchSession:
    """Loads a `.pte` for `options.num_threads` CPU threads (one setting for the whole process).

    Args:
        why: the reason why the native runtime does not run it, for the session's version.
    """
    return ExecuTorchSession(path, options.num_threads, why=why)
