"""Programs of `torch.export` (`.pt2`), run by torch's operators on the CPU. They may hold pickles: trust the source.

torch reads weights without a plain layout, and constants that are objects, with an unrestricted unpickler, so a file
from a stranger can run code. This engine needs torch, so it is imported only when such a bundle is loaded.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..bundle.manifest import Manifest
from .engine import Options
from .torch_arrays import arrays_of, tensors_of


class TorchExportSession:
    """One loaded program, without gradients. Runs do not wait for each other."""

    version = f"torch {torch.__version__} (torch.export)"

    def __init__(self, path: Path, num_threads: int):
        torch.set_num_threads(num_threads)
        # torch.export.load only logs why it refuses a file, and its error says to read the log. This raises the reason.
        from torch.export.pt2_archive._package import load_pt2

        # Registers `quantized_decomposed`, the operators of quantized programs.
        importlib.import_module("torch.ao.quantization.fx._decomposed")
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it warns about GPU libraries
        self._module = load_pt2(str(path)).exported_programs["model"].module()

    @property
    def num_threads(self) -> int:
        """torch's threads inside one operator: one setting for the whole process, and the last to set it wins."""
        return torch.get_num_threads()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tensors_of(inputs)
        with torch.inference_mode():
            return arrays_of(self._module(*tensors), tensors)


def open_session(path: Path, manifest: Manifest, options: Options) -> TorchExportSession:
    """Loads a `.pt2` of torch.export for `options.num_threads` CPU threads (one setting for the whole process)."""
    return TorchExportSession(path, options.num_threads)
