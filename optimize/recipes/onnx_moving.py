"""Lets bytes be moved in place of floats: rounds normalized pixels before they are reshaped and permuted, not behind.

onnxruntime's quantizer rounds where a layer takes its input. Moving changes no value, so it is the same 8 bits either
way; and onnxruntime then has no permutation left to do in front of a convolution that works pixel by pixel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import onnx

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"}


def round_before_moving(path: Path, in_float: Collection[str]) -> None:
    """Rewires the QDQ model in `path`, in place, where what a node `in_float` answers is moved, and then rounded."""
    proto = onnx.load(path)
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(tensor.name for tensor in graph.output)
    moved: set[str] = set()  # tensors that hold bytes from now on
    nodes = list(graph.node)
    for rounding in list(nodes):
        if rounding.op_type != "QuantizeLinear":
            continue
        moves: list[onnx.NodeProto] = []
        source = rounding.input[0]
        while source in makers and makers[source].op_type in _MOVES and readers[source] == 1:
            moves.insert(0, makers[source])
            source = makers[source].input[0]
        made_by = makers[source].name if source in makers else ""
        if not moves or made_by not in in_float or readers[source] != 1:
            continue
        rounded, last = rounding.output[0], moves[-1].output[0]
        for node in nodes:  # first, since the names change hands below
            for place, name in enumerate(node.input):
                if name == rounded:
                    node.input[place] = last
        rounding.input[0] = source
        moves[0].input[0] = rounded
        nodes.remove(rounding)
        nodes.insert(nodes.index(moves[0]), rounding)
        moved.update(name for node in moves for name in node.output)
    if moved:
        kept = [value for value in graph.value_info if value.name not in moved]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        del graph.node[:]
        graph.node.extend(nodes)
        onnx.save(proto, path)
