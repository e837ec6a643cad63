"""What both ONNX quantizers need first: shapes inferred and the graph simplified, in a folder that cleans up."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgekit.edge_runtime.temporary import temporary_folder

from .layers import onnx_layer, onnx_layers, onnx_products, onnx_tail, onnx_unread
from .recipe import FloatLayers

_PASSING = {"Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Transpose"}
_FLOAT = {"BatchNormalization"}  # not quantized where it could not be folded into the layer before it
_ARITHMETIC = {"Mul", "Add", "Sub", "Div", "Cast"}
_MOVING = {"Transpose", "Reshape"}


@contextmanager
def prepared(source: Path, float_layers: FloatLayers = frozenset()) -> Iterator[tuple[Path, list[str]]]:
    """Yields a copy of `source` that onnxruntime's quantizers can read shapes from, removed on exit.

    With it go the names of the nodes that the quantizers are to leave alone: those of `float_layers`, what only passes
    on their answers, the pools and the like behind the last layer, the pixel normalization in front of the first, which
    took two thirds of a mobilenet_v2's time in 8 bits, and what 8 bits make worse or slower in a transformer.

    Raises:
        ValueError: `float_layers` names a layer that is not among `choosable_layers`.
    """
    with temporary_folder() as folder:
        ready = folder / "prepared.onnx"
        try:
            quant_pre_process(source, ready)
        except Exception:
            # onnxruntime's symbolic shapes end at operators that it has none for: a ReduceL2 before an Expand, which is
            # what F.normalize becomes. The exporter has written the shapes into the file, and onnx infers the rest.
            quant_pre_process(source, ready, skip_symbolic_shape=True)
        graph = onnx.load(ready, load_external_data=False).graph
        if unknown := float_layers - set(onnx_layers(graph)):
            raise ValueError(f"no layers of this graph, so they cannot stay in float: {', '.join(sorted(unknown))}")
        kept = {node.name for node in graph.node if onnx_layer(node) in float_layers}
        kept |= _never(graph)
        yield ready, sorted(kept | set(passed_on(graph, kept)) | set(onnx_tail(graph)))


def choosable_layers(source: Path) -> tuple[str, ...]:
    """The layers that can stay in float, in the order in which they run, named as `prepared` will find them.

    Simplifying folds layers together and renames some, so a name in `source` itself may be one that nothing answers to.
    """
    with prepared(source) as (ready, _):
        graph = onnx.load(ready, load_external_data=False).graph
    never = _never(graph)
    return tuple(layer for layer in onnx_layers(graph) if layer not in never)


def _never(graph: onnx.GraphProto) -> set[str]:
    """The names of the nodes that would only lose by 8 bits."""
    return {*normalization(graph), *onnx_unread(graph), *onnx_products(graph)}


def passed_on(graph: onnx.GraphProto, kept: Collection[str]) -> list[str]:
    """The names of the nodes that only pass on, pool or join what was computed in float, by the nodes `kept` as well.

    In 8 bits such a node would round float answers once more on the way to the next layer, which rounds them itself:
    a ReLU behind a layer that is left in float, and the pool or the joint of branches behind a batch norm.
    """
    constant = {tensor.name for tensor in graph.initializer}
    unquantized: set[str] = set()  # tensors
    found = []
    for node in graph.node:
        computed = [name for name in node.input if name and name not in constant]
        if node.op_type in _PASSING and computed and any(name in unquantized for name in computed):
            found.append(node.name)
        elif node.name not in kept and node.op_type not in _FLOAT:
            continue
        unquantized.update(node.output)
    return found


def normalization(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that scale and shift the inputs by constants, before anything else is computed.

    What moves the inputs in between is among them, what moves the normalized ones is not.
    """
    raw = {tensor.name for tensor in graph.input}
    constant = {tensor.name for tensor in graph.initializer}
    found: list[str] = []
    moves: dict[str, list[str]] = {}  # tensor -> the nodes that have moved it since it was last computed with
    for node in graph.node:  # in the order in which they run
        computed = [name for name in node.input if name and name not in constant]
        if node.op_type not in _ARITHMETIC | _MOVING or len(computed) != 1 or computed[0] not in raw:
            continue
        raw.update(node.output)
        before = [*moves.get(computed[0], []), node.name]
        if node.op_type in _MOVING:
            moves[node.output[0]] = before
        else:
            found += [name for name in before if name not in found]
    return found
