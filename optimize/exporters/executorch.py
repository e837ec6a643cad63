"""ExecuTorch (`.pte`), lowered to the XNNPACK delegate; says which operators stayed outside it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from edge_runtime.golden import Arrays
from optimize.deploy import DeployModel, run_module
from optimize.recipes import Recipe
from optimize.rewrites.unshare import unshare

from .exporter import Exporter, Stage

_LOGGERS = ("torch.utils._pytree", "torch.utils.flop_counter", "executorch", "torchao")
CALIBRATION_BATCH = 1  # the captured program takes the batch it was captured with


def export(model: DeployModel, recipe: Recipe, path: Path) -> Iterator[Stage]:
    """capture -> rewrite (where weights are shared) -> quantize (PT2E) -> lower."""
    _quiet()
    # executorch's lowering stack takes seconds to import; only this exporter pays for it.
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(model.module, model.example, strict=False)
    captured = program.module()
    yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))

    if copies := unshare(captured):
        notes = {"unshared_weights": f"{copies} convolutions have weights of their own, that batch norm is folded into"}
        yield Stage(kind="rewrite", run=lambda arrays: run_module(model, captured, arrays), notes=notes)
        program = torch.export.export(captured, model.example, strict=False)

    if recipe.pt2e is not None:
        quantized = recipe.pt2e(captured, _batches(model, model.calibration))
        yield Stage(kind="quantize", run=lambda arrays: run_module(model, quantized, arrays))
        program = torch.export.export(quantized, model.example, strict=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch and executorch, nothing a user can act on
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        info = get_delegation_info(edge.exported_program().graph_module)
        path.write_bytes(edge.to_executorch().buffer)
    left = {name: row.non_delegated for name, row in info.delegation_by_operator.items() if row.non_delegated}
    left = {name: count for name, count in left.items() if name != "getitem"}
    total = info.num_delegated_nodes + sum(left.values())
    notes = {
        "delegated_operators": f"{info.num_delegated_nodes} of {total}",
        "outside_delegate": ", ".join(f"{name} x{count}" for name, count in sorted(left.items())) or "nothing",
    }
    yield Stage(kind="lower", run=lambda arrays: _run_program(model, path, arrays), notes=notes)


def _run_program(model: DeployModel, path: Path, arrays: Arrays) -> Arrays:
    from edge_runtime.engines.executorch_python import ExecuTorchSession

    with _silent_stderr():
        session = ExecuTorchSession(path, num_threads=1)

    class Module(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(torch.from_numpy(out) for out in session.run([tensor.numpy() for tensor in inputs]))

    return run_module(model, Module(), arrays)


def _batches(model: DeployModel, calibration: Arrays) -> Iterator[tuple[torch.Tensor, ...]]:
    count = len(next(iter(calibration.values())))
    for i in range(0, count, CALIBRATION_BATCH):
        yield tuple(torch.from_numpy(calibration[spec.name][i : i + CALIBRATION_BATCH].copy()) for spec in model.inputs)


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
    recipes=("fp32", "w8a8_static"),
    tools=("torch", "torchao", "executorch"),
    export=export,
)
