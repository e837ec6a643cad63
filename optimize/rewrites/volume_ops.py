"""3-D operators on a folded volume (N·D, C, H, W): what happens along the depth becomes slices, sums and maxima.

Each rule looks at a node and returns how its folded result is built, or None where it cannot be exact. A rule knows
nothing about where folded volumes come from and go to.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx

from .depth import Stack
from .graph import Editor, argument, aten, each, operand, shape, view

# The folded input and the sizes (N, C, D, H, W) of what it stands for -> the folded result.
Plan = Callable[[fx.Node, tuple], fx.Node]
Rule = Callable[[Editor, fx.Node], Plan | None]


def conv3d(editor: Editor, node: fx.Node) -> Plan | None:
    """One 2-D convolution over kd neighbouring slices beside each other as channels; with groups, a sum of kd."""
    weight_node = node.args[1]
    weight = editor.constant(weight_node)
    if weight is None or not isinstance(weight_node, fx.Node):
        return None
    if node.target is aten.convolution.default and argument(node, "transposed"):
        return None
    bias = argument(node, "bias")
    stride, dilation = (each(argument(node, name), 3) for name in ("stride", "dilation"))
    groups, kernel = argument(node, "groups"), tuple(weight.shape[2:])
    before, after = _padding(argument(node, "padding"), kernel, dilation)

    def plan(x: fx.Node, sizes: tuple) -> fx.Node:
        stack = Stack.of(editor, x, sizes).zeros(before[0], after[0])
        taps = stack.windows(kernel[0], stride[0], dilation[0])
        padding = before[1:]
        if before[1:] != after[1:]:
            edges = [before[2], after[2], before[1], after[1]]
            taps = [editor.call(aten.constant_pad_nd.default, tap, edges, 0.0) for tap in taps]
            padding = (0, 0)
        rest = (list(stride[1:]), list(padding), list(dilation[1:]), groups)

        def conv(tap: fx.Node, w: torch.Tensor, suffix: str, b: object) -> fx.Node:
            return editor.call(aten.conv2d.default, tap, editor.weight(w, weight_node, suffix), b, *rest)

        if groups == 1:
            # (O, C, kd, kh, kw) -> (O, kd·C, kh, kw): the channels of the first slice, then of the second, …
            flat = weight.transpose(1, 2).flatten(1, 2)
            beside = taps[0] if len(taps) == 1 else editor.call(aten.cat.default, taps, 1)
            return conv(beside, flat, "2d", bias)
        total = conv(taps[0], weight[:, :, 0], "tap0", bias)
        for t in range(1, len(taps)):
            total = editor.call(aten.add.Tensor, total, conv(taps[t], weight[:, :, t], f"tap{t}", None))
        return total

    return plan


def batch_norm(editor: Editor, node: fx.Node) -> Plan | None:
    """The same on pictures. It is not folded forward: a zero-padded border would no longer be zero."""
    if argument(node, "training"):
        return None
    rest = node.args[1:]
    return lambda x, sizes: editor.call(aten.batch_norm.default, x, *rest)


def max_pool3d(editor: Editor, node: fx.Node) -> Plan | None:
    """A 2-D pool of each slice, then the maximum over slices."""
    kernel, stride, padding, dilation, ceil = _window(node)

    def plan(x: fx.Node, sizes: tuple) -> fx.Node:
        out = shape(node)
        if (kernel[1:], stride[1:]) != ((1, 1), (1, 1)):
            spatial = [list(part[1:]) for part in (kernel, stride, padding, dilation)]
            x = editor.call(aten.max_pool2d.default, x, *spatial, ceil)
        stack = Stack.of(editor, x, (*sizes[:3], *out[3:]))
        indices = [_inside(o * stride[0] - padding[0], kernel[0], dilation[0], sizes[2]) for o in range(out[2])]
        total = None
        for t in range(kernel[0]):
            # A window at the border has fewer slices; one of its own again changes no maximum.
            tap = stack.take([own[min(t, len(own) - 1)] for own in indices])
            total = tap if total is None else editor.call(aten.maximum.default, total, tap)
        assert total is not None
        return total

    return plan


def avg_pool3d(editor: Editor, node: fx.Node) -> Plan | None:
    """A 2-D pool of each slice, then the mean over slices: how many are counted is a product of one count an axis."""
    kernel, stride, padding, _, ceil = _window(node)
    count_pad, divisor = argument(node, "count_include_pad"), argument(node, "divisor_override")

    def plan(x: fx.Node, sizes: tuple) -> fx.Node:
        out, depth = shape(node), sizes[2]
        area = kernel[1] * kernel[2]
        if (kernel[1:], stride[1:]) != ((1, 1), (1, 1)):
            spatial = [list(part[1:]) for part in (kernel, stride, padding)]
            x = editor.call(aten.avg_pool2d.default, x, *spatial, ceil, count_pad, area if divisor else None)
        stack = Stack.of(editor, x, (*sizes[:3], *out[3:]))
        starts = [o * stride[0] - padding[0] for o in range(out[2])]
        spans = [_inside(start, kernel[0], 1, depth) for start in starts]
        counts = [min(start + kernel[0], depth + padding[0]) - start for start in starts]
        if divisor or not count_pad:
            counts = [len(own) for own in spans]
        total = _sum_of_spans(editor, stack, spans)
        factors = [area / divisor] * len(counts) if divisor else [1 / count for count in counts]
        return total.scaled(factors).pictures

    return plan


def adaptive_avg_pool3d(editor: Editor, node: fx.Node) -> Plan | None:
    """As an ordinary average pool where the sizes divide; where one axis does not, it is left."""
    inside, outside = shape(operand(node))[2:], shape(node)[2:]
    if any(a % b for a, b in zip(inside, outside, strict=True)):
        return None
    kernel = tuple(a // b for a, b in zip(inside, outside, strict=True))

    def plan(x: fx.Node, sizes: tuple) -> fx.Node:
        n, c, d, h, w = sizes
        if outside == (1, 1, 1):
            # (N, C, D, H·W): the mean over the last two axes is the one that XNNPACK has.
            moved = editor.call(aten.permute.default, view(editor, x, (n, d, c, h * w)), [0, 2, 1, 3])
            return editor.call(aten.mean.dim, moved, [-1, -2], True)
        pooled = x
        if kernel[1:] != (1, 1):
            pooled = editor.call(aten.avg_pool2d.default, x, list(kernel[1:]), list(kernel[1:]))
        stack = Stack.of(editor, pooled, (n, c, d, *outside[1:]))
        spans = [list(range(o * kernel[0], (o + 1) * kernel[0])) for o in range(outside[0])]
        return _sum_of_spans(editor, stack, spans).scaled([1 / kernel[0]] * outside[0]).pictures

    return plan


def _sum_of_spans(editor: Editor, stack: Stack, spans: list[list[int]]) -> Stack:
    """The sum of each span of slices; a span that is shorter than the longest is filled up with zeros."""
    longest = max(map(len, spans))
    filled = stack
    if any(len(own) < longest for own in spans):
        filled = stack.zeros(0, 1)
        spans = [own + [stack.depth] * (longest - len(own)) for own in spans]
    total = filled.take([own[0] for own in spans])
    for t in range(1, longest):
        total = editor.call(aten.add.Tensor, total, filled.take([own[t] for own in spans]))
    return Stack.of(editor, total, (*stack.sizes[:2], len(spans), *stack.sizes[3:]))


def _window(node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]:
    """Kernel, stride, padding, dilation and ceil_mode of a pool; no stride means one kernel after the other."""
    kernel = each(argument(node, "kernel_size"), 3)
    stride = each(argument(node, "stride") or kernel, 3)
    padding = each(argument(node, "padding"), 3)
    dilation = each(argument(node, "dilation"), 3) if node.target is aten.max_pool3d.default else (1, 1, 1)
    return kernel, stride, padding, dilation, argument(node, "ceil_mode")


def _inside(start: int, kernel: int, dilation: int, depth: int) -> list[int]:
    """The slices of one window that exist."""
    return [i for i in range(start, start + kernel * dilation, dilation) if 0 <= i < depth]


def _padding(value: object, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple, tuple]:
    """Zeros before and after each axis. 'same' puts the odd one after."""
    if isinstance(value, str):
        total = [d * (k - 1) if value == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    both = each(value, 3)
    return both, both


RULES: dict[object, Rule] = {
    aten.conv3d.default: conv3d,
    aten.conv3d.padding: conv3d,
    aten.convolution.default: conv3d,
    aten.batch_norm.default: batch_norm,
    aten.max_pool3d.default: max_pool3d,
    aten.avg_pool3d.default: avg_pool3d,
    aten.adaptive_avg_pool3d.default: adaptive_avg_pool3d,
}
