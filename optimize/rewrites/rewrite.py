"""The `Rewrite` record, and `rewrite()`, which applies several in order and says what each one did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import fx

from .graph import Editor


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """One exact rewrite of a captured graph.

    `apply` edits the graph and returns how often it did, by the name of the operator it replaced. What it cannot
    rewrite exactly it leaves as it is. `why` is the reason it exists, for people.
    """

    name: str
    why: str
    apply: Callable[[Editor], dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What was done to one graph: `counts` by rewrite and operator, `weights` from each new name to the old one."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def text(self) -> str:
        """For the manifest and the report: "volumes: conv3d x8, max_pool3d x4; reflection_pad: pad x20"."""
        parts = [
            f"{name}: " + ", ".join(f"{operator} x{count}" for operator, count in sorted(found.items()))
            for name, found in self.counts.items()
        ]
        return "; ".join(parts)

    @property
    def notes(self) -> dict[str, str]:
        """What the manifest keeps."""
        return {"rewrites": self.text}


def rewrite(module: fx.GraphModule, rewrites: Sequence[Rewrite]) -> Applied:
    """Applies `rewrites` to a captured module, in place and in order."""
    editor = Editor(module)
    counts = {}
    for one in rewrites:
        if found := {operator: count for operator, count in one.apply(editor).items() if count}:
            counts[one.name] = found
            editor.finish()
    return Applied(
        counts=counts, weights={new: old for new, old in editor.renamed.items() if old and hasattr(module, new)}
    )


def rules(targets: dict[Callable, Callable[[Editor, fx.Node], fx.Node | None]]) -> Callable[[Editor], dict[str, int]]:
    """An `apply` of one rule an operator: it returns the node to put in its place, or None to leave it."""

    def apply(editor: Editor) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in editor.nodes(*targets):
            with editor.before(node):
                new = targets[node.target](editor, node)  # type: ignore[index]
            if new is not None:
                name = operator_name(node)
                counts[name] = counts.get(name, 0) + 1
                editor.replace(node, new)
        return counts

    return apply


def operator_name(node: fx.Node) -> str:
    """ "conv3d" of torch.ops.aten.conv3d.default."""
    return node.target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]
