"""Reflection, replication and circular padding as slices put together, which every backend has and PT2E quantizes.

Left to itself, ExecuTorch turns each into index arithmetic outside the delegate.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from .graph import Editor, argument, aten, operand, shape, take
from .rewrite import Rewrite, rules


def pad(editor: Editor, node: fx.Node) -> fx.Node | None:
    """aten.pad with its mode by name; zeros are left, as XNNPACK pads with a constant itself."""
    mode = argument(node, "mode")
    return _padded(editor, node, mode) if mode in _INDEX else None


def _of(mode: str) -> Callable[[Editor, fx.Node], fx.Node | None]:
    return lambda editor, node: _padded(editor, node, mode)


# The index along an axis of length n that a position outside shows.
_INDEX = {
    "reflect": lambda i, n: abs(i) if i < n else 2 * (n - 1) - i,
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


def _padded(editor: Editor, node: fx.Node, mode: str) -> fx.Node | None:
    """Axis by axis, from the last one; a negative padding cuts off."""
    x, padding = operand(node), list(argument(node, "padding" if node.target is not aten.pad.default else "pad"))
    axes = [-1 - i for i in range(len(padding) // 2)]
    if any(not isinstance(shape(x)[axis], int) for axis in axes):
        return None
    for axis, before, after in zip(axes, padding[::2], padding[1::2], strict=True):
        n, dim = shape(x)[axis], len(shape(x)) + axis
        x = take(editor, x, dim, [_INDEX[mode](i, n) for i in range(-before, n + after)])
    return x


PADDING = Rewrite(
    name="padding",
    why="outside the delegate, reflection padding becomes index arithmetic",
    apply=rules(
        {
            aten.pad.default: pad,
            aten.reflection_pad1d.default: _of("reflect"),
            aten.reflection_pad2d.default: _of("reflect"),
            aten.replication_pad2d.default: _of("replicate"),
        }
    ),
)
