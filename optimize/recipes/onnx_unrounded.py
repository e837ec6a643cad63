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


def _is_float(node: onnx.NodeProto, quantized_operators: Collection[str], excluded: Collection[str]) -> bool:
    return node.op_type not in (_ROUND, _BACK) and (node.op_type not in quantized_operators or node.name in excluded)


def _before_rounding(maker: dict[str, onnx.NodeProto], name: str) -> str | None:
    """The tensor of which `name` is the rounded value; None where it is no such value."""
    back = maker.get(name)
    rounded = maker.get(back.input[0]) if back is not None and back.op_type == _BACK else None
    return rounded.input[0] if rounded is not None and rounded.op_type == _ROUND else None


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Removes roundings that nothing reads any more."""
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
