"""Volumes (N, C, D, H, W) as stacks of pictures (N·D, C, H, W): every 3-D operator becomes 2-D ones, exactly.

XNNPACK and ExecuTorch's own kernels have no Conv3d (https://github.com/google/XNNPACK/issues/3978), and onnxruntime's
8-bit one is slower than its float one. Between 3-D operators a volume stays folded, so that nothing is moved around:
this module keeps the books of that; `volume_ops` has the operators.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, fx

from . import volume_ops
from .graph import Editor, argument, aten, shape, view
from .rewrite import Rewrite, operator_name

# Elementwise operators: the same on a folded volume, if all that is not a number is folded alike.
_ELEMENTWISE = {
    *(aten.relu.default, aten.leaky_relu.default, aten.elu.default, aten.silu.default, aten.gelu.default),
    *(aten.sigmoid.default, aten.tanh.default, aten.hardtanh.default, aten.relu6.default, aten.clamp.default),
    *(aten.hardswish.default, aten.hardsigmoid.default, aten.softplus.default, aten.abs.default, aten.neg.default),
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.maximum.default, aten.minimum.default),
    *(aten.add_.Tensor, aten.mul_.Tensor, aten.relu_.default, aten.leaky_relu_.default, aten.hardtanh_.default),
}
# Nothing in evaluation mode; PT2E's switch between training and evaluation would need them, no device does.
_NOTHING = {
    *(aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default, aten.feature_dropout_.default),
    *(aten.alpha_dropout.default, aten.feature_alpha_dropout.default),
}


@dataclass
class _Books:
    """Which nodes of the old graph are folded, and to what; and the other way round, made when it is needed."""

    folded: dict[fx.Node, fx.Node] = field(default_factory=dict)
    unfolded: dict[fx.Node, fx.Node] = field(default_factory=dict)


def apply(editor: Editor) -> dict[str, int]:
    """Rewrites every 3-D operator that has a rule, with what stands between them."""
    books, counts = _Books(), dict[str, int]()
    for node in list(editor.graph.nodes):
        if node.op == "placeholder" or node.op == "get_attr":
            continue
        with editor.before(node):
            new = _folded(editor, node, books)
            if new is None:
                for x in node.all_input_nodes:
                    if x in books.folded:
                        node.replace_input_with(x, _unfold(editor, x, books))
                continue
        books.folded[node] = new
        if node.target not in _ELEMENTWISE:
            name = operator_name(node)
            counts[name] = counts.get(name, 0) + 1
    return counts


def _folded(editor: Editor, node: fx.Node, books: _Books) -> fx.Node | None:
    """The folded result of an operator that works on volumes, else None."""
    if node.op != "call_function" or not node.args or not _is_volume(node):
        return None
    x = node.args[0]
    if node.target in volume_ops.RULES and isinstance(x, fx.Node) and _is_volume(x):
        rule = volume_ops.RULES[node.target]
        sizes = shape(x)
        plan = rule(editor, node)
        return plan(_fold(editor, x, books), sizes) if plan else None
    if node.target in _NOTHING and isinstance(x, fx.Node) and x in books.folded and not argument(node, "train"):
        return books.folded[x]
    if node.target not in _ELEMENTWISE or node.kwargs or not all(_same(y, node, books) for y in node.all_input_nodes):
        return None
    if _changes_its_input(node) and (not isinstance(x, fx.Node) or x.target not in volume_ops.RULES):
        return None  # whoever else sees that tensor would miss the change
    return editor.call(node.target, *fx.map_arg(node.args, lambda n: books.folded.get(n, n)))


def _changes_its_input(node: fx.Node) -> bool:
    return bool(node.target._schema.is_mutable)  # type: ignore[union-attr]


def _is_volume(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return False
    return len(value.shape) == 5 and all(isinstance(n, int) for n in value.shape[1:])


def _same(x: fx.Node, node: fx.Node, books: _Books) -> bool:
    """Folded and of the result's shape, so that nothing is broadcast; or a single number."""
    if x in books.folded:
        return shape(x)[1:] == shape(node)[1:]
    return not shape(x)


def _fold(editor: Editor, x: fx.Node, books: _Books) -> fx.Node:
    """(N, C, D, H, W) -> (N·D, C, H, W)."""
    if x not in books.folded:
        n, c, d, h, w = shape(x)
        moved = x if c == 1 else editor.call(aten.permute.default, x, [0, 2, 1, 3, 4])
        books.folded[x] = view(editor, moved, (n * d if isinstance(n, int) else n, c, h, w))
    return books.folded[x]


def _unfold(editor: Editor, x: fx.Node, books: _Books) -> fx.Node:
    """(N·D, C, H, W) -> (N, C, D, H, W)."""
    if x not in books.unfolded:
        n, c, d, h, w = shape(x)
        if 1 in (c, d):
            books.unfolded[x] = view(editor, books.folded[x], (n, c, d, h, w))
        else:
            stack = view(editor, books.folded[x], (n, d, c, h, w))
            books.unfolded[x] = editor.call(aten.permute.default, stack, [0, 2, 1, 3, 4])
    return books.unfolded[x]


VOLUMES = Rewrite(
    name="volumes",
    why="no Conv3d in XNNPACK and ExecuTorch, and none that is fast in 8 bits in onnxruntime",
    apply=apply,
)
