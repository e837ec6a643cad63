"""Lets what stays in float read what was computed in float, where a neighbour in 8 bits reads the same tensor.

onnxruntime's quantizer rounds a tensor for all of its readers as soon as one of them wants it in 8 bits. A residual
addition that was left in float then adds what was rounded for the convolution beside it, block after block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import onnx

_ROUND, _BACK = "QuantizeLinear", "DequantizeLinear"
# onnxruntime has these move the bytes of what was rounded, a quarter of the memory traffic.
_PRODUCTS = {"Gemm", "MatMul"}
_MOVING = {"Slice", "Split", "Gather", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Expand"}


def read_unrounded(path: Path, quantized_operators: Collection[str], excluded: Collection[str]) -> None:
    """Rewires the QDQ model in `path`, in place, so that float nodes read the exact tensors.

    What an operator computes in 8 bits is left as it is: a reader of its answer before rounding would keep onnxruntime
    from running it in integers.

    Args:
        quantized_operators: operator types that were quantized, but for the nodes named in `excluded`.
    """
    proto = onnx.load(path)
    maker = {name: node for node in proto.graph.node for name in node.output}
    rewired = False
    for node in proto.graph.node:
        moving = node.op_type in _MOVING and node.name not in excluded
        if moving or not _is_float(node, quantized_operators, excluded):
            continue
        for place, name in enumerate(node.input):
            exact = _before_rounding(maker, name)
            if exact and (exact not in maker or _is_float(maker[exact], quantized_operators, excluded)):
                node.input[place] = exact
                rewired = True
    if rewired:
        _drop_unread(proto.graph)
        onnx.save(proto, path)


def leave_unrounded(path: Path, quantized_operators: Collection[str], excluded: Collection[str]) -> None:
    """Rewires the QDQ model in `path`, in place: a matrix product is rounded only where an 8-bit operator reads it.

    onnxruntime's quantizer rounds what every operator in 8 bits answers. A product can answer in float as well, which
    is one rounding and two nodes less where only float nodes follow, directly or behind what moves values. A
    convolution cannot: onnxruntime would run it in float altogether.
    """
    proto = onnx.load(path)
    graph = proto.graph
    maker = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    answers = {tensor.name for tensor in graph.output}

    def is_needed(name: str) -> bool:
        """Whether an 8-bit operator reads the values of a tensor in float, itself or moved."""
        for node in readers.get(name, []):
            if node.op_type == _ROUND:
                if any(is_needed(back.output[0]) for back in readers.get(node.output[0], []) if back.op_type == _BACK):
                    return True
            elif node.op_type in _MOVING and node.name not in excluded:
                if any(is_needed(moved) for moved in node.output):
                    return True
            elif not _is_float(node, quantized_operators, excluded):
                return True
        return False

    exact: dict[str, str] = {}  # a tensor that was rounded -> the one that it was made of
    for node in graph.node:
        if node.op_type != _ROUND or node.output[0] in answers:
            continue
        backs = readers.get(node.output[0], [])
        origin = node.input[0]
        while origin in exact or (origin in maker and maker[origin].op_type in _MOVING):
            origin = exact[origin] if origin in exact else maker[origin].input[0]
        if origin not in maker or maker[origin].op_type not in _PRODUCTS:
            continue
        if all(back.op_type == _BACK and not is_needed(back.output[0]) for back in backs):
            exact.update((back.output[0], node.input[0]) for back in backs)
    if exact:
        _read_exact(graph, exact)
        _drop_unread(graph)
        onnx.save(proto, path)


def _read_exact(graph: onnx.GraphProto, exact: dict[str, str]) -> None:
    """Has all readers of a tensor that was rounded read the one it was made of, and the graph answer that one."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            while name in exact:
                name = exact[name]
            node.input[place] = name
    taken = {}  # a tensor -> the answer's name that it takes over
    for answer in {tensor.name for tensor in graph.output}.intersection(exact):
        origin = exact[answer]
        while origin in exact:
            origin = exact[origin]
        taken[origin] = answer
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in taken:
                    names[place] = taken[name]
                elif names is node.output and name in taken.values():
                    names[place] = f"{name}_rounded"  # which nothing reads


def _is_float(node: onnx.NodeProto, quantized_operators: Collection[str], excluded: Collection[str]) -> bool:
    return node.op_type not in (_ROUND, _BACK) and (node.op_type not in quantized_operators or node.name in excluded)


def _before_rounding(maker: dict[str, onnx.NodeProto], name: str) -> str | None:
    """The tensor of which `name` is the rounded value; None where it is no such value."""
    back = maker.get(name)
    rounded = maker.get(back.input[0]) if back is not None and back.op_type == _BACK else None
    return rounded.input[0] if rounded is not None and rounded.op_type == _ROUND else None


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Removes roundings that nothing reads any more, and their scales."""
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(tensor.name for tensor in graph.output)
    kept = []
    for node in reversed(graph.node):  # a rounding back is behind the rounding it reads
        if node.op_type in (_ROUND, _BACK) and not any(readers[name] for name in node.output):
            readers.subtract(node.input)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [tensor for tensor in graph.initializer if readers[tensor.name]]
    del graph.initializer[:]
    graph.initializer.extend(constants)
