"""The graphs that a `.pte` has for its XNNPACK delegate: operators, shapes, multiplications. Reads bytes only.

A delegate's data begin with a header of 30 bytes, followed by a flatbuffer of the graph. Only the few fields that tell
shapes are read, by their place in the schema that ships with ExecuTorch (backends/xnnpack/serialization/schema.fbs).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError
from ..flatbuffer import Table
from .operators import elements, tensor_bytes

_MAGIC, _HEADER_BYTES, _IDENTIFIER = b"XH00", 30, b"XN01"
# XNNDatatype -> a name; quantized types by the size of an element.
_DTYPES = {
    1: "float32", 2: "float16", 3: "int8", 4: "uint8", 5: "int32", 6: "int8", 7: "int32", 8: "int4", 9: "int8",
    10: "int4", 11: "int8", 12: "int32", 13: "float32", 14: "bfloat16",
}  # fmt: skip
# Place in the union XNodeUnion -> (name, fields of its table that are tensors: inputs, filter, bias …, output last).
_FULLY_CONNECTED, _CONV, _DEPTHWISE, _MATMUL, _CONV_TRANSPOSE = 2, 7, 13, 37, 39
_NODES = {
    _FULLY_CONNECTED: ("Fully Connected", (0, 1, 2, 3)),
    _CONV: ("Convolution", (15, 16, 17, 18)),
    _DEPTHWISE: ("Depthwise Convolution", (15, 16, 17, 18)),
    _MATMUL: ("Batch Matrix Multiply", (0, 1, 2)),
    _CONV_TRANSPOSE: ("Deconvolution", (15, 16, 17, 18)),
}
_NO_VALUE = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """One operator that multiplies."""

    kind: str
    """XNNPACK's name for it."""
    macs: int
    """Multiply-accumulates in one run."""
    bytes: int
    """Bytes read and written in one run."""
    precision: str
    """The precision of its weights."""


def multiplying_nodes(path: Path) -> list[GraphNode]:
    """The operators that multiply in all XNNPACK graphs of a `.pte`, in the order of the file.

    Raises:
        EngineError: a graph is damaged or from a newer ExecuTorch.
    """
    raw = path.read_bytes()
    nodes: list[GraphNode] = []
    try:
        for graph in _graphs(raw):
            nodes += _nodes(Table(graph, struct.unpack_from("<I", graph, 0)[0]))
    except (struct.error, IndexError, KeyError) as error:
        raise EngineError(f"{path.name}: its XNNPACK graph cannot be read: {error!r}. Pack the bundle again") from None
    return nodes


def _graphs(raw: bytes) -> Iterator[bytes]:
    at = raw.find(_MAGIC)
    while at >= 0:
        start = at - 4
        length, offset, size = struct.unpack_from("<HII", raw, start + 8)
        graph = raw[start + offset : start + offset + size]
        if start >= 0 and length == _HEADER_BYTES and graph[4:8] == _IDENTIFIER:
            yield graph
        at = raw.find(_MAGIC, at + 1)


def _nodes(graph: Table) -> Iterator[GraphNode]:
    values: dict[int, tuple[str, tuple[int, ...]]] = {}
    for value in graph.tables(2):
        tensor = value.table(1)
        if tensor is not None and value.number(0, "B") == 2:  # quantized: the tensor lies one level deeper
            tensor = tensor.table(0)
        if tensor is not None:
            dtype = _DTYPES.get(tensor.number(0, "h"), "float32")
            values[tensor.number(6)] = dtype, tensor.numbers(2)
    for node in graph.tables(1):
        union, fields = node.number(0, "B"), node.table(1)
        if union not in _NODES or fields is None:
            continue
        kind, places = _NODES[union]
        ids = [fields.number(place) for place in places]
        shapes = [values[i] for i in ids if i != _NO_VALUE]
        dtype = values[ids[1]][0]
        yield GraphNode(
            kind=kind,
            macs=_macs(union, fields, values[ids[0]][1], values[ids[1]][1], values[ids[-1]][1]),
            bytes=sum(tensor_bytes(dtype, shape) for dtype, shape in shapes),
            precision={"int8": "int8", "uint8": "int8", "int4": "int4"}.get(dtype, "fp16" if "16" in dtype else "fp32"),
        )


def _macs(union: int, fields: Table, given: tuple[int, ...], filter: tuple[int, ...], result: tuple[int, ...]) -> int:
    if union == _FULLY_CONNECTED:
        return elements(result) * filter[1]
    if union == _MATMUL:
        return elements(result) * given[-1]
    kernel = fields.number(4) * fields.number(5)
    if union == _CONV_TRANSPOSE:
        return elements(given) * kernel * fields.number(11)
    return elements(result) * kernel * fields.number(10)
