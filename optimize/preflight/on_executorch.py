"""What ExecuTorch does with each operator of a model, found by lowering it for real and running what came out."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from ..deploy import DeployModel
from ..exporters.executorch import any_batch, kept_stderr, native_reason, quiet
from ..recipes.w8a8_static import quantize_pt2e
from ..rewrites import FOR_PT2E, FOR_XNNPACK, Rewrite, rewrite
from .places import EngineFindings, Finding, Layer, calls, grouped, operator_of, quantized_layers, where

_NOT_CORE = re.compile(r"Operator torch\._ops\.(\S+?) is not in Core ATen")
_SLOW = "runs on a portable kernel, far slower than XNNPACK; no rewrite of edgekit takes it"
_WRITE_ANEW = "write it with simpler operators, or outside the model"

# Of each node that a rewrite takes, by its place, the name of that rewrite.
Taken = Mapping[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """One lowering: what became of each operator, and whether the program ran; `error` is why not."""

    findings: tuple[Finding, ...]
    error: str


def examine(model: DeployModel, program: torch.export.ExportedProgram) -> list[EngineFindings]:
    """`executorch_xnnpack` as edgekit makes it, and `executorch_portable`, for one captured program."""
    quiet()
    taken = rewrites_taking(program.module(), FOR_XNNPACK)
    xnnpack = lower(model, program, delegate=True, taken=taken)
    remaining: tuple[Finding, ...] = ()
    error, applied = xnnpack.error, ""
    rewritten = program.module()
    if done := rewrite(rewritten, FOR_XNNPACK):
        applied = done.text
        after = lower(model, torch.export.export(rewritten, model.example, strict=False), delegate=True, taken={})
        remaining = tuple(one for one in after.findings if one.placing != "delegated")
        error = after.error
    layers, said = _layers(model, rewritten, delegate=True)
    portable = lower(model, program, delegate=False, taken=taken)
    own, own_said = _layers(model, program.module(), delegate=False)
    return [
        EngineFindings(
            engine="executorch_xnnpack",
            runs=not error,
            error=error,
            findings=xnnpack.findings,
            rewrites=applied,
            remaining=remaining,
            layers=layers,
            int8_error=said,
        ),
        EngineFindings(
            engine="executorch_portable",
            runs=not portable.error,
            error=portable.error,
            findings=portable.findings,
            layers=own,
            int8_error=own_said,
        ),
    ]


def rewrites_taking(captured: fx.GraphModule, rewrites: Sequence[Rewrite]) -> dict[tuple[str, str], str]:
    """Which rewrite replaces the operators at which place, by (module path, stack trace); changes `captured`."""
    places = {node.name: _key(node.meta) for node in captured.graph.nodes if node.op == "call_function"}
    taken: dict[tuple[str, str], str] = {}
    for one in rewrites:
        rewrite(captured, [one])
        left = {node.name for node in captured.graph.nodes}
        taken |= {places.pop(name): one.name for name in [name for name in places if name not in left]}
    return taken


def lower(model: DeployModel, program: torch.export.ExportedProgram, *, delegate: bool, taken: Taken) -> Lowered:
    """Lowers and runs a program; where that fails, every operator is held against the runtime's own kernels."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    error, buffer = "", b""
    with warnings.catch_warnings(), any_batch():
        warnings.simplefilter("ignore")  # deprecations inside torch and executorch, nothing a user can act on
        partitioner = [XnnpackPartitioner()] if delegate else []
        try:
            edge = to_edge_transform_and_lower(program, partitioner=partitioner)
        except Exception as failure:
            error = _first(failure)
            unchecked = EdgeCompileConfig(_check_ir_validity=False)
            partitioner = [XnnpackPartitioner()] if delegate else []
            try:
                edge = to_edge_transform_and_lower(program, partitioner=partitioner, compile_config=unchecked)
            except Exception:  # the first failure says more
                return Lowered(findings=(), error=error)
        if not error:
            try:
                buffer = edge.to_executorch().buffer
                run_program(buffer, model.example)
            except Exception as failure:
                error = _first(failure)
    inside, outside = split(edge.exported_program().graph_module)
    refused = _Refused() if error else None
    found = [_finding(node, "delegated") for node in inside]
    for node in outside:
        name = taken.get(_key(node.meta), "")
        missing = refused is not None and refused(node)
        remedy = _rewritten(name, delegate) if name else _WRITE_ANEW if missing else _SLOW if delegate else ""
        found.append(_finding(node, "missing" if missing else "fallback", remedy))
    return Lowered(findings=grouped(found), error=error)


def split(module: fx.GraphModule) -> tuple[list[fx.Node], list[fx.Node]]:
    """The operators inside the delegates of a lowered graph, and those outside."""
    inside: list[fx.Node] = []
    for node in module.graph.nodes:
        if node.op == "call_function" and "call_delegate" in str(node.target):
            inside += calls(getattr(module, node.args[0].target).original_module.graph)
    return inside, [node for node in calls(module.graph) if not str(node.target).startswith("executorch_call")]


def run_program(buffer: bytes, inputs: Sequence[torch.Tensor]) -> None:
    """Loads a program in ExecuTorch's runtime and runs it once. Raises RuntimeError where it cannot."""
    from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

    with kept_stderr() as said:
        try:
            _load_for_executorch_from_buffer(buffer).run_method("forward", tuple(inputs))
            return
        except RuntimeError as error:
            failure = error
    raise RuntimeError(native_reason(failure, said()))


def kernel_names() -> set[str]:
    """The operators that the installed runtime has kernels of, without their variants: {"aten::add", …}."""
    from executorch.extension.pybindings.portable_lib import _get_operator_names

    return {name.rpartition(".")[0] or name for name in _get_operator_names()}


class _Refused:
    """Whether the runtime cannot run an operator: it has no kernel, or its kernel refuses these shapes.

    The second is found by running the operator alone; a convolution has a kernel, and for two space axes only.
    """

    def __init__(self) -> None:
        self._kernels = kernel_names()
        self._known: dict[str, bool] = {}

    def __call__(self, node: fx.Node) -> bool:
        name = node.target._schema.name  # type: ignore[union-attr]
        if name not in self._kernels and name not in _NO_KERNEL:
            return True
        signature = str((name, fx.map_arg((node.args, node.kwargs), _shape)))
        if signature not in self._known:
            self._known[signature] = name not in _NO_KERNEL and not _runs_alone(node)
        return self._known[signature]


# The memory plan makes these from what is there; no kernel is called.
_NO_KERNEL = {"aten::view_copy", "aten::view"}


class _Alone(torch.nn.Module):
    """One operator: the tensors it takes are the inputs, all else is as in the node."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        target: Any = node.target
        self.operator: Callable[..., Any] = getattr(target, "_op", target)
        self.node = node

    def forward(self, *tensors: torch.Tensor) -> Any:
        values = dict(zip(self.node.all_input_nodes, tensors, strict=True))
        args, kwargs = fx.map_arg((self.node.args, self.node.kwargs), values.__getitem__)
        return self.operator(*args, **kwargs)


def _runs_alone(node: fx.Node) -> bool:
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    shapes = [i.meta.get("val") for i in node.all_input_nodes]
    if not shapes or not all(isinstance(value, torch.Tensor) for value in shapes):
        return True  # nothing to run it on: it is not held against the operator
    tensors = tuple(torch.zeros(tuple(map(int, v.shape)), dtype=v.dtype) for v in shapes)  # type: ignore[union-attr]
    try:
        program = torch.export.export(_Alone(node), tensors, strict=False)
        edge = to_edge_transform_and_lower(program, compile_config=EdgeCompileConfig(_check_ir_validity=False))
        run_program(edge.to_executorch().buffer, tensors)
    except Exception:  # each library has its own kinds; that it failed is the finding
        return False
    return True


def _layers(model: DeployModel, captured: fx.GraphModule, *, delegate: bool) -> tuple[tuple[Layer, ...], str]:
    """Which operators the XNNPACK quantizer takes, and why there are no 8 bits: it failed, or what it made did not run.

    One sample gives the ranges. The quantized program is lowered and run once, as edgekit makes it.
    """
    try:
        rewrite(captured, FOR_PT2E)
        quantized = quantize_pt2e(captured, iter([model.example]))
        layers = quantized_layers(quantized.graph)
    except Exception as failure:
        return (), _first(failure)
    if not any(layer.int8 for layer in layers):
        return layers, ""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    if not delegate:
        importlib.import_module("executorch.kernels.quantized")  # tells torch of the quantized kernels
    try:
        with warnings.catch_warnings(), any_batch():
            warnings.simplefilter("ignore")  # deprecations inside torch and executorch, nothing a user can act on
            program = torch.export.export(quantized, model.example, strict=False)
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else [])
            run_program(edge.to_executorch().buffer, model.example)
    except Exception as failure:
        return layers, f"quantized, it does not run. {_first(failure)}"
    return layers, ""


def _rewritten(name: str, delegate: bool) -> str:
    where_it_is = "edgekit does it by itself" if delegate else "edgekit does it for executorch_xnnpack, not here"
    return f"rewrite {name}: {where_it_is}"


def _finding(node: fx.Node, placing: Any, remedy: str = "") -> Finding:
    return Finding(operator=operator_of(node), placing=placing, where=where(node.meta), count=1, remedy=remedy)


def _key(meta: Mapping[str, Any]) -> tuple[str, str]:
    return where(meta).module, (meta.get("stack_trace") or "").strip()


def _shape(node: fx.Node) -> Any:
    value = node.meta.get("val")
    return (tuple(value.shape), str(value.dtype)) if isinstance(value, torch.Tensor) else str(value)


def _first(failure: Exception) -> str:
    text = str(failure)
    if not_core := sorted(set(_NOT_CORE.findall(text))):
        return f"not in ATen's core operators, which is all that ExecuTorch takes: {', '.join(not_core)}"
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()] or [type(failure).__name__]
    return f"{type(failure).__name__}: {lines[0][:240]}"
