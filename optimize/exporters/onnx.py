"""ONNX through torch.export (the dynamo exporter), quantized on the ONNX side where the recipe asks for it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.recipes import Recipe
from edgekit.optimize.rewrites import FOR_ONNX, FOR_ONNX_INT8, Rewrite, rewrite

from ..capture import capture
from ..steps import begin
from .exporter import Exporter, Stage
from .layerwise import OnnxLayers

OPSET = 20  # the newest one whose operators every onnxruntime back to 1.17 runs, in browsers and on phones too


def export(
    model: DeployModel, recipe: Recipe, path: Path, *, rewrites: Sequence[Rewrite] | None = None
) -> Iterator[Stage]:
    """capture -> rewrite (raw pixels, and what 8 bits need) -> lower (a float .onnx) -> quantize."""
    if rewrites is None:
        rewrites = FOR_ONNX_INT8 if recipe.needs_calibration else FOR_ONNX
    begin("capturing the graph")
    exported = capture(model)
    captured = exported.module()
    yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))

    begin("rewriting the graph")
    if applied := rewrite(captured, rewrites):
        yield Stage(kind="rewrite", run=lambda arrays: run_module(model, captured, arrays), notes=applied.notes)
        exported = torch.export.export(captured, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)

    begin("converting to ONNX")
    program = to_onnx(model, exported)
    float_path = path.with_suffix(".float.onnx")
    program.save(str(float_path), external_data=False)
    _strip_traces(float_path)
    onnx.checker.check_model(float_path, full_check=True)
    yield Stage(kind="lower", run=lambda arrays: run_onnx(model, float_path, arrays))

    if recipe.onnx is None:
        float_path.replace(path)
        return
    begin("calibrating and quantizing")
    choice = recipe.choose_layers(OnnxLayers(model, recipe, float_path, run_onnx))
    recipe.onnx(float_path, path, model.calibration, choice.float_layers)
    float_path.unlink()
    _strip_traces(path)
    notes = _operator_counts(path) | choice.notes
    yield Stage(kind="quantize", run=lambda arrays: run_onnx(model, path, arrays), notes=notes)


def run_onnx(model: DeployModel, path: Path, arrays: Arrays) -> Arrays:
    """Runs a `.onnx` row by row in this process, with onnxruntime's default optimisations."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in model.outputs]
    rows = len(next(iter(arrays.values())))
    found = [session.run(names, {key: value[i : i + 1] for key, value in arrays.items()}) for i in range(rows)]
    return {name: np.concatenate([answer[k] for answer in found]) for k, name in enumerate(names)}


def to_onnx(model: DeployModel, exported: torch.export.ExportedProgram) -> torch.onnx.ONNXProgram:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between torch and onnxscript, nothing a user can act on
        program = torch.onnx.export(
            exported,
            model.example,
            dynamo=True,
            dynamic_shapes=model.dynamic_shapes,
            optimize=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in model.inputs],
            output_names=[spec.name for spec in model.outputs],
            verbose=False,
        )
    assert program is not None  # only the legacy exporter gives None
    return program


def _strip_traces(path: Path) -> None:
    """Removes the exporter's notes on each node: source lines and folders of the machine that exported."""
    proto = onnx.load(path)
    for holder in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        holder.doc_string = ""
        del holder.metadata_props[:]
    for function in proto.functions:
        for node in function.node:
            del node.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.save(proto, path)


def _operator_counts(path: Path) -> dict[str, str]:
    kinds = [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]
    return {"onnx_operators": ", ".join(f"{kind} x{kinds.count(kind)}" for kind in sorted(set(kinds)))}


ONNX = Exporter(
    name="onnx",
    format="onnx",
    suffix=".onnx",
    summary="ONNX for onnxruntime, opset 20",
    recipes=("fp32", "fp16", "w8_dynamic", "w8a8_static", "w8a8_tuned", "mixed", "w8_only", "w4_only"),
    tools=("torch", "onnx", "onnxscript", "onnxruntime"),
    export=export,
)
