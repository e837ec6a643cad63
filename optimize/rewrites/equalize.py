"""Cross-layer equalization: channels of very different ranges between two layers are scaled to the same one.

What a convolution makes of a channel is divided by s, and the layers behind multiply by it again; a ReLU in between
lets a positive factor pass, so the answers stay (Nagel et al., "Data-free quantization through weight equalization and
bias correction", ICCV 2019, section 4.1). A ReLU6 or another bounded activation does not, and is left alone. Made of
the captured float graph, batch norms and all, so that every exporter can use it.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

from .graph import Editor, argument
from .rewrite import Rewrite

_aten = torch.ops.aten
_CONVOLUTIONS = {_aten.conv1d.default, _aten.conv2d.default, _aten.conv2d.padding}
_RELUS = {_aten.relu.default, _aten.relu_.default}
# What neither mixes channels nor minds a positive factor. Padding convolutions and average pools add zeros, which stay.
_PASSING = {_aten.max_pool2d.default, _aten.avg_pool2d.default, _aten.dropout.default}
_ROUNDS = 3  # a chain of layers settles in a few
_SMALLEST, _LARGEST = 1e-3, 1e3  # factors beyond say that a channel is dead


def equalize(editor: Editor) -> dict[str, int]:
    """Scales in place; returns how many pairs of layers it did."""
    pairs = [pair for node in editor.nodes(*_CONVOLUTIONS) if (pair := _pair(editor, node))]
    for first, norm, behind in pairs:  # the user's module holds the same tensors, and must not change
        for node in (*_outgoing(first, norm), *(n.args[1] for n in behind)):
            _copy(editor.module, node)
    for _ in range(_ROUNDS):
        for first, norm, behind in pairs:
            _scale(editor.module, first, norm, behind)
    return {"convolution": len(pairs)} if pairs else {}


def _pair(editor: Editor, first: fx.Node) -> tuple[fx.Node, fx.Node | None, list[fx.Node]] | None:
    """The batch norm behind a convolution, if any, and the convolutions that read its ReLU; None if others do too."""
    norm, node = None, first
    following = list(node.users)
    if len(following) == 1 and following[0].target == _aten.batch_norm.default:
        norm = node = following[0]
        following = list(node.users)
        if argument(norm, "weight") is None or argument(norm, "bias") is None:
            return None
    if len(following) != 1 or following[0].target not in _RELUS:
        return None
    node = following[0]
    while len(node.users) == 1 and next(iter(node.users)).target in _PASSING:
        node = next(iter(node.users))
    behind = list(node.users)
    if not behind or any(n.target not in _CONVOLUTIONS or n.args[0] is not node for n in behind):
        return None
    weights: list[Any] = [*_outgoing(first, norm), *(n.args[1] for n in behind)]
    alone = all(isinstance(w, fx.Node) and editor.constant(w) is not None and len(w.users) == 1 for w in weights)
    # Weights that two nodes hold under two names are one tensor all the same.
    if not alone or len({id(attrgetter(str(w.target))(editor.module)) for w in weights}) < len(weights):
        return None
    return first, norm, behind


def _outgoing(first: fx.Node, norm: fx.Node | None) -> list[Any]:
    """The weights and biases that a division of the channels has to change."""
    if norm is not None:
        return [argument(norm, "weight"), argument(norm, "bias")]
    return [n for n in (first.args[1], argument(first, "bias")) if n is not None]


def _scale(module: fx.GraphModule, first: fx.Node, norm: fx.Node | None, behind: list[fx.Node]) -> None:
    weight = _tensor(module, first.args[1])
    before = weight.abs().flatten(1).amax(1)  # (channels,)
    if norm is not None:
        spread = (_tensor(module, argument(norm, "running_var")) + argument(norm, "eps")).sqrt()
        before = before * (_tensor(module, argument(norm, "weight")) / spread).abs()
    after = torch.stack([_by_input(_tensor(module, n.args[1]), int(argument(n, "groups"))) for n in behind]).amax(0)
    factor = (before / after.clamp_min(1e-12)).sqrt().clamp(_SMALLEST, _LARGEST)
    factor[before == 0] = 1.0  # of a channel that nobody reads, any factor is right, and a large one best
    factor = torch.exp2(factor.log2().round())  # a power of two changes no mantissa: float answers stay bit for bit
    for node in _outgoing(first, norm):
        tensor = _tensor(module, node)
        tensor.div_(factor.reshape(-1, *[1] * (tensor.ndim - 1)))
    for n in behind:
        tensor, groups = _tensor(module, n.args[1]), int(argument(n, "groups"))
        rows = tensor.shape[0] // groups
        grouped = factor.reshape(groups, 1, -1).expand(groups, rows, -1).reshape(tensor.shape[0], -1)
        tensor.mul_(grouped.reshape(*grouped.shape, *[1] * (tensor.ndim - 2)))


def _by_input(weight: Tensor, groups: int) -> Tensor:
    """The largest weight that reads each input channel: (out, in / groups, ...) -> (in,)."""
    return weight.abs().flatten(2).amax(2).reshape(groups, -1, weight.shape[1]).amax(1).reshape(-1)


def _copy(module: fx.GraphModule, node: object) -> None:
    assert isinstance(node, fx.Node)
    owner, _, name = str(node.target).rpartition(".")
    copy = torch.nn.Parameter(_tensor(module, node).clone(), requires_grad=False)
    setattr(module.get_submodule(owner), name, copy)


def _tensor(module: fx.GraphModule, node: object) -> Tensor:
    """The weight itself, to be changed in place."""
    assert isinstance(node, fx.Node)
    found: Tensor = attrgetter(str(node.target))(module).detach()
    return found


EQUALIZE = Rewrite(
    name="equalize",
    why="channels of very different ranges share the 256 steps of one scale, and the small ones drown",
    apply=equalize,
)
