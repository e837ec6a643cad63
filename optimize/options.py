"""What `edgekit optimize` can be asked for, and which exporter × recipe pairs that makes. Carries nothing out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.edge_runtime.errors import UsageError, unknown

from .exporters import EXPORTERS, Exporter
from .recipes import RECIPES, Recipe
from .report.verdict import OBJECTIVES


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `edgekit optimize` was asked for; empty `recipes` or `exporters` stand for all that may be needed.

    `objective` is one of `verdict.OBJECTIVES`, or empty: what the best bundle is the best in. `again`: use nothing that
    an earlier run made.
    """

    recipes: tuple[str, ...] = ()
    exporters: tuple[str, ...] = ()
    out: Path = Path("bundles")
    max_drop: float = 0.01
    max_batch: int = 1
    allow_unverified: bool = False
    quick: bool = False
    objective: str = ""
    time_budget_s: float | None = None
    again: bool = False


def combinations(options: Options) -> list[tuple[Exporter, Recipe]]:
    """Exporter × recipe pairs to try. Raises UsageError on unknown names and on a named pair that does not exist."""
    for kind, names, known in (("recipe", options.recipes, RECIPES), ("exporter", options.exporters, EXPORTERS)):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    if options.objective not in OBJECTIVES:
        raise unknown("objective", options.objective, [name for name in OBJECTIVES if name])
    exporters = [EXPORTERS[name] for name in options.exporters or [n for n, e in EXPORTERS.items() if e.by_default]]
    recipes = [RECIPES[name] for name in options.recipes or [n for n, r in RECIPES.items() if not r.on_request]]
    pairs = [(e, r) for e in exporters for r in recipes if r.name in e.recipes]
    if not pairs:
        offers = "; ".join(f"{e.name} does {', '.join(e.recipes)}" for e in exporters)
        raise UsageError(f"none of the exporters can do {', '.join(r.name for r in recipes)}: {offers}")
    return pairs
