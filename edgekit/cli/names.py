"""The names that can be typed, for help and for shell completion, without the parts that they belong to.

Importing those takes seconds. `tests/test_names.py` compares.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Mapping
from pathlib import Path

RECIPES: dict[str, str] = {
    "fp32": "32-bit float weights and activations, as trained",
    "fp16": "16-bit float weights and activations",
    "w8_dynamic": "8-bit weights in linear and recurrent layers, activations quantized at run time",
    "w8a8_static": "8-bit weights (per channel) and activations, ranges calibrated on real samples",
    "w8a8_tuned": "8-bit weights and activations, calibration method and corrections chosen by measurement",
    "mixed": "8-bit weights and activations but for the layers that int8 damages most, chosen by measurement",
    "w8a8_qat": "8-bit weights and activations, trained on for a few epochs as they will be rounded",
    "w8_only": "8-bit weights in linear layers (blocks of 32), activations in float",
    "w4_only": "4-bit weights in linear layers (blocks of 32), activations in float",
    "w4_dynamic": "4-bit weights in linear layers (blocks of 32), activations quantized to 8 bits at run time",
}
EXPORTERS: dict[str, str] = {
    "torchscript_traced": "TorchScript by tracing one sample",
    "torchscript_scripted": "TorchScript by compiling the code",
    "onnx": "ONNX for onnxruntime, opset 20",
    "executorch_xnnpack": "ExecuTorch with the XNNPACK delegate",
    "executorch_portable": "ExecuTorch without a delegate, on its portable kernels",
    "aot": "AOTInductor: machine code for this CPU",
    "torch_export": "torch.export: the captured graph, run by torch",
    "executorch_vulkan": "ExecuTorch for Vulkan GPUs, lowered and not run here",
    "executorch_coreml": "ExecuTorch for Apple's Core ML, lowered and not run here",
}
TASKS = ("classification", "multi_label", "regression", "segmentation", "detection", "none")
DEVICES: dict[str, str] = {
    "linux-x86": "a folder for Linux on a PC or server: runs without Python",
    "linux-arm64": "a folder for Linux on a 64-bit ARM board: runs without Python",
    "web": "a browser, on a phone or a computer; needs Node.js with npm once, to write it",
}
TARGETS = ("android", "ios", "linux-arm64", "linux-x86", "server", "web")
ENGINES = ("onnxruntime", "openvino", "executorch", "torch", "auto", "all")
_MODELS = Path(__file__).resolve().parent.parent.parent / "train" / "models"
_INSTALLED = Path(__file__).resolve().parent.parent / "train" / "models"


WIDTH = shutil.get_terminal_size().columns
# On such a terminal the table of options that rich draws would cut their names; plain text is wrapped instead.
NARROW = WIDTH < 80


def listed(names: Mapping[str, str]) -> str:
    """Names, each with its sentence, as help shows them."""
    between = "\n\n" if NARROW else "\n"  # plain help joins lines that no empty one parts
    return between.join(f"- `{name}`: {sentence}" for name, sentence in names.items())


def models() -> list[str]:
    """The names of the built-in models, read out of their files: nothing of them is run."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _MODELS
    return sorted(name for path in folder.glob("*.py") for name in _models_in(path))


def _models_in(path: Path) -> set[str]:
    """The name in each `MODEL = BookModel(name=...)` of a file, by whatever function it is made; else the file's."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign) or not isinstance(target := node.targets[0], ast.Name):
            continue
        given: list[ast.expr] = []
        if isinstance(node.value, ast.Call):
            given = [one.value for one in node.value.keywords if one.arg == "name"] or node.value.args[:1]
        if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
            if target.id.isupper() and not target.id.startswith("_"):
                found.add(given[0].value)
        elif target.id == "MODEL":
            found.add(path.stem)
    return found
