"""Gives every layer weights of its own, where a model uses one layer in several places.

Folding a batch norm changes the weights of the convolution before it. ExecuTorch's XNNPACK lowering (1.5.1) and
torchao's PT2E quantizer (0.18.0) do so without looking who else uses those weights, and the answers become wrong. In 8
bits XNNPACK also refuses a layer whose weights or bias another one has too: its program is made, and does not load.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import fx

from .rewrite import Rewrite

_CONVOLUTIONS = {
    torch.ops.aten.conv1d.default,
    torch.ops.aten.conv2d.default,
    torch.ops.aten.conv3d.default,
    torch.ops.aten.conv_transpose2d.input,
}

_WEIGHTED = {
    *_CONVOLUTIONS,
    *(torch.ops.aten.conv1d.padding, torch.ops.aten.conv2d.padding, torch.ops.aten.conv3d.padding),
    *(torch.ops.aten.conv_transpose1d.default, torch.ops.aten.conv_transpose3d.input),
    *(torch.ops.aten.linear.default, torch.ops.aten.addmm.default, torch.ops.aten.prelu.default),
}
_COPY = "unshared_weight_"
_OWN = "own_weight_"


def is_copy(weight: object) -> bool:
    """Whether `weight`, an argument of a convolution, is a copy that `unshare` made: another place of the layer."""
    return isinstance(weight, fx.Node) and str(weight.target).startswith(_COPY)


def unshare(module: fx.GraphModule) -> int:
    """Copies, in place, the weights of a captured module's convolutions that share them; returns how many copies."""
    uses = [
        (node, node.args[1])
        for node in module.graph.nodes
        if node.target in _CONVOLUTIONS and any(_is_batch_norm(user) for user in node.users)
    ]
    return _own_copies(module, uses, _COPY)


def unshare_all(module: fx.GraphModule) -> int:
    """Copies, in place, all weights and biases that several layers share, whatever kind they are; returns how many."""
    uses = [
        (node, weight)
        for node in module.graph.nodes
        if node.target in _WEIGHTED
        for weight in node.args[1:3]
        if isinstance(weight, fx.Node) and weight.op == "get_attr"
    ]
    return _own_copies(module, uses, _OWN)


def _own_copies(module: fx.GraphModule, uses: Sequence[tuple[fx.Node, fx.Node]], prefix: str) -> int:
    """Gives each node but the first that reads a tensor a copy of it; `uses` are nodes and what they read."""
    seen: set[int] = set()
    copies = 0
    for node, weight in uses:
        tensor = attrgetter(str(weight.target))(module)
        if id(tensor) not in seen:
            seen.add(id(tensor))
            continue
        name = f"{prefix}{copies}"
        copy = torch.nn.Parameter(tensor.detach().clone(), requires_grad=False)
        module.register_parameter(name, copy)  # no buffer: PT2E replaces it by a parameter of the same name
        with module.graph.inserting_before(node):
            own = module.graph.get_attr(name)
        own.meta = dict(weight.meta)
        node.replace_input_with(weight, own)
        copies += 1
    if copies:
        module.recompile()
    return copies


UNSHARE = Rewrite(
    name="unshare",
    why="a batch norm folded into shared weights changes them for every layer that shares them",
    apply=lambda editor: {"convolution": unshare(editor.module)},
)

UNSHARE_INT8 = Rewrite(
    name="unshare_int8",
    why="in 8 bits XNNPACK refuses a layer whose weights another layer has too",
    apply=lambda editor: {"weight": unshare_all(editor.module)},
)


def _is_batch_norm(node: fx.Node) -> bool:
    return node.op == "call_function" and "batch_norm" in str(node.target)
