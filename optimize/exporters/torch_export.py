"""torch.export (`.pt2`): the captured graph itself, run by torch's own operators. Source: `torch.export.save`.

What other tools start from, and the check of what capturing and PT2E quantization alone do to the answers. A quantized
graph keeps its weights in 8 bits and widens them, and its activations, before each float operator: it is no faster, and
the graph is text that grows with each of these steps, so the file of a small model gets larger. torch promises no newer
torch to read it. So it is made only when asked for by name.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.engines.torch_export import TorchExportSession
from edgekit.edge_runtime.files import write_atomically
from edgekit.optimize.deploy import DeployModel, run_module, run_session
from edgekit.optimize.recipes import Recipe
from edgekit.optimize.rewrites import FOR_PT2E, rewrite

from ..capture import capture
from ..steps import begin
from .exporter import Exporter, Stage
from .layerwise import TorchLayers, calibration_batches

_LOGGERS = ("torch.utils._pytree", "torch.utils.flop_counter", "torchao")
_TRACES = ("stack_trace", "from_node")  # lines and folders of the machine that exported, numbers of one process


def export(model: DeployModel, recipe: Recipe, path: Path) -> Iterator[Stage]:
    """capture -> rewrite (what PT2E would get wrong) -> quantize (PT2E) -> lower (serialize)."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    begin("capturing the graph")
    program = capture(model)
    captured = program.module()
    yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))

    if recipe.pt2e is not None:
        begin("calibrating and quantizing")
        if applied := rewrite(captured, FOR_PT2E):
            yield Stage(kind="rewrite", run=lambda arrays: run_module(model, captured, arrays), notes=applied.notes)
        choice = recipe.choose_layers(TorchLayers(model, recipe, captured, lambda: calibration_batches(model)))
        quantized = recipe.pt2e(captured, calibration_batches(model), choice.float_layers)
        yield Stage(kind="quantize", run=lambda arrays: run_module(model, quantized, arrays), notes=choice.notes)
        program = torch.export.export(quantized, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)

    _save(program, path)
    yield Stage(kind="lower", run=lambda arrays: _run_file(model, path, arrays))


def _save(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes the program without the sample it was captured with, which is user's data, and without traces."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for name in _TRACES:
                    node.meta.pop(name, None)
    program.example_inputs = None
    with warnings.catch_warnings(), write_atomically(path) as part, part.open("wb") as file:
        warnings.simplefilter("ignore")  # remarks of torch's serializer to its own developers
        torch.export.save(program, file)  # to a stream: to a path, the name is in the file


def _run_file(model: DeployModel, path: Path, arrays: Arrays) -> Arrays:
    return run_session(model, TorchExportSession(path, torch.get_num_threads()), arrays)


TORCH_EXPORT = Exporter(
    name="torch_export",
    format="torch_export",
    suffix=".pt2",
    summary="torch.export: the captured graph, run by torch",
    recipes=("fp32", "fp16", "w8_dynamic", "w8a8_static", "w8a8_tuned", "mixed"),
    tools=("torch", "torchao"),
    export=export,
    by_default=False,
)
