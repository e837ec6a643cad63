"""ExecuTorch programs lowered ahead of time for delegates that the runtime here does not have: Vulkan and Core ML.

The graph is lowered and the program looked into; it is never run, so a bundle of it has the status `not_run`. What is
held is the captured graph before lowering. Both are made only when asked for by name.

Not here (executorch 1.5): OpenVINO's partitioner cannot be imported without `openvino` and `nncf`, which edgekit does
not install, MLX's without modules that its wheel lacks; VGF asks for Arm's TOSA serializer. Others were not tried.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from edgekit.edge_runtime.errors import ExportError
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.recipes import Recipe

from ..capture import capture
from ..steps import begin
from .exporter import Exporter, Stage

_LOGGERS = ("torch.utils._pytree", "torch.utils.flop_counter", "executorch", "torchao", "coremltools")
_ON_PIXELS = ("aten.permute_copy.default", "aten._to_copy.default", "dim_order_ops._to_dim_order_copy.default")
_aten = torch.ops.aten
_POOLS = {
    *(_aten.max_pool1d.default, _aten.max_pool2d.default, _aten.max_pool3d.default),
    *(_aten.avg_pool1d.default, _aten.avg_pool2d.default, _aten.avg_pool3d.default),
}
DELEGATES = "delegates"  # key of the notes: which delegates the program names, and how often


def _vulkan(model: DeployModel) -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner()


def _core_ml(model: DeployModel) -> Any:
    # Bars of progress for each of its passes, which nobody reads; the variable is tqdm's own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools  # type: ignore[import-untyped]
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    # float32, as the recipe says: the default is float16. iOS 16 is the oldest that takes the ML Program asked for.
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=coremltools.precision.FLOAT32, minimum_deployment_target=coremltools.target.iOS16
    )
    # Core ML has no uint8 tensors, and executorch's partitioner does not look: what lays out and converts raw pixels
    # stays outside, and with it every other permutation of such a model, since only names can be excluded.
    raw = any(spec.dtype == "uint8" for spec in model.inputs)
    return CoreMLPartitioner(compile_specs=specs, skip_ops_for_coreml_delegation=list(_ON_PIXELS) if raw else [])


def write_strides(module: torch.fx.GraphModule) -> int:
    """Gives pools without a stride, whose stride is their size, that very stride; returns how many.

    coremltools (9.0) asks for the argument: "max_pool2d got 2 input(s), expected minimum 3 inputs".
    """
    bare = [node for node in module.graph.nodes if node.target in _POOLS and len(node.args) == 2]
    for node in bare:
        node.args = (*node.args, node.args[1])
    module.recompile()
    return len(bare)


def delegates_in(program: bytes) -> dict[str, int]:
    """Delegates by name that the bytes of a `.pte` call, and how often; read with executorch's own deserializer."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    found: dict[str, int] = {}
    for plan in deserialize_pte_binary(program).program.execution_plan:
        for delegate in plan.delegates:
            found[delegate.id] = found.get(delegate.id, 0) + 1
    return found


def _exporter(name: str, delegate: str, summary: str, partitioner: Callable[[DeployModel], Any]) -> Exporter:
    def export(model: DeployModel, recipe: Recipe, path: Path) -> Iterator[Stage]:
        """capture, then lower; the stage is of the captured graph, and its notes of what lowering made of it."""
        from executorch.devtools.backend_debug import get_delegation_info
        from executorch.exir import to_edge_transform_and_lower

        begin("capturing the graph")
        program = capture(model)
        captured = program.module()
        if write_strides(captured):
            program = torch.export.export(captured, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)
        begin(f"lowering for {delegate}")
        before = logging.root.level
        logging.root.setLevel(logging.ERROR)  # the Vulkan partitioner lists every operator on the root logger
        try:
            for logger in _LOGGERS:
                logging.getLogger(logger).setLevel(logging.ERROR)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations inside torch and executorch
                edge = to_edge_transform_and_lower(program, partitioner=[partitioner(model)])
                info = get_delegation_info(edge.exported_program().graph_module)
                lowered = edge.to_executorch().buffer
        finally:
            logging.root.setLevel(before)
        called = delegates_in(lowered)
        if set(called) != {delegate}:
            raise ExportError(
                f"{name}: {delegate} takes no operator of {model.name}; the program would run without it. "
                "Remedy: executorch_xnnpack or executorch_portable"
            )
        path.write_bytes(lowered)
        left = {op: row.non_delegated for op, row in info.delegation_by_operator.items() if row.non_delegated}
        left = {op: count for op, count in left.items() if op != "getitem"}
        notes = {
            "delegated_operators": f"{info.num_delegated_nodes} of {info.num_delegated_nodes + sum(left.values())}",
            "outside_delegate": ", ".join(f"{op} x{count}" for op, count in sorted(left.items())) or "nothing",
            DELEGATES: ", ".join(f"{found} x{count}" for found, count in called.items()),
        }
        yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays), notes=notes)

    return Exporter(
        name=name,
        format="executorch",
        suffix=".pte",
        summary=summary,
        recipes=("fp32",),
        tools=("torch", "torchao", "executorch"),
        export=export,
        by_default=False,
        runs_here=False,
    )


VULKAN = _exporter(
    "executorch_vulkan", "VulkanBackend", "ExecuTorch for Vulkan GPUs, lowered and not run here", _vulkan
)
CORE_ML = _exporter(
    "executorch_coreml",
    "CoreMLBackend",
    "ExecuTorch for Apple's Core ML, lowered and not run here",
    _core_ml,
)
