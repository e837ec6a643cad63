"""ExecuTorch (`.pte`), lowered to the XNNPACK delegate; says which operators stayed outside it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from edge_runtime.errors import ExportError
from edge_runtime.golden import Arrays
from optimize.deploy import DeployModel, run_module, run_session
from optimize.recipes import Recipe
from optimize.rewrites import FOR_XNNPACK, Rewrite, rewrite

from .exporter import Exporter, Stage
from .layerwise import TorchLayers

_LOGGERS = ("torch.utils._pytree", "torch.utils.flop_counter", "executorch", "torchao")
CALIBRATION_BATCH = 1  # the captured program takes the batch it was captured with


def export(
    model: DeployModel, recipe: Recipe, path: Path, *, rewrites: Sequence[Rewrite] = FOR_XNNPACK
) -> Iterator[Stage]:
    """capture -> rewrite (what XNNPACK would not take) -> quantize (PT2E) -> lower."""
    _quiet()
    # executorch's lowering stack takes seconds to import; only this exporter pays for it.
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(model.module, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)
    captured = program.module()
    yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))

    if applied := rewrite(captured, rewrites):
        yield Stage(kind="rewrite", run=lambda arrays: run_module(model, captured, arrays), notes=applied.notes)
        program = torch.export.export(captured, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)

    if recipe.pt2e is not None:
        choice = recipe.choose_layers(TorchLayers(model, recipe, captured, lambda: _batches(model, model.calibration)))
        quantized = recipe.pt2e(captured, _batches(model, model.calibration), choice.float_layers)
        yield Stage(kind="quantize", run=lambda arrays: run_module(model, quantized, arrays), notes=choice.notes)
        program = torch.export.export(quantized, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)

    with warnings.catch_warnings(), _any_batch():
        warnings.simplefilter("ignore")  # deprecations inside torch and executorch, nothing a user can act on
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        info = get_delegation_info(edge.exported_program().graph_module)
        _check_batch(model, edge.exported_program())
        path.write_bytes(edge.to_executorch().buffer)
    left = {name: row.non_delegated for name, row in info.delegation_by_operator.items() if row.non_delegated}
    left = {name: count for name, count in left.items() if name != "getitem"}
    total = info.num_delegated_nodes + sum(left.values())
    notes = {
        "delegated_operators": f"{info.num_delegated_nodes} of {total}",
        "outside_delegate": ", ".join(f"{name} x{count}" for name, count in sorted(left.items())) or "nothing",
    }
    outside = notes["outside_delegate"]
    yield Stage(kind="lower", run=lambda arrays: _run_program(model, path, arrays, outside), notes=notes)


def _run_program(model: DeployModel, path: Path, arrays: Arrays, outside: str) -> Arrays:
    from edge_runtime.engines.executorch_python import ExecuTorchSession

    with _silent_stderr():
        try:
            session = ExecuTorchSession(path, num_threads=1)
            return run_session(model, session, arrays)
        except RuntimeError as error:
            raise ExportError(
                f"executorch_xnnpack: ExecuTorch made a program that it cannot run ({error}). One of the operators "
                f"outside the delegate has no kernel: {outside}. Remedy: write it with others, or another exporter"
            ) from None


def _batches(model: DeployModel, calibration: Arrays) -> Iterator[tuple[torch.Tensor, ...]]:
    count = len(next(iter(calibration.values())))
    for i in range(0, count, CALIBRATION_BATCH):
        yield tuple(torch.from_numpy(calibration[spec.name][i : i + CALIBRATION_BATCH].copy()) for spec in model.inputs)


@contextlib.contextmanager
def _any_batch() -> Iterator[None]:
    """Keeps torch's choice among its own kernels, which a program does not use, from narrowing a free batch to 15."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # switching mkldnn off and on remarks on Intel's GPUs
        with torch.backends.nnpack.flags(enabled=False), torch.backends.mkldnn.flags(enabled=False):
            yield


def _check_batch(model: DeployModel, lowered: torch.export.ExportedProgram) -> None:
    """Raises ExportError where lowering has narrowed a free batch: the memory plan would be too small for the rest."""
    from executorch.exir.sym_util import eval_upper_bound

    taken = [node.meta["val"] for node in lowered.graph.nodes if node.name in lowered.graph_signature.user_inputs]
    for spec, value in zip(model.inputs, taken, strict=True):
        most = eval_upper_bound(value.shape[0]) if spec.batch else None
        if spec.batch and most != spec.batch.max:
            raise ExportError(
                f"executorch_xnnpack: lowering left {spec.name} a batch of {most} at the most, {spec.batch.max} were "
                f"asked for. Remedy: --max-batch {most}, or another exporter"
            )


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what the native runtime prints about the CPU and its thread pool when it starts; it knows no log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _quiet() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


XNNPACK = Exporter(
    name="executorch_xnnpack",
    format="executorch",
    suffix=".pte",
    summary="ExecuTorch with the XNNPACK delegate",
    recipes=("fp32", "fp16", "w8a8_static", "mixed"),
    tools=("torch", "torchao", "executorch"),
    export=export,
)
