"""A user's object as the plain module inside it: out of torch.compile, DataParallel and torch.export.

What it is put out of is said. Loads nothing from disk and runs no model.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.export import ExportedProgram


def is_model(found: object) -> bool:
    """Whether `unwrapped` makes a module of it."""
    return isinstance(found, (nn.Module, ExportedProgram))


def unwrapped(found: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """The module in a module or an exported program, which are left as they are, and what was taken off."""
    notes: list[str] = []
    if isinstance(found, ExportedProgram):
        return of_program(found), ("the module of a torch.export program; its shapes are those it was exported with",)
    module: nn.Module = found
    while (inner := _inside(module)) is not None:
        notes.append(f"taken out of {type(module).__name__}")
        module = inner
    if isinstance(module, torch.fx.GraphModule) and getattr(module, "_guards_fn", None) is not None:
        return _plain(module), (*notes, "the module of a torch.export program")
    if any(_is_compiled(part) for part in module.modules()):
        module = _without_compiled_parts(copy.deepcopy(module))
        notes.append("torch.compile was taken off; each exporter compiles for itself")
    return module, tuple(dict.fromkeys(notes))


def of_program(program: ExportedProgram) -> nn.Module:
    """The module of an exported program, without the checks that tie it to the very sizes of its example."""
    return _plain(program.module())


def _plain(module: torch.fx.GraphModule) -> nn.Module:
    # An exported module refuses eval(), and its guard on sizes says less than the shape error that follows.
    graph = copy.deepcopy(module.graph)
    for node in list(graph.nodes):
        if node.op == "call_module" and str(node.target) == "_guards_fn":
            graph.erase_node(node)
    graph._codegen = module.graph._codegen
    plain = torch.fx.GraphModule(module, graph)
    plain.__class__.__name__ = "ExportedModule"
    return plain


def _inside(module: nn.Module) -> nn.Module | None:
    if isinstance(module, OptimizedModule):
        return module._orig_mod
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return module.module
    return None


def _is_compiled(module: nn.Module) -> bool:
    return _inside(module) is not None or getattr(module, "_compiled_call_impl", None) is not None


def _without_compiled_parts(module: nn.Module) -> nn.Module:
    for name, part in list(module.named_children()):
        while (inner := _inside(part)) is not None:
            part = inner
        setattr(module, name, part)
        _without_compiled_parts(part)
    if getattr(module, "_compiled_call_impl", None) is not None:
        module._compiled_call_impl = None
    return module
