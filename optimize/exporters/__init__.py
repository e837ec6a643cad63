"""Exporters: a module goes in, one model file comes out, with a checkable stage after each step."""

from . import ahead, aot, executorch, onnx, torch_export, torchscript
from .exporter import Exporter, Stage

EXPORTERS: dict[str, Exporter] = {
    "torchscript_traced": torchscript.TRACED,
    "torchscript_scripted": torchscript.SCRIPTED,
    "onnx": onnx.ONNX,
    "executorch_xnnpack": executorch.XNNPACK,
    "executorch_portable": executorch.PORTABLE,
    "aot": aot.AOT,
    "torch_export": torch_export.TORCH_EXPORT,
    "executorch_vulkan": ahead.VULKAN,
    "executorch_coreml": ahead.CORE_ML,
}

__all__ = ["EXPORTERS", "Exporter", "Stage"]
