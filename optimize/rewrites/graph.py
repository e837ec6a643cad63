"""Edits a captured (torch.export) graph in place: new operators with their shapes, new weights with names that tell.

What every rewrite is written with. It knows operators' schemas, not what any of them computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
Value = fx.Node | float | None


class Editor:
    """Inserts before one node at a time, and keeps what was done in `renamed`: new weight name -> old one."""

    def __init__(self, module: fx.GraphModule):
        self.module = module
        self.graph = module.graph
        self.renamed: dict[str, str] = {}
        values = (node.meta.get("val") for node in self.graph.nodes)
        modes = [v.fake_mode for v in values if isinstance(v, torch._subclasses.FakeTensor)]
        self._fake = modes[0] if modes else torch._subclasses.FakeTensorMode()

    def nodes(self, *targets: Callable[..., Any]) -> list[fx.Node]:
        """The calls of these operators, in order."""
        return [node for node in self.graph.nodes if node.op == "call_function" and node.target in targets]

    @contextmanager
    def before(self, node: fx.Node) -> Iterator[None]:
        """What is called inside stands before `node`, and belongs to the module that `node` came from."""
        self._origin = node
        with self.graph.inserting_before(node):
            yield

    def call(self, operator: Callable[..., Any], *args: Any) -> fx.Node:
        """A new call, its shape worked out without data."""
        node = self.graph.call_function(operator, args)
        with self._fake:
            node.meta["val"] = operator(*fx.map_arg(args, lambda n: n.meta["val"]))
        for key in ("nn_module_stack", "stack_trace"):
            if key in self._origin.meta:
                node.meta[key] = self._origin.meta[key]
        return node

    def constant(self, node: object) -> Tensor | None:
        """The tensor that a weight's node stands for; None where it is computed, or no node."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        found = attrgetter(str(node.target))(self.module)
        return found.detach() if isinstance(found, Tensor) else None

    def weight(self, tensor: Tensor, source: fx.Node, suffix: str) -> fx.Node:
        """A new weight made from that of `source` and named after it: `conv1.weight` -> `conv1_weight_2d`."""
        return self.number(tensor, f"{str(source.target).replace('.', '_')}_{suffix}", source=str(source.target))

    def number(self, tensor: Tensor, name: str, *, source: str = "", learns: bool = True) -> fx.Node:
        """A new constant; `source` names the old weight it was made from, where it was.

        `learns`: recipes that train on may change it, as they may any weight.
        """
        taken, count = name, 1
        while hasattr(self.module, name):
            count += 1
            name = f"{taken}_{count}"
        self.renamed[name] = source
        held = tensor.detach().clone().contiguous()
        if learns:  # no buffer: where PT2E folds it, it puts a parameter of the same name in its place
            held = torch.nn.Parameter(held, requires_grad=False)
            self.module.register_parameter(name, held)
        else:
            self.module.register_buffer(name, held)
        node = self.graph.get_attr(name)
        node.meta["val"] = self._fake.from_tensor(held, static_shapes=True)
        return node

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """`new` takes the place of `old` everywhere, under the old shape."""
        sizes = zip(shape(old), shape(new), strict=True)
        if any(isinstance(was, int) and isinstance(now, int) and was != now for was, now in sizes):
            raise AssertionError(f"a rewrite of {old} gives {shape(new)} instead of {shape(old)}")
        old.replace_all_uses_with(new)
        self.graph.erase_node(old)

    def finish(self) -> None:
        """Drops what nothing uses any more, and makes the module callable again."""
        self.graph.eliminate_dead_code()
        for name, _ in list(self.module.named_parameters(recurse=False)):
            if name in self.renamed and not any(node.target == name for node in self.graph.nodes):
                delattr(self.module, name)
        self.graph.lint()
        self.module.recompile()


def shape(node: fx.Node) -> tuple[Any, ...]:
    """The shape of a node's tensor; a free dimension is a symbol."""
    return tuple(node.meta["val"].shape)


def operand(node: fx.Node) -> fx.Node:
    """The tensor that an operator works on: its first argument."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    return x


def argument(node: fx.Node, name: str, default: Any = None) -> Any:
    """An operator's argument by its name in the schema, the schema's own default where it was left out."""
    for i, spec in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if spec.name == name:
            found = node.args[i] if i < len(node.args) else node.kwargs.get(name, spec.default_value)
            return default if found is None else found
    raise AssertionError(f"{node.target} has no argument {name!r}")


def each(value: Any, count: int) -> tuple[int, ...]:
    """One number for every spatial dimension, from a list of one or of all: [2] -> (2, 2, 2)."""
    found = [value] if isinstance(value, int) else list(value)
    return tuple(found * count if len(found) == 1 else found)


def slice_of(editor: Editor, x: fx.Node, dim: int, start: int, stop: int) -> fx.Node:
    """x[start:stop] along `dim`; x itself where that is all of it."""
    if start == 0 and stop == shape(x)[dim]:
        return x
    return editor.call(aten.slice.Tensor, x, dim, start, stop)


def join(editor: Editor, parts: Sequence[fx.Node], dim: int) -> fx.Node:
    """Concatenation; of one part, the part."""
    return parts[0] if len(parts) == 1 else editor.call(aten.cat.default, list(parts), dim)


def take(editor: Editor, x: fx.Node, dim: int, indices: Sequence[int]) -> fx.Node:
    """x at `indices` along `dim`, as slices of neighbours put together: what every backend can do."""
    runs: list[list[int]] = []
    for i in indices:
        if runs and i == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([i, i + 1])
    return join(editor, [slice_of(editor, x, dim, *run) for run in runs], dim)


def view(editor: Editor, x: fx.Node, sizes: Sequence[Any]) -> fx.Node:
    """x in another shape; a free dimension, of which there may be one, becomes -1."""
    sizes = [size if isinstance(size, int) else -1 for size in sizes]
    if tuple(sizes) == shape(x):
        return x
    return editor.call(aten.reshape.default, x, sizes)
