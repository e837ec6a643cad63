"""What both ONNX quantizers need first: shapes inferred and the graph simplified, in a folder that cleans up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxruntime.quantization.shape_inference import quant_pre_process


@contextmanager
def prepared(source: Path) -> Iterator[Path]:
    """Yields a copy of `source` that onnxruntime's quantizers can read shapes from; removed on exit."""
    with tempfile.TemporaryDirectory(prefix="edgekit-onnx-") as folder:
        ready = Path(folder) / "prepared.onnx"
        quant_pre_process(source, ready)
        yield ready
