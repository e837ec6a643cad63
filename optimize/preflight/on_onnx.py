"""What ONNX and onnxruntime do with each operator of a model, found by converting it and by making a session."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch

from ..deploy import DeployModel
from ..exporters.onnx import run_onnx, to_onnx
from ..recipes.w8a8_static import QUANTIZED_OPERATORS, quantize_onnx
from ..rewrites import FOR_ONNX_INT8, rewrite
from ..temporary_files import collected
from .places import (
    EngineFindings,
    Finding,
    Layer,
    Where,
    calls,
    grouped,
    grouped_layers,
    operator_of,
    source_line,
    where,
)

_NO_KERNEL = re.compile(
    r"(?:Could not find an implementation for|NOT_IMPLEMENTED.*?) (\w+)\(\d+\) node with name '([^']*)'"
)
_QUANTIZE = ("QuantizeLinear", "DequantizeLinear")


def examine(model: DeployModel, program: torch.export.ExportedProgram) -> EngineFindings:
    """`onnx` in fp32, and which operators its static 8 bits would take, for one captured program."""
    with collected() as folder:
        path = folder / "model.onnx"
        try:
            to_onnx(model, program).save(str(path), external_data=False)
        except Exception as failure:
            missing = _not_converted(program)
            return EngineFindings(engine="onnx", runs=False, error=_first(failure, missing), findings=missing)
        places = _places(onnx.load(path))
        error, missing_names = "", set()
        try:
            run_onnx(model, path, model.calibration)
        except Exception as failure:  # onnxruntime has a dozen kinds
            error = _first(failure, ())
            missing_names = {name for _, name in _NO_KERNEL.findall(str(failure))}
        findings = grouped(
            Finding(
                operator=node.op_type,
                placing="missing" if node.name in missing_names else "delegated",
                where=places.get(node.name, Where()),
                count=1,
                remedy="onnxruntime has no CPU kernel of it: write it differently"
                if node.name in missing_names
                else "",
            )
            for node in onnx.load(path).graph.node
        )
        layers, said = ((), "") if error else _layers(model, program, Path(folder))
    return EngineFindings(engine="onnx", runs=not error, error=error, findings=findings, layers=layers, int8_error=said)


def _layers(model: DeployModel, program: torch.export.ExportedProgram, folder: Path) -> tuple[tuple[Layer, ...], str]:
    """Which operators onnxruntime's quantizer takes, after the rewrites that edgekit does for 8 bits."""
    source, target = folder / "float.onnx", folder / "int8.onnx"
    try:
        captured = program.module()
        if rewrite(captured, FOR_ONNX_INT8):
            program = torch.export.export(captured, model.example, strict=False)
        to_onnx(model, program).save(str(source), external_data=False)
        places = _places(onnx.load(source))
        quantize_onnx(source, target, model.calibration)
    except Exception as failure:
        return (), _first(failure, ())
    graph = onnx.load(target).graph
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return grouped_layers(
        Layer(
            operator=node.op_type,
            int8=node.op_type in QUANTIZED_OPERATORS and bool(dequantized & set(node.input)),
            where=places.get(node.name.removesuffix("_quant"), Where()),
            count=1,
        )
        for node in graph.node
        if node.op_type not in _QUANTIZE
    ), ""


def _not_converted(program: torch.export.ExportedProgram) -> tuple[Finding, ...]:
    """The operators that torch's ONNX exporter has no function of, after it has taken apart what it can."""
    from torch.onnx._internal.exporter._fx_passes import decompose_with_registry
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    registry = ONNXRegistry.from_torchlib()
    apart = decompose_with_registry(program, registry)
    remedy = "torch.onnx has no such operator: write it with simpler ones, or outside the model"
    return grouped(
        Finding(operator=operator_of(node), placing="missing", where=where(node.meta), count=1, remedy=remedy)
        for node in calls(apart.graph)
        if not registry.is_registered(node.target)  # type: ignore[arg-type]
    )


def _places(proto: onnx.ModelProto) -> dict[str, Where]:
    """The module and line of each node, from what torch's exporter noted on it."""
    return {node.name: _place({prop.key: prop.value for prop in node.metadata_props}) for node in proto.graph.node}


def _place(notes: Mapping[str, str]) -> Where:
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))  # modules from the outside in, the node
    modules = [scope for scope in scopes[:-1] if scope]
    return Where(module=modules[-1] if modules else "", line=source_line(notes.get("pkg.torch.onnx.stack_trace", "")))


def _first(failure: Exception, missing: tuple[Finding, ...]) -> str:
    if missing:
        names = ", ".join(dict.fromkeys(one.operator for one in missing))
        return f"torch.onnx cannot convert {names}"
    lines = [line.strip() for line in str(failure).strip().splitlines() if line.strip()] or [""]
    return f"{type(failure).__name__}: {lines[0][:240]}"
