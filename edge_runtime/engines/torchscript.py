"""TorchScript models through `torch.jit.load`, on the CPU. Loading one runs code from the file: trust its origin.

This is one of the engines that need torch; it is imported only when such a bundle is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..manifest import Manifest


class TorchScriptSession:
    """One loaded `ScriptModule`, in evaluation mode, without gradients."""

    version = f"torch {torch.__version__} (TorchScript)"

    def __init__(self, path: Path, num_threads: int):
        torch.set_num_threads(num_threads)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch.jit is deprecated; this engine exists for what uses it
            self._module = torch.jit.load(path, map_location="cpu").eval()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            found = self._module(*(torch.from_numpy(array) for array in inputs))
        tensors = found if isinstance(found, (list, tuple)) else [found]
        return [tensor.numpy() for tensor in tensors]


def open_session(path: Path, manifest: Manifest, num_threads: int) -> TorchScriptSession:
    """Loads a TorchScript archive for `num_threads` CPU threads (a setting of the whole process)."""
    return TorchScriptSession(path, num_threads)
