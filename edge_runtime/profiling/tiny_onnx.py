"""An ONNX model of one node as bytes, without the onnx package, to measure a machine's peaks with.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers); protobuf's wire format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
_IR_VERSION, _OPSET = 8, 17  # old enough for every onnxruntime in use


@dataclass(frozen=True)
class Tensor:
    """A model's input or output."""

    name: str
    """Its name."""
    dtype: np.dtype
    """Its element type."""
    shape: tuple[int, ...]
    """Its fixed shape."""


def one_node_model(kind: str, given: Tensor, weights: Mapping[str, np.ndarray], result: Tensor) -> bytes:
    """A model that computes `result = kind(given, *weights)`."""
    node = b"".join(_text(1, name) for name in (given.name, *weights)) + _text(2, result.name) + _text(4, kind)
    graph = _bytes(1, node) + _text(2, "one node")
    graph += b"".join(_bytes(5, _weight(name, array)) for name, array in weights.items())
    graph += _bytes(11, _value(given)) + _bytes(12, _value(result))
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, _OPSET))


def _weight(name: str, array: np.ndarray) -> bytes:
    sides = b"".join(_number(1, side) for side in array.shape)
    return sides + _number(2, _TYPES[array.dtype.name]) + _text(8, name) + _bytes(9, array.tobytes())


def _value(tensor: Tensor) -> bytes:
    shape = b"".join(_bytes(1, _number(1, side)) for side in tensor.shape)
    kind = _number(1, _TYPES[np.dtype(tensor.dtype).name]) + _bytes(2, shape)
    return _text(1, tensor.name) + _bytes(2, _bytes(1, kind))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
