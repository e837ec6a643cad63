"""ONNX models on onnxruntime's CPU provider. Knows nothing about bundles' folders or images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from ..bundle.manifest import Manifest
from ..errors import EngineError
from .engine import Options


class OnnxSession:
    """One `onnxruntime.InferenceSession`, with tensors in the manifest's order. Runs do not wait for each other."""

    version = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, path: Path, manifest: Manifest, num_threads: int, *, spin: bool = False):
        self.num_threads = num_threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Threads that spin between calls keep a phone's cores busy and disturb measurements. Only whoever says that
        # this model is what the cores are for gets them; with one thread there is none.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        # Whatever the file is called: an ending of .ort would choose another reader, which nobody checks for.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 3  # errors come as exceptions, and warnings on stderr help nobody on a device
        # Without a second try, which the package announces on standard output.
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]
        for what, nodes, names in (
            ("inputs", self._session.get_inputs(), self._inputs),
            ("outputs", self._session.get_outputs(), self._outputs),
        ):
            actual = {node.name for node in nodes}
            if actual != set(names):
                raise EngineError(
                    f"{path.name} has the {what} {sorted(actual)}, but the manifest says {sorted(names)}: they do not "
                    "belong together. Pack the bundle again"
                )

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))


def open_session(path: Path, manifest: Manifest, options: Options) -> OnnxSession:
    """Loads an `.onnx` file for `options.num_threads` CPU threads, which spin only if `options.spin` lets them."""
    return OnnxSession(path, manifest, options.num_threads, spin=options.spin)
