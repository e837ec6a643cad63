"""`torch.export` of a model, as every exporter but TorchScript begins.

Parts that are TorchScript already have no Python to follow; their own graph is converted, and takes their place.
"""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from edgekit.optimize.deploy import DeployModel


def capture(model: DeployModel) -> ExportedProgram:
    """The model's program, its batch free where the model says so.

    Raises:
        whatever torch.export raises; `errors.py` tells it.
    """
    module = without_script(model.module, model.example)
    return torch.export.export(module, model.example, dynamic_shapes=model.dynamic_shapes, strict=False)


def without_script(module: nn.Module, example: tuple[torch.Tensor, ...]) -> nn.Module:
    """The module itself; where parts of it are TorchScript, a copy in which these are graphs of torch operators."""
    paths = _outermost(module)
    if not paths:
        return module
    given = _inputs_of(module, paths, example)
    whole = copy.deepcopy(module)
    for path in paths:
        if path in given:
            whole.set_submodule(path, _converted(module.get_submodule(path), given[path]))
    return whole


def _outermost(module: nn.Module) -> list[str]:
    """The paths of the TorchScript parts that lie in no other."""
    found: list[str] = []
    for path, part in module.named_modules():
        inside = any(path.startswith(f"{other}.") for other in found)
        if path and not inside and isinstance(part, torch.jit.ScriptModule):
            found.append(path)
    return found


class _Listening(nn.Module):
    """Stands before a TorchScript part, which takes no hooks, and keeps what it is given first."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part
        self.given: tuple[Any, ...] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.given is None:
            names = [argument.name for argument in self.part.forward.schema.arguments[1:]]  # type: ignore[attr-defined]
            self.given = (*args, *(kwargs[name] for name in names[len(args) :] if name in kwargs))
        return self.part(*args, **kwargs)


def _inputs_of(module: nn.Module, paths: list[str], example: tuple[torch.Tensor, ...]) -> dict[str, tuple[Any, ...]]:
    listening = copy.deepcopy(module)
    for path in paths:
        listening.set_submodule(path, _Listening(listening.get_submodule(path)))
    with torch.no_grad():
        listening(*(tensor.clone() for tensor in example))
    heard = {path: listening.get_submodule(path).given for path in paths}
    return {path: given for path, given in heard.items() if given is not None}  # type: ignore[misc]


def _converted(part: nn.Module, given: tuple[Any, ...]) -> nn.Module:
    """The graph of a TorchScript module as a module of torch operators, of any size that the module itself takes."""
    from torch._export import converter

    logging.getLogger("torch._export.converter").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = converter.TS2EPConverter(part, given)  # type: ignore[arg-type]
        lifted, names = converter.get_block_to_lifted_attrs(found.ts_graph)
        graph = converter.TS2FXGraphConverter(
            found.ts_graph,
            found.name_to_param,
            found.name_to_buffer,
            lifted,
            found.name_to_non_tensor_attributes,
            found.name_to_constant,
            names,
        ).convert()
        converter.replace_quantized_ops_with_standard_ops(graph)
    return graph.eval()
