"""TorchScript models through `torch.jit.load`, on the CPU. Loading one runs code from the file: trust its origin.

This is one of the engines that need torch; it is imported only when such a bundle is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..bundle.manifest import Manifest
from .torch_arrays import arrays_of, tensors_of


class TorchScriptSession:
    """One loaded `ScriptModule`, in evaluation mode, without gradients. Runs do not wait for each other."""

    version = f"torch {torch.__version__} (TorchScript)"

    def __init__(self, path: Path, num_threads: int):
        torch.set_num_threads(num_threads)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch.jit is deprecated; this engine exists for what uses it
            self._module = torch.jit.load(path, map_location="cpu").eval()

    @property
    def num_threads(self) -> int:
        """torch's threads inside one operator: a setting of the whole process, and whoever sets it last wins."""
        return torch.get_num_threads()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tensors_of(inputs)
        with torch.inference_mode():
            return arrays_of(self._module(*tensors), tensors)


def open_session(path: Path, manifest: Manifest, num_threads: int) -> TorchScriptSession:
    """Loads a TorchScript archive for `num_threads` CPU threads (a setting of the whole process)."""
    return TorchScriptSession(path, num_threads)
