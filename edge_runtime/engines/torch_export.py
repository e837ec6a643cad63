"""Programs of `torch.export` (`.pt2`), run by torch's own operators, on the CPU. Trust its origin: it may hold pickles.

torch reads weights that have no plain layout, and constants that are objects, with an unrestricted unpickler, so a file
from a stranger can run code. This is one of the engines that need torch; it is imported only when such a bundle is
loaded.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..bundle.manifest import Manifest
from .torch_arrays import arrays_of, tensors_of


class TorchExportSession:
    """One loaded program, without gradients. Runs do not wait for each other."""

    version = f"torch {torch.__version__} (torch.export)"

    def __init__(self, path: Path, num_threads: int):
        torch.set_num_threads(num_threads)
        # torch.export.load logs why a file was refused and raises an error that says to read the log; this one raises
        # the reason itself.
        from torch.export.pt2_archive._package import load_pt2

        # Registers `quantized_decomposed`, the operators that quantized programs are written in.
        importlib.import_module("torch.ao.quantization.fx._decomposed")
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it remarks on GPU libraries
        self._module = load_pt2(str(path)).exported_programs["model"].module()

    @property
    def num_threads(self) -> int:
        """torch's threads inside one operator: a setting of the whole process, and whoever sets it last wins."""
        return torch.get_num_threads()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tensors_of(inputs)
        with torch.inference_mode():
            return arrays_of(self._module(*tensors), tensors)


def open_session(path: Path, manifest: Manifest, num_threads: int) -> TorchExportSession:
    """Loads a `.pt2` of torch.export for `num_threads` CPU threads (a setting of the whole process)."""
    return TorchExportSession(path, num_threads)
