"""Enlarging by whole factors and averaging by whole factors, as views and pools; the mean of a picture.

Also what would be copied outside the delegate for nothing: aliases, slices of all there is, single positions.
"""

from __future__ import annotations

from torch import fx

from .graph import Editor, argument, aten, operand, shape, slice_of, view
from .rewrite import Rewrite, rules


def nearest(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Every column beside itself, then every row below itself; factors that are not whole are left."""
    x = operand(node)
    (n, c, h, w), (_, _, taller, wider) = shape(x), shape(node)
    if not all(isinstance(size, int) for size in (c, h, w, taller, wider)) or taller % h or wider % w:
        return None
    n_c = n * c if isinstance(n, int) else n
    across, down = wider // w, taller // h
    if across > 1:
        x = _beside_itself(editor, x, (n_c, h, w, 1), 3, across)
    if down > 1:
        x = _beside_itself(editor, x, (n_c, h, 1, wider), 2, down)
    return view(editor, x, (n, c, taller, wider))


def adaptive_avg_pool2d(editor: Editor, node: fx.Node) -> fx.Node | None:
    """An ordinary pool where the sizes divide. To 1 × 1, a mean that XNNPACK has and PT2E quantizes, it is left."""
    x = operand(node)
    (h, w), (low, narrow) = shape(x)[-2:], shape(node)[-2:]
    if len(shape(x)) != 4 or not all(isinstance(size, int) for size in (h, w)) or h % low or w % narrow:
        return None
    if (low, narrow) == (1, 1):
        return None
    kernel = [h // low, w // narrow]
    if kernel == [1, 1]:
        return x
    pooled = editor.call(aten.avg_pool2d.default, x, kernel, kernel)
    pooled.meta.pop("nn_module_stack", None)  # PT2E goes by the module's type and asserts that the operator fits it
    return pooled


def mean(editor: Editor, node: fx.Node) -> fx.Node | None:
    """The mean of a picture without its two axes: with them kept, as XNNPACK has it, and a view."""
    x, axes = operand(node), argument(node, "dim")
    if len(shape(x)) != 4 or sorted(axis % 4 for axis in axes or ()) != [2, 3] or argument(node, "keepdim"):
        return None
    if argument(node, "dtype") is not None:
        return None
    return view(editor, editor.call(aten.mean.dim, x, [-1, -2], True), shape(x)[:2])


def unchanged(editor: Editor, node: fx.Node) -> fx.Node | None:
    """The input itself, where the result is all of it."""
    x = operand(node)
    if _written_to(x) or _written_to(node):
        return None
    return x if shape(x) == shape(node) and argument(node, "step", 1) == 1 else None


def select(editor: Editor, node: fx.Node) -> fx.Node | None:
    """One position along an axis, as a slice and a view, of floats; indices of other types are left alone."""
    x, axis, index = operand(node), argument(node, "dim"), argument(node, "index")
    sizes = shape(x)
    if not x.meta["val"].is_floating_point() or not all(isinstance(size, int) for size in sizes):
        return None
    if not isinstance(index, int) or x.op == "get_attr" or _written_to(x) or _written_to(node):
        return None
    axis, index = axis % len(sizes), index % sizes[axis]
    return view(editor, slice_of(editor, x, axis, index, index + 1), shape(node))


def alias(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Another name for the same tensor."""
    x = operand(node)
    return None if _written_to(x) or _written_to(node) else x


def _beside_itself(editor: Editor, x: fx.Node, sizes: tuple, axis: int, times: int) -> fx.Node:
    """A view of its own for each part: of one node several times over, XNNPACK's partitioner counts but one."""
    sizes = tuple(size if isinstance(size, int) else -1 for size in sizes)
    return editor.call(aten.cat.default, [editor.call(aten.reshape.default, x, sizes) for _ in range(times)], axis)


def _written_to(node: fx.Node) -> bool:
    """Something changes this tensor in place, so that it matters which names it has."""
    schemas = (getattr(user.target, "_schema", None) for user in node.users)
    return any(schema is not None and schema.is_mutable for schema in schemas)


RESAMPLING = Rewrite(
    name="resampling",
    why="XNNPACK has no nearest upsampling, and of adaptive pools and means only those that leave 1 × 1",
    apply=rules(
        {
            aten.upsample_nearest2d.vec: nearest,
            aten.upsample_nearest2d.default: nearest,
            aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d,
            aten.mean.dim: mean,
        }
    ),
)
COPIES = Rewrite(
    name="copies",
    why="a crop to the size that is there already, or one step of many, becomes a copy outside the delegate",
    apply=rules(
        {
            aten.slice.Tensor: unchanged,
            aten.alias.default: alias,
            aten.detach.default: alias,
            aten.select.int: select,
        }
    ),
)
