"""ExecuTorch (`.pte`), lowered to the XNNPACK delegate; says which operators stayed outside it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import ExportError
from edgekit.optimize.deploy import DeployModel, run_module, run_session
from edgekit.optimize.recipes import Recipe
from edgekit.optimize.rewrites import FOR_PT2E, FOR_XNNPACK, Rewrite, rewrite

from ..capture import capture
from ..steps import begin
from .exporter import Exporter, Stage
from .layerwise import TorchLayers, calibration_batches
from .repeated_work import needless_subgraphs_left_out

_LOGGERS = ("torch.utils._pytree", "torch.utils.flop_counter", "executorch", "torchao")


def export(
    model: DeployModel, recipe: Recipe, path: Path, *, rewrites: Sequence[Rewrite] = FOR_XNNPACK
) -> Iterator[Stage]:
    """capture -> rewrite (what XNNPACK would not take) -> quantize (PT2E) -> lower."""
    return _export(model, recipe, path, rewrites, delegate=True)


def export_portable(model: DeployModel, recipe: Recipe, path: Path) -> Iterator[Stage]:
    """capture -> rewrite (what PT2E would get wrong) -> quantize (PT2E) -> lower, with nothing delegated."""
    return _export(model, recipe, path, () if recipe.pt2e is None else FOR_PT2E, delegate=False)


def _export(
    model: DeployModel, recipe: Recipe, path: Path, rewrites: Sequence[Rewrite], *, delegate: bool
) -> Iterator[Stage]:
    name = "executorch_xnnpack" if delegate else "executorch_portable"
    quiet()
    # executorch's lowering stack takes seconds to import; only this exporter pays for it.
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower

    begin("capturing the graph")
    program = capture(model)
    captured = program.module()
    yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))

    begin("rewriting the graph")
    if recipe.pt2e is not None:
        rewrites = (*(one for one in rewrites if one not in FOR_PT2E), *FOR_PT2E)
    if applied := rewrite(captured, rewrites):
        yield Stage(kind="rewrite", run=lambda arrays: run_module(model, captured, arrays), notes=applied.notes)
        program = torch.export.export(captured, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)

    if recipe.pt2e is not None:
        begin("calibrating and quantizing")
        choice = recipe.choose_layers(TorchLayers(model, recipe, captured, lambda: calibration_batches(model)))
        quantized = recipe.pt2e(captured, calibration_batches(model), choice.float_layers)
        yield Stage(kind="quantize", run=lambda arrays: run_module(model, quantized, arrays), notes=choice.notes)
        program = torch.export.export(quantized, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)

    begin("lowering for XNNPACK" if delegate else "lowering")
    if not delegate and recipe.pt2e is not None:
        # Tells torch of the quantized kernels; without a delegate the quantize nodes are lowered to them.
        importlib.import_module("executorch.kernels.quantized")
    with warnings.catch_warnings(), any_batch(), needless_subgraphs_left_out(program):
        warnings.simplefilter("ignore")  # deprecations inside torch and executorch, nothing a user can act on
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else [])
        info = get_delegation_info(edge.exported_program().graph_module)
        _check_batch(model, edge.exported_program(), name)
        begin("planning its memory and writing the program")
        path.write_bytes(edge.to_executorch().buffer)
    left = {name: row.non_delegated for name, row in info.delegation_by_operator.items() if row.non_delegated}
    left = {name: count for name, count in left.items() if name != "getitem"}
    total = info.num_delegated_nodes + sum(left.values())
    notes = {
        "delegated_operators": f"{info.num_delegated_nodes} of {total}",
        "outside_delegate": ", ".join(f"{name} x{count}" for name, count in sorted(left.items())) or "nothing",
    }
    outside = notes["outside_delegate"]
    yield Stage(kind="lower", run=lambda arrays: _run_program(model, path, arrays, outside, name), notes=notes)


def _run_program(model: DeployModel, path: Path, arrays: Arrays, outside: str, name: str) -> Arrays:
    from edgekit.edge_runtime.engines.executorch_python import ExecuTorchSession

    with kept_stderr() as said:
        try:
            session = ExecuTorchSession(path, num_threads=1)
            return run_session(model, session, arrays)
        except RuntimeError as error:
            failure = error
    raise ExportError(f"{name}: ExecuTorch made a program that it cannot run: {native_reason(failure, said())}. "
                      f"{_way_on(said(), outside)}")  # fmt: skip


# As the Python runtime logs, and as the native one's listener in the same process does.
_LOGGED = re.compile(r"^(?:\[[\w.]+:\d+\] |executorch: )(.*?)(?: \([\w./]+:\d+\))?$", re.MULTILINE)
_CHATTER = re.compile(r"cpuinfo|midr|image_version|CPU info|register_pal|thread", re.IGNORECASE)
_NO_KERNEL = re.compile(r"Missing operator|OperatorMissing|0x14\b")


def native_reason(error: Exception, log: str) -> str:
    """What ExecuTorch's own log gives as the reason, the first cause first; its error alone where it logs nothing."""
    lines = [line.strip().rstrip(".") for line in _LOGGED.findall(log) if not _CHATTER.search(line)]
    first = "; ".join(dict.fromkeys(lines[:3]))
    return f"{first} ({error})" if first else str(error)


def _way_on(log: str, outside: str) -> str:
    if _NO_KERNEL.search(log):
        return (
            f"An operator outside the delegate has no kernel ({outside}). Remedy: write it with others, or use another "
            "exporter"
        )
    left = f"Outside the delegate are {outside}. " if outside != "nothing" else ""
    return (
        f"{left}Remedy: --recipe mixed or w8a8_tuned leaves layers in float, fp32 all of them; write what is outside "
        "with operators that XNNPACK takes; or use another exporter"
    )


@contextlib.contextmanager
def any_batch() -> Iterator[None]:
    """Keeps torch's choice among its own kernels, which a program does not use, from narrowing a free batch to 15."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # switching mkldnn off and on remarks on Intel's GPUs
        with torch.backends.nnpack.flags(enabled=False), torch.backends.mkldnn.flags(enabled=False):
            yield


def _check_batch(model: DeployModel, lowered: torch.export.ExportedProgram, name: str) -> None:
    """Raises ExportError where lowering has narrowed a free batch: the memory plan would be too small for the rest."""
    from executorch.exir.sym_util import eval_upper_bound

    taken = [node.meta["val"] for node in lowered.graph.nodes if node.name in lowered.graph_signature.user_inputs]
    for spec, value in zip(model.inputs, taken, strict=True):
        most = eval_upper_bound(value.shape[0]) if spec.batch else None
        if spec.batch and most != spec.batch.max:
            raise ExportError(
                f"{name}: the lowered program takes at most {most} samples of {spec.name} at once, but "
                f"{spec.batch.max} were asked for. Remedy: --max-batch {most}, or another exporter"
            )


@contextlib.contextmanager
def kept_stderr() -> Iterator[Callable[[], str]]:
    """Takes what is printed to stderr, by native code too, and yields what gives it as text.

    The native runtime prints about the CPU and its thread pool when it starts; it knows no log level.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        text = ""

        def said() -> str:
            return text

        try:
            os.dup2(file.fileno(), 2)
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            text = file.read().decode("utf-8", "replace")


def quiet() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


XNNPACK = Exporter(
    name="executorch_xnnpack",
    format="executorch",
    suffix=".pte",
    summary="ExecuTorch with the XNNPACK delegate",
    recipes=("fp32", "fp16", "w8a8_static", "w8a8_tuned", "mixed", "w8a8_qat", "w4_dynamic"),
    tools=("torch", "torchao", "executorch"),
    export=export,
)

PORTABLE = Exporter(
    name="executorch_portable",
    format="executorch",
    suffix=".pte",
    summary="ExecuTorch without a delegate, on its portable kernels",
    recipes=("fp32", "w8a8_static"),
    tools=("torch", "torchao", "executorch"),
    export=export_portable,
    by_default=False,  # 150 to 300 times slower than XNNPACK: for a target that has no delegate, and for comparison
)
