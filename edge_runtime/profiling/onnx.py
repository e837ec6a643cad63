"""Time by operator of an ONNX model, from onnxruntime's own profiler; shapes and arithmetic from two more sessions.

The profiler omits weights that were packed for a kernel. So shapes come from a session that packs none, and
multiplications from one that keeps the model's own operators. Knows nothing of bundles.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..bundle.manifest import Manifest
from ..errors import EngineError
from ..temporary import LockedFolder
from .operators import Operator, elements, tensor_bytes

_SUFFIX = "_kernel_time"
_EVERYTHING = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
_AS_EXPORTED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC

Shapes = list[tuple[str, tuple[int, ...]]]  # element type and shape of each tensor


class _Session:
    """A session that records each node it runs."""

    def __init__(self, path: Path, manifest: Manifest, num_threads: int, *, level: Any, pack: bool):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = level
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not pack:
            options.add_session_config_entry("session.disable_prepacking", "1")
        self._folder = LockedFolder()
        options.enable_profiling = True
        options.profile_file_prefix = str(self._folder.path / "onnx")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))

    def events(self) -> list[dict[str, Any]]:
        """The nodes of all runs, in the order in which they ran. Ends the session's profile."""
        try:
            recorded = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EngineError(f"onnxruntime's profile cannot be read: {error}. Update onnxruntime") from None
        finally:
            self._folder.remove()
        return [event for event in recorded if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)]


class OnnxProfiler:
    """A model that is timed by operator each time it runs."""

    def __init__(self, path: Path, manifest: Manifest, num_threads: int):
        self._timed = _Session(path, manifest, num_threads, level=_EVERYTHING, pack=True)
        self._unpacked = _Session(path, manifest, num_threads, level=_EVERYTHING, pack=False)
        self._exported = _Session(path, manifest, num_threads, level=_AS_EXPORTED, pack=False)
        self._sample: Sequence[np.ndarray] = ()

    def run(self, inputs: Sequence[np.ndarray]) -> int:
        """Runs once, while onnxruntime records each node. Returns nanoseconds."""
        self._sample = inputs
        start = time.perf_counter_ns()
        self._timed.run(inputs)
        return time.perf_counter_ns() - start

    def operators(self) -> tuple[list[Operator], list[str]]:
        """Every node in the order of execution, with remarks on what is unknown."""
        for session in (self._unpacked, self._exported):
            session.run(self._sample)
        ns: dict[tuple[str, str], list[int]] = defaultdict(list)
        for event in self._timed.events():
            ns[_key(event)].append(event["dur"] * 1000)
        whole = {_key(event): event["args"] for event in self._unpacked.events()}
        exported = [event["args"] for event in self._exported.events()]
        counts, as_exported = _counts({key: macs_of_node(arguments) for key, arguments in whole.items()}, exported)
        runs = len(next(iter(ns.values()), []))
        operators, unknown = [], []
        for (name, kind), times in ns.items():
            if len(times) != runs:
                raise EngineError(
                    f"node {name} ran {len(times)} times in {runs} runs, and cannot be profiled. Choose another bundle"
                )
            arguments = whole.get((name, kind), {})
            macs = counts.get((name, kind))
            if macs is None:
                unknown.append(kind)
            shapes = _shapes(arguments, "input"), _shapes(arguments, "output")
            operators.append(
                Operator(
                    name=name,
                    kind=kind,
                    ns=tuple(times),
                    macs=macs,
                    bytes=sum(tensor_bytes(*tensor) for tensors in shapes for tensor in tensors),
                    precision=_precision(kind, shapes[0]) if macs else "",
                    place=_place(name, kind),
                )
            )
        remarks = ["onnxruntime times each node in whole microseconds, its own bookkeeping included"]
        if not as_exported:
            remarks.append("multiplications are counted as executed, including channels that kernels pad")
        if unknown:
            remarks.append(f"multiplications are not counted for: {', '.join(sorted(set(unknown)))}")
        return operators, remarks


def open_profiler(path: Path, manifest: Manifest, num_threads: int) -> OnnxProfiler:
    """Loads an `.onnx` file to be timed."""
    return OnnxProfiler(path, manifest, num_threads)


def macs_of_node(arguments: dict[str, Any]) -> int | None:
    """Multiply-accumulates of a node of a profile: 0 where it multiplies no matrices, None where unknown.

    Args:
        arguments: the event's, with the shapes of all inputs (weights included) and outputs.
    """
    kind, inputs, outputs = arguments["op_name"], _shapes(arguments, "input"), _shapes(arguments, "output")
    shapes = [shape for _, shape in inputs]
    result = outputs[0][1] if outputs else ()
    if kind in ("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger"):
        return elements(result) * elements(shapes[1][1:])
    if kind in ("QLinearConv", "NhwcQLinearConv"):
        return elements(result) * elements(shapes[3][1:])
    if kind == "ConvTranspose":
        return elements(shapes[0]) * elements(shapes[1][1:])
    if kind in ("Gemm", "FusedGemm", "QGemm"):  # the first is (M, K) or (K, M), and M is known from the result
        return elements(result) * elements(shapes[0]) // result[0]
    if "MatMul" in kind:
        return elements(result) * shapes[0][-1]
    if kind in ("LSTM", "GRU", "RNN"):  # (T, B, I), W (D, gates H, I), R (D, gates H, H)
        return shapes[0][0] * shapes[0][1] * (elements(shapes[1]) + elements(shapes[2]))
    if kind in ("Einsum", "DeformConv", "Loop", "If", "Scan") or "Attention" in kind or "LSTM" in kind or "GRU" in kind:
        return None
    return 0


def _counts(
    executed: dict[tuple[str, str], int | None], exported: Sequence[dict[str, Any]]
) -> tuple[dict[tuple[str, str], int | None], bool]:
    """Multiplications of each node, as exported where nodes can be matched, and whether they could.

    Kernels that work on blocks pad their channels, and that is not the model's arithmetic. Rewriting changes the nodes'
    names, so they are matched by order, and only if no node then executes fewer multiplications than were exported.
    """
    ran = [(key, macs) for key, macs in executed.items() if macs]
    meant = [macs for arguments in exported if (macs := macs_of_node(arguments))]
    if len(ran) != len(meant) or any(macs < should for (_, macs), should in zip(ran, meant, strict=True)):
        return executed, False
    return executed | {key: should for (key, _), should in zip(ran, meant, strict=True)}, True


def _key(event: dict[str, Any]) -> tuple[str, str]:
    return event["name"].removesuffix(_SUFFIX), event["args"]["op_name"]


def _shapes(arguments: dict[str, Any], which: str) -> Shapes:
    """Element type and shape of each input or output, without inputs that the node omits."""
    return [
        (dtype, tuple(shape)) for entry in arguments.get(f"{which}_type_shape", ()) for dtype, shape in entry.items()
    ]


def _precision(kind: str, inputs: Shapes) -> str:
    dtypes = {dtype for dtype, _ in inputs[:4]}
    if kind == "MatMulNBits":
        return "int4"
    if kind.startswith(("QLinear", "NhwcQLinear", "QGemm")) or "Integer" in kind or "DynamicQuantize" in kind:
        return "int8"
    return "fp16" if "float16" in dtypes else "fp32"


def _place(name: str, kind: str) -> str:
    """The kind of onnxruntime kernel that runs a node; "" for the plain one of its ONNX operator."""
    if kind.startswith(("QLinear", "NhwcQLinear", "QGemm")) or "Integer" in kind or "DynamicQuantizeMatMul" in kind:
        return "int8 kernel"
    if kind.startswith(("Fused", "NhwcFused", "BiasGelu", "FastGelu", "SkipLayer")):
        return "fused kernel"
    return "blocked kernel" if "nchwc" in name or kind.startswith("Reorder") else ""
