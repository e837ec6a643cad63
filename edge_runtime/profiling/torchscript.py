"""Time by operator of a TorchScript model, from torch's own profiler. Needs torch; knows nothing of bundles.

An operator is what the script calls, together with everything that torch calls inside it. Loading the file runs code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ..bundle.manifest import Manifest
from ..engines import Options
from ..engines.torch_arrays import tensors_of
from ..engines.torchscript import open_session
from ..errors import EngineError
from .operators import Operator, elements, tensor_bytes

_RUN = "edgekit: one run"
_WARM_UP = 3  # torch rewrites a script during its first runs
# Operators that multiply, and how many arguments each takes.
_ARGUMENTS = {
    "conv1d": 7, "conv2d": 7, "conv3d": 7, "convolution": 9, "_convolution": 13,
    "linear": 3, "mm": 2, "bmm": 2, "matmul": 2, "addmm": 5,
}  # fmt: skip
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "_convolution", "convolution")


class TorchScriptProfiler:
    """A script that is timed by operator each time it runs."""

    def __init__(self, path: Path, manifest: Manifest, num_threads: int):
        self._session = open_session(path, manifest, Options(num_threads=num_threads))
        self._left = _WARM_UP
        self._runs: list[list[Any]] = []

    def run(self, inputs: Sequence[np.ndarray]) -> int:
        """Runs once and keeps the events. Returns nanoseconds."""
        for _ in range(self._left):
            self._session.run(inputs)
        self._left = 0
        tensors = tensors_of(inputs)
        # The module alone, without what the engine does around it. Twice, because the profiler's first run is slow.
        with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
            self._session.module(*tensors)
            with record_function(_RUN):
                self._session.module(*tensors)
        events = recorded.events()
        self._runs.append([event for event in events if _is_operator(event)])
        return next(round(event.cpu_time_total * 1000) for event in events if event.name == _RUN)

    def operators(self) -> tuple[list[Operator], list[str]]:
        """Every operator in the order of execution, with remarks on what is unknown."""
        first = self._runs[0]
        if any([event.name for event in run] != [event.name for event in first] for run in self._runs):
            raise EngineError(
                "the script's operators change between runs, so it cannot be profiled. Choose another bundle"
            )
        operators, unknown = [], []
        for i, event in enumerate(first):
            macs, moved = _arithmetic(event)
            if macs is None:
                unknown.append(event.name)
            operators.append(
                Operator(
                    name=str(i),
                    kind=event.name.removeprefix("aten::"),
                    ns=tuple(round(run[i].cpu_time_total * 1000) for run in self._runs),
                    macs=macs,
                    bytes=moved,
                    precision="fp32" if macs else "",
                )
            )
        remarks = ["torch's profiler adds a few microseconds to each operator"]
        if unknown:
            remarks.append(f"multiplications are not counted for: {', '.join(sorted(set(unknown)))}")
        return operators, remarks


def open_profiler(path: Path, manifest: Manifest, num_threads: int) -> TorchScriptProfiler:
    """Loads a TorchScript archive to be timed."""
    return TorchScriptProfiler(path, manifest, num_threads)


def _is_operator(event: Any) -> bool:
    """Whether the script itself calls this operator, in the run that counts: there is no other operator above it."""
    above = event.cpu_parent
    while above is not None and not above.name.startswith("aten::"):
        if above.name == _RUN:
            return bool(event.name.startswith("aten::"))
        above = above.cpu_parent
    return False


def _arithmetic(event: Any) -> tuple[int | None, int | None]:
    """Multiply-accumulates and bytes of an operator: 0 and None where it multiplies nothing, None where unknown."""
    kind = event.name.removeprefix("aten::")
    if kind in ("lstm", "gru", "scaled_dot_product_attention", "einsum"):
        return None, None
    if kind not in _ARGUMENTS:
        return 0, None
    # The last ones: the profiler also records what lies below them on the interpreter's stack.
    shapes, values = event.input_shapes[-_ARGUMENTS[kind] :], event.concrete_inputs[-_ARGUMENTS[kind] :]
    result: tuple[int, ...]
    if kind in _CONVOLUTIONS:
        given, weights = shapes[0], shapes[1]
        is_transposed = "convolution" in kind and bool(values[6])
        if is_transposed:
            return elements(given) * elements(weights[1:]), None
        if not isinstance(values[4], list):  # "same" and "valid" are not recorded
            return None, None
        sides = zip(given[2:], weights[2:], values[3], values[4], values[5], strict=True)
        result = (given[0], weights[0], *(((n + 2 * pad - d * (k - 1) - 1) // s + 1) for n, k, s, pad, d in sides))
        macs = elements(result) * elements(weights[1:])
    elif kind == "linear":
        result = (*shapes[0][:-1], shapes[1][0])
        macs = elements(result) * shapes[0][-1]
    else:
        first, second = shapes[1:3] if kind == "addmm" else shapes[:2]
        result = (*first[:-1], second[-1])
        macs = elements(result) * first[-1]
    read = [shape for shape in shapes if shape]
    return macs, sum(tensor_bytes("float32", shape) for shape in [*read, result])
