"""ExecuTorch programs (`.pte`) through its Python runtime: portable and quantized kernels, XNNPACK.

The runtime's Python binding passes torch tensors, so this module imports torch. What runs without it is
`executorch_native`; which one a bundle gets is decided in `executorch`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import EngineError
from ..manifest import Manifest


def _runtime() -> Any:
    # The native module itself starts in a third of the time of `executorch.runtime`, which imports the lowering stack
    # as well. It has no documented name, so the documented module stays the way to fall back on.
    try:
        return importlib.import_module("executorch.extension.pybindings._C")
    except ModuleNotFoundError:
        return importlib.import_module("executorch.extension.pybindings.portable_lib")


class ExecuTorchSession:
    """The `forward` method of one loaded program."""

    version = f"executorch {importlib.metadata.version('executorch')} (Python runtime)"

    def __init__(self, path: Path, num_threads: int):
        runtime = _runtime()
        if runtime._threadpool_get_thread_count() != num_threads:
            runtime._unsafe_reset_threadpool(num_threads)
        # InternalConsistency walks the whole flatbuffer: damaged programs become errors instead of crashes.
        self._module = runtime._load_for_executorch(
            str(path), program_verification=runtime.Verification.InternalConsistency
        )
        if "forward" not in self._module.method_names():
            raise EngineError(f"{path.name} has no method 'forward', only {self._module.method_names()}")

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        found = self._module.run_method("forward", tuple(torch.from_numpy(array) for array in inputs))
        return [tensor.numpy() for tensor in found]  # clones: the program's own buffers are reused by the next run


def open_session(path: Path, manifest: Manifest, num_threads: int) -> ExecuTorchSession:
    """Loads a `.pte` for `num_threads` CPU threads (a setting of the whole process)."""
    return ExecuTorchSession(path, num_threads)
