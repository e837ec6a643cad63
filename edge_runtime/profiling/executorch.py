"""Time by operator of an ExecuTorch program: its instructions, and the operators inside its XNNPACK delegate.

Runs the shim with a tracer (`executorch_tracer.cpp`). XNNPACK times its operators in whole microseconds, rounded down;
the rest of a delegate's call is shown as one row. Knows nothing of bundles.
"""

from __future__ import annotations

import ctypes
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.manifest import Manifest
from ..engines.executorch_build import SOURCE
from ..engines.executorch_native import NativeSession, load_library
from ..errors import EngineError
from .operators import Operator
from .xnnpack_graph import GraphNode, multiplying_nodes

_TRACER = SOURCE.with_name("executorch_tracer.cpp")
_CALL = "DELEGATE_CALL"
# XNNPACK's names of operators that multiply, in the order in which to look for them.
_MULTIPLY = ("Fully Connected", "Deconvolution", "Convolution", "Batch Matrix Multiply")
# Kind in the graph -> what XNNPACK may run for it: a 1 × 1 convolution is a product of two matrices.
_RUNS_AS = {
    "Fully Connected": ("Fully Connected",),
    "Convolution": ("Convolution", "Fully Connected"),
    "Depthwise Convolution": ("Convolution",),
    "Deconvolution": ("Deconvolution",),
    "Batch Matrix Multiply": ("Batch Matrix Multiply", "Fully Connected"),
}
# Parts of the names of ExecuTorch's own operators that may multiply; their shapes are not recorded.
_MAY_MULTIPLY = ("conv", "mm", "linear", "matmul", "attention", "dot", "sdpa")


class _Event(ctypes.Structure):
    """`TraceEvent` of the tracer."""

    _fields_ = (
        ("start", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("instruction", ctypes.c_int32),
        ("in_delegate", ctypes.c_int32),
        ("name", ctypes.c_char * 112),
    )


class ExecuTorchProfiler:
    """A program that is timed by operator each time it runs."""

    def __init__(self, path: Path, manifest: Manifest, num_threads: int):
        self._library = library = _traced_library()
        self._session = NativeSession(path, num_threads, library)
        self._session.trace()
        self._path = path
        self._tick_ns = library.edgekit_tick_ns()
        self._runs: list[list[tuple[str, int, bool, int]]] = []  # name, instruction, in a delegate, ns

    def run(self, inputs: Sequence[np.ndarray]) -> int:
        """Runs once and keeps the events. Returns nanoseconds."""
        self._library.edgekit_forget()
        start = time.perf_counter_ns()
        self._session.run(inputs)
        taken = time.perf_counter_ns() - start
        self._runs.append(self._events())
        return taken

    def operators(self) -> tuple[list[Operator], list[str]]:
        """Every operator in the order of execution, with remarks on what could not be separated."""
        first = [event[:3] for event in self._runs[0]]
        if any([event[:3] for event in run] != first for run in self._runs):
            raise EngineError(
                f"{self._path.name}: its operators change between runs, so it cannot be profiled. Choose another bundle"
            )
        ns = np.array([[event[3] for event in run] for run in self._runs], np.int64)  # (runs, events)
        calls = {event[1]: i for i, event in enumerate(first) if event[0] == _CALL}
        inside: dict[int, list[int]] = defaultdict(list)
        for i, (_, instruction, in_delegate) in enumerate(first):
            if in_delegate and instruction in calls:
                inside[instruction].append(i)
        graph = self._graph([first[i][0] for rows in inside.values() for i in rows])
        operators: list[Operator] = []
        for i, (name, instruction, in_delegate) in enumerate(first):
            if instruction in calls and i == calls[instruction]:
                for j in inside[instruction]:
                    operators.append(_in_delegate(first[j][0], len(operators), ns[:, j], graph))
                rest = np.maximum(0, ns[:, i] - ns[:, inside[instruction]].sum(axis=1))
                what = "delegate, the rest" if inside[instruction] else "delegate, whole call"
                operators.append(
                    Operator(name=f"{len(operators)}", kind=what, ns=_plain(rest), macs=0, place="XNNPACK")
                )
            elif not in_delegate and name.startswith("native_call_") and instruction not in calls:
                kind = name.removeprefix("native_call_")
                macs = None if any(word in kind for word in _MAY_MULTIPLY) else 0
                operators.append(Operator(name=f"{len(operators)}", kind=kind, ns=_plain(ns[:, i]), macs=macs))
        return operators, self._remarks(bool(calls), any(inside.values()), graph)

    def _events(self) -> list[tuple[str, int, bool, int]]:
        events = ctypes.POINTER(_Event)()
        count = self._library.edgekit_events(ctypes.byref(events))
        return [
            (
                e.name.decode(errors="replace"),
                e.instruction,
                bool(e.in_delegate),
                round((e.end - e.start) * self._tick_ns),
            )
            for e in events[:count]
        ]

    def _graph(self, names: Sequence[str]) -> list[GraphNode] | None:
        """The multiplying nodes of the delegates' graphs, as they ran; None if other operators ran."""
        nodes = multiplying_nodes(self._path)
        ran = [kind for name in names if (kind := _multiplies(name))]
        same = len(nodes) == len(ran) and all(
            kind in _RUNS_AS[node.kind] for kind, node in zip(ran, nodes, strict=True)
        )
        return nodes if same else None

    def _remarks(self, delegated: bool, separated: bool, graph: list[GraphNode] | None) -> list[str]:
        remarks = []
        if separated:
            remarks.append("XNNPACK rounds the time of each operator down to whole microseconds: up to 1 µs is missing")
        elif delegated:
            remarks.append("this XNNPACK was built without its profiler, so a delegate's call is one row")
        if graph is None:
            remarks.append("XNNPACK ran other operators than its graph holds, so their multiplications are unknown")
        return remarks


def open_profiler(path: Path, manifest: Manifest, num_threads: int) -> ExecuTorchProfiler:
    """Loads a `.pte` to be timed. Raises MissingDependency or EngineError if the tracer cannot be built."""
    return ExecuTorchProfiler(path, manifest, num_threads)


def _in_delegate(name: str, index: int, ns: np.ndarray, graph: list[GraphNode] | None) -> Operator:
    kind = name.split(" #")[0].strip()
    if not _multiplies(name):
        return Operator(name=str(index), kind=kind, ns=_plain(ns), macs=0, place="XNNPACK")
    if graph is None:
        return Operator(name=str(index), kind=kind, ns=_plain(ns), place="XNNPACK")
    node = graph.pop(0)
    return Operator(
        name=str(index),
        kind=kind,
        ns=_plain(ns),
        macs=node.macs,
        bytes=node.bytes,
        precision=node.precision,
        place="XNNPACK",
    )


def _multiplies(name: str) -> str:
    return next((kind for kind in _MULTIPLY if name.startswith(kind)), "")


def _plain(ns: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in ns)


def _traced_library() -> Any:
    library = load_library(_TRACER)
    library.edgekit_trace.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    library.edgekit_trace.restype = ctypes.c_int
    library.edgekit_events.argtypes = (ctypes.POINTER(ctypes.POINTER(_Event)),)
    library.edgekit_events.restype = ctypes.c_int
    library.edgekit_forget.restype = None
    library.edgekit_tick_ns.restype = ctypes.c_double
    return library
