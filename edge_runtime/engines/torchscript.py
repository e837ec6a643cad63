"""TorchScript models through `torch.jit.load`, on the CPU. Loading one runs code from the file: trust the source.

This engine needs torch, so it is imported only when such a bundle is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..bundle.manifest import Manifest
from .engine import Options
from .torch_arrays import arrays_of, tensors_of


class TorchScriptSession:
    """One loaded `ScriptModule`, in evaluation mode, without gradients. Runs do not wait for each other."""

    version = f"torch {torch.__version__} (TorchScript)"

    def __init__(self, path: Path, num_threads: int):
        torch.set_num_threads(num_threads)
        with warnings.catch_warnings():
            # torch.jit is deprecated, and this engine is for the models that still use it.
            warnings.simplefilter("ignore", FutureWarning)
            self.module = torch.jit.load(path, map_location="cpu").eval()

    @property
    def num_threads(self) -> int:
        """torch's threads inside one operator: one setting for the whole process, and the last to set it wins."""
        return torch.get_num_threads()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tensors_of(inputs)
        with torch.inference_mode():
            return arrays_of(self.module(*tensors), tensors)


def open_session(path: Path, manifest: Manifest, options: Options) -> TorchScriptSession:
    """Loads a TorchScript archive for `options.num_threads` CPU threads (one setting for the whole process)."""
    return TorchScriptSession(path, options.num_threads)
