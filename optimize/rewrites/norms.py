"""Instance, group and layer norm in operators that XNNPACK has: a mean over the last two axes, and elementwise ones.

The normalization is written with operators that PT2E's quantizer for XNNPACK does not quantize (subtraction, square,
division): a variance squeezed into 8 bits would cost more accuracy than everything else together.
"""

from __future__ import annotations

import math

import torch
from torch import fx

from .graph import Editor, argument, aten, operand, shape, view
from .rewrite import Rewrite, rules


def instance_norm(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Over H and W of each channel; with running statistics in use it is a batch norm."""
    x = operand(node)
    sizes = shape(x)
    weight, bias = node.args[1], node.args[2]
    if not argument(node, "use_input_stats"):
        rest = (node.args[3], node.args[4], False, argument(node, "momentum"), argument(node, "eps"), False)
        return editor.call(aten.batch_norm.default, x, weight, bias, *rest)
    if len(sizes) < 3 or not _constants(editor, weight, bias):
        return None
    # (N, C, …) as pictures (N, C, ?, W), whatever the number of axes.
    picture = view(editor, x, (*sizes[:2], math.prod(sizes[2:-1]), sizes[-1]))
    scale = _column(editor, weight, (1, -1, 1, 1))
    normal = _normalized(editor, picture, argument(node, "eps"), scale)
    return view(editor, _shifted(editor, normal, bias, (1, -1, 1, 1)), sizes)


def group_norm(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Each group of channels as one row of a picture (N, G, C/G, …)."""
    x, weight, bias = operand(node), argument(node, "weight"), argument(node, "bias")
    sizes, groups = shape(x), argument(node, "num_groups")
    if not all(isinstance(n, int) for n in sizes[1:]) or not _constants(editor, weight, bias):
        return None
    picture = view(editor, x, (sizes[0], groups, sizes[1] // groups, math.prod(sizes[2:])))
    normal = view(editor, _normalized(editor, picture, argument(node, "eps"), None), sizes)
    ones = (1, -1, *[1] * (len(sizes) - 2))
    return _shifted(editor, _scaled(editor, normal, weight, ones), bias, ones)


def layer_norm(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Each row as a channel of a picture (1, rows, 1, width)."""
    x, weight, bias = operand(node), argument(node, "weight"), argument(node, "bias")
    sizes, normalized = shape(x), argument(node, "normalized_shape")
    if not all(isinstance(n, int) for n in sizes) or not _constants(editor, weight, bias):
        return None
    width = math.prod(normalized)
    picture = view(editor, x, (1, math.prod(sizes) // width, 1, width))
    normal = view(editor, _normalized(editor, picture, argument(node, "eps"), None), sizes)
    return _shifted(editor, _scaled(editor, normal, weight, tuple(normalized)), bias, tuple(normalized))


def _normalized(editor: Editor, x: fx.Node, eps: float, scale: torch.Tensor | None) -> fx.Node:
    """(x - mean) / sqrt(variance + eps) · scale over the last two axes of (N, C, H, W)."""
    # Of the negative, because PT2E would round a mean taken of a convolution's answer to that answer's 8 bits.
    negative = editor.call(aten.neg.default, x)
    mean = editor.call(aten.mean.dim, negative, [-1, -2], True)
    centered = editor.call(aten.sub.Tensor, negative, mean)
    variance = editor.call(aten.mean.dim, editor.call(aten.pow.Tensor_Scalar, centered, 2), [-1, -2], True)
    deviation = editor.call(aten.sqrt.default, editor.call(aten.sub.Tensor, variance, -eps))
    # Divided twice and never multiplied, which PT2E would do in 8 bits. A scale of 0 gives x / ±inf, which is 0.
    negative_scale = -torch.ones(1, 1, 1, 1, dtype=x.meta["val"].dtype) if scale is None else -scale
    divisor = editor.call(aten.div.Tensor, deviation, editor.number(negative_scale, "norm_scale"))
    return editor.call(aten.div.Tensor, centered, divisor)


def _scaled(editor: Editor, x: fx.Node, weight: object, sizes: tuple[int, ...]) -> fx.Node:
    scale = _column(editor, weight, sizes)
    return x if scale is None else editor.call(aten.mul.Tensor, x, _named(editor, scale, weight, "scale"))


def _shifted(editor: Editor, x: fx.Node, bias: object, sizes: tuple[int, ...]) -> fx.Node:
    shift = _column(editor, bias, sizes)
    return x if shift is None else editor.call(aten.sub.Tensor, x, _named(editor, -shift, bias, "shift"))


def _named(editor: Editor, tensor: torch.Tensor, source: object, suffix: str) -> fx.Node:
    assert isinstance(source, fx.Node)
    return editor.weight(tensor, source, suffix)


def _column(editor: Editor, node: object, sizes: tuple[int, ...]) -> torch.Tensor | None:
    tensor = editor.constant(node)
    return None if tensor is None else tensor.reshape(sizes)


def _constants(editor: Editor, *nodes: object) -> bool:
    """Every one of them is a weight, or not there."""
    return all(node is None or editor.constant(node) is not None for node in nodes)


NORMS = Rewrite(
    name="norms",
    why="XNNPACK has neither instance nor group nor layer norm, but means over the last two axes",
    apply=rules(
        {
            aten.instance_norm.default: instance_norm,
            aten.group_norm.default: group_norm,
            aten.layer_norm.default: layer_norm,
        }
    ),
)
