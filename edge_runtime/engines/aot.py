"""AOTInductor packages (`.pt2`): a model compiled to machine code, run by torch. Loading one runs that code.

It runs only on the processor it was compiled for, which `COMPILED_FOR` in the manifest's provenance names; on another
one it is refused before any of its code runs. This engine needs torch, so it is imported only when such a bundle is
loaded.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..bundle.manifest import Manifest
from ..errors import BundleError
from ..machine import cpu
from .engine import Options
from .torch_arrays import arrays_of, tensors_of

COMPILED_FOR = "compiled_for"  # the machine, then the instruction sets: "x86_64 avx2 fma f16c"


class AotSession:
    """One loaded package. Runs from several threads wait for each other, since it has one set of buffers."""

    version = f"torch {torch.__version__} (AOTInductor)"

    def __init__(self, path: Path, num_threads: int):
        torch.set_num_threads(num_threads)
        # The loader inside `torch._inductor.aoti_load_package`, which also imports the compiler; that takes seconds.
        self._loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
        self._lock = threading.Lock()

    @property
    def num_threads(self) -> int:
        """torch's threads inside one operator: one setting for the whole process, and the last to set it wins."""
        return torch.get_num_threads()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = tensors_of(inputs)
        with self._lock, torch.inference_mode():
            return arrays_of(self._loader.boxed_run(list(tensors)), tensors)


def open_session(path: Path, manifest: Manifest, options: Options) -> AotSession:
    """Loads a `.pt2` for `options.num_threads` CPU threads (one setting for the whole process).

    Raises:
        BundleError: it was compiled for another processor, or does not name one.
    """
    check_processor(manifest)
    return AotSession(path, options.num_threads)


def check_processor(manifest: Manifest) -> None:
    """Raises BundleError unless this processor has every instruction that the model was compiled for."""
    machine, *wanted = manifest.provenance.get(COMPILED_FOR, "").split() or [""]
    if not machine:
        raise BundleError(
            f"{manifest.name} holds machine code but does not say for which processor (provenance.{COMPILED_FOR} is "
            "missing), so it is not run. Pack it again with the exporter 'aot'"
        )
    absent = (machine,) if machine != platform.machine() else cpu.missing(wanted)
    if absent:
        raise BundleError(
            f"{manifest.name} was compiled for {' '.join((machine, *wanted))}; this processor ({platform.machine()}, "
            f"{cpu.name()}) lacks {', '.join(absent)}. Pack it again on a machine like this one, or use another format"
        )
