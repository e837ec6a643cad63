"""What `edgekit doctor MODEL` finds: operators by engine, each with its place in the user's own code.

A captured or lowered graph keeps for every operator the path of its module and the stack of Python frames that called
it; both are read here. Runs nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import fx

from ..user_model.user_code import is_library_file

Placing = Literal["delegated", "fallback", "missing"]
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_QUANTIZING = ("quantize_per", "dequantize_per", "choose_qparams")


@dataclass(frozen=True, kw_only=True)
class Where:
    """An operator's place in the model: `module` is its path ("body.conv1"), `line` "net.py:12"; "" if not known."""

    module: str = ""
    line: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an engine does with the operators of one kind at one place.

    `placing`: "delegated", to XNNPACK or the engine's one set of kernels; "fallback", to a plain portable kernel;
    "missing", where there is no kernel that runs it. `remedy` says what helps, and whether edgekit does so by itself.
    """

    operator: str
    placing: Placing
    where: Where
    count: int
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Operators of one kind at one place, and whether the quantizer makes them 8 bits wide or leaves them float."""

    operator: str
    int8: bool
    where: Where
    count: int


@dataclass(frozen=True, kw_only=True)
class EngineFindings:
    """All that is known of one engine. Where `rewrites` is not empty, `remaining` is what they leave undelegated.

    `runs` is of the file that edgekit makes, rewrites and all; `error` says why not. `layers` is empty where the
    exporter has no 8 bits; `int8_error` says why they could not be had.
    """

    engine: str
    runs: bool
    error: str = ""
    findings: tuple[Finding, ...] = ()
    rewrites: str = ""
    remaining: tuple[Finding, ...] = ()
    layers: tuple[Layer, ...] = ()
    int8_error: str = ""


def where(meta: Mapping[str, Any]) -> Where:
    """The place of a node of a torch graph, from its `nn_module_stack` and `stack_trace`."""
    stack = list((meta.get("nn_module_stack") or {}).values())
    return Where(module=stack[-1][0] if stack else "", line=source_line(meta.get("stack_trace") or ""))


def source_line(stack_trace: str) -> str:
    """ "net.py:12", the innermost frame outside installed libraries; "" where there is none."""
    frames = [(file, number) for file, number in _FRAME.findall(stack_trace) if not is_library_file(file)]
    return f"{Path(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""


def calls(graph: fx.Graph) -> list[fx.Node]:
    """The operators of a graph: no `getitem`, which only takes apart what an operator gave, and nothing symbolic."""
    return [node for node in graph.nodes if node.op == "call_function" and hasattr(node.target, "_schema")]


def operator_of(node: fx.Node) -> str:
    """ "aten.convolution" of an ATen or edge operator's node."""
    return node.target._schema.name.replace("::", ".")  # type: ignore[union-attr]


def is_quantizing(name: str) -> bool:
    """Whether an operator only turns floats into 8 bits or back."""
    return any(part in name for part in _QUANTIZING)


def grouped(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same findings, those alike counted as one: what is missing first, then what falls back."""
    counts: Counter[tuple[str, Placing, Where, str]] = Counter()
    for one in found:
        counts[one.operator, one.placing, one.where, one.remedy] += one.count
    order = ("missing", "fallback", "delegated")
    return tuple(
        Finding(operator=operator, placing=placing, where=place, count=count, remedy=remedy)
        for (operator, placing, place, remedy), count in sorted(counts.items(), key=lambda one: order.index(one[0][1]))
    )


def grouped_layers(found: Iterable[Layer]) -> tuple[Layer, ...]:
    """The same layers, those alike counted as one, in the order in which they run."""
    counts: Counter[tuple[str, bool, Where]] = Counter()
    for one in found:
        counts[one.operator, one.int8, one.where] += one.count
    return tuple(Layer(operator=o, int8=i, where=w, count=n) for (o, i, w), n in counts.items())


def quantized_layers(graph: fx.Graph) -> tuple[Layer, ...]:
    """Which operators of a converted PT2E graph take 8 bits: those that the quantizer had a pattern for, and marked."""
    layers = []
    for node in calls(graph):
        if is_quantizing(operator_of(node)) or operator_of(node) == "aten._assert_tensor_metadata":
            continue
        annotation = node.meta.get("quantization_annotation")
        int8 = annotation is not None and annotation._annotated
        layers.append(Layer(operator=operator_of(node), int8=int8, where=where(node.meta), count=1))
    return grouped_layers(layers)
