"""Raw pixels, cast and normalized row by row as they lie in memory, before they become planes.

A model that takes (N, H, W, C) bytes says: planes first, then float, then a scale and a shift for each channel. Engines
do just that: they move the bytes one by one, and multiply by three numbers at a time. The same arithmetic on rows of
W·C numbers reads memory from front to back, with constants as long as a row; what was computed is moved afterwards, and
in 8 bits that is bytes again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from .graph import Editor, aten, shape
from .rewrite import Rewrite

_TO_PLANES = [0, 3, 1, 2]
_CASTS = {aten.to.dtype, aten._to_copy.default}
# What the arithmetic may be, and the form of it that changes nothing in place.
_ARITHMETIC: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: aten.add.Tensor,
    aten.add_.Tensor: aten.add.Tensor,
    aten.sub.Tensor: aten.sub.Tensor,
    aten.sub_.Tensor: aten.sub.Tensor,
    aten.mul.Tensor: aten.mul.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.div.Tensor: aten.div.Tensor,
    aten.div_.Tensor: aten.div.Tensor,
}
_COMMUTING = {aten.add.Tensor, aten.mul.Tensor}
_CHECK = aten._assert_tensor_metadata.default
_MOST_CHANNELS = 4  # more than a picture has: each of their planes is long enough as it is


@dataclass(kw_only=True)
class _Front:
    """What is done to one input before anything else: `steps` are (operator, its constant, the node) in order."""

    last: fx.Node
    steps: list[tuple[Callable[..., Any], Tensor | float, fx.Node]] = field(default_factory=list)
    cast: bool = False
    planes: bool = False


def by_rows(editor: Editor) -> dict[str, int]:
    """Does so for each input of bytes (N, H, W, C); returns how many permutations were moved."""
    return {"permute": sum(_by_rows(editor, node) for node in editor.graph.nodes if node.op == "placeholder")}


def _by_rows(editor: Editor, pixels: fx.Node) -> bool:
    value = pixels.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype != torch.uint8 or value.ndim != 4:
        return False
    _, height, width, channels = sides = shape(pixels)
    if not all(isinstance(side, int) for side in sides[1:]) or channels > _MOST_CHANNELS:
        return False
    front = _front(editor, pixels)
    if not front.planes or not front.cast:
        return False
    last = front.last
    (first,) = _readers(pixels)
    with editor.before(first):
        rows = editor.call(aten.reshape.default, pixels, [-1, height, width * channels])
        rows = editor.call(aten.to.dtype, rows, torch.float32)
        for operator, constant, node in front.steps:
            other = _row(editor, constant, width, node) if isinstance(constant, Tensor) else constant
            rows = editor.call(operator, rows, other)
        if channels == 1:  # a picture of one channel is its own plane
            planes = editor.call(aten.reshape.default, rows, [-1, 1, height, width])
        else:
            planes = editor.call(aten.reshape.default, rows, [-1, height, width, channels])
            planes = editor.call(aten.permute.default, planes, _TO_PLANES)
    while last is not pixels:  # from back to front: each is unused once the one behind it is gone
        before = next(node for node in last.all_input_nodes if node.op != "get_attr")
        for check in [user for user in last.users if user.target == _CHECK]:
            editor.graph.erase_node(check)
        if last is front.last:
            editor.replace(last, planes)
        else:
            editor.graph.erase_node(last)
        last = before
    for check in [user for user in pixels.users if user.target == _CHECK]:
        editor.graph.erase_node(check)
    return True


def _front(editor: Editor, pixels: fx.Node) -> _Front:
    """Follows the one use of the pixels through a permutation, casts, and arithmetic with a number for each channel."""
    front = _Front(last=pixels)
    channels = shape(pixels)[3]
    while True:
        readers = _readers(front.last)
        if len(readers) != 1 or readers[0].op != "call_function":
            return front
        node = readers[0]
        if node.target == aten.permute.default and not front.planes and list(node.args[1]) == _TO_PLANES:  # type: ignore[arg-type]
            front.planes = True
        elif node.target in _CASTS and node.meta["val"].dtype == torch.float32:
            front.cast = True
        elif node.target in _ARITHMETIC and len(node.args) == 2 and not node.kwargs:
            other = node.args[1] if node.args[0] is front.last else node.args[0]
            swapped = other is node.args[0] and _ARITHMETIC[node.target] not in _COMMUTING
            constant = None if swapped else _of_channels(editor, other, channels, planes=front.planes)
            # An integer that meets a float number becomes float32, as by a cast.
            if constant is None or node.meta["val"].dtype != torch.float32:
                return front
            front.cast = True
            front.steps.append((_ARITHMETIC[node.target], constant, node))
        elif node.target != aten.contiguous.default:
            return front
        front.last = node


def _readers(node: fx.Node) -> list[fx.Node]:
    """What computes with a tensor: not torch.export's own checks of its type and size."""
    return [user for user in node.users if user.target != _CHECK and user.op != "call_module"]


def _of_channels(editor: Editor, value: object, channels: int, *, planes: bool) -> Tensor | float | None:
    """A constant as one number, or as a tensor with one number a channel (C,); None where it is anything else."""
    if isinstance(value, int | float):
        return float(value)
    tensor = editor.constant(value)
    if tensor is None or tensor.dtype != torch.float32:
        return None
    if tensor.numel() == 1:
        return tensor.reshape(1)
    behind = 2 if planes else 0  # how many sides there are behind that of the channels
    sides = list(tensor.shape)
    right = len(sides) > behind and sides[-1 - behind] == channels == tensor.numel()
    return tensor.reshape(channels) if right else None


def _row(editor: Editor, constant: Tensor, width: int, node: fx.Node) -> fx.Node:
    """A channel's numbers again for each pixel of a row, (W·C,); one number for all channels stays one, (1,)."""
    one = bool((constant == constant[0]).all())
    row = constant[:1] if one else constant.repeat(width)
    return editor.number(row, f"{node.name}_row", learns=False)


PIXELS = Rewrite(
    name="pixels",
    why="bytes are moved one by one, and scaled three numbers at a time",
    apply=by_rows,
)
