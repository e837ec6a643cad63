"""Exporters: a module goes in, one model file comes out, with a checkable stage after each step."""

from . import aot, executorch, onnx, torchscript
from .exporter import Exporter, Stage

EXPORTERS: dict[str, Exporter] = {
    "torchscript_traced": torchscript.TRACED,
    "torchscript_scripted": torchscript.SCRIPTED,
    "onnx": onnx.ONNX,
    "executorch_xnnpack": executorch.XNNPACK,
    "aot": aot.AOT,
}

__all__ = ["EXPORTERS", "Exporter", "Stage"]
