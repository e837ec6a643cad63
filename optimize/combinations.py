"""Which exporter × recipe pairs a request stands for, and which are tried first where time is short. Makes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.edge_runtime.devices.targets import target
from edgekit.edge_runtime.errors import UsageError, unknown

from .exporters import EXPORTERS, Exporter
from .recipes import RECIPES, Recipe
from .report.verdict import OBJECTIVES
from .user_model.request import Request

Combination = tuple[Exporter, Recipe]

# A recipe that another's failure calls for stands behind that one here: by then it is known whether it is called for.
# These are expectations, not measurements: static int8 computes in 8 bits in every kind of layer and finds its ranges
# beforehand; a dynamic recipe does so for linear layers alone, and fp16 or weight-only ones mostly save bytes.
FASTEST = ("w8a8_static", "w8a8_tuned", "mixed", "w8a8_qat", "fp32")
SMALLEST = (
    *("w4_dynamic", "w4_only", "w8a8_static", "w8_dynamic", "w8_only", "w8a8_tuned", "mixed", "w8a8_qat"),
    *("fp16", "fp32"),
)
ORDERS = {"": FASTEST, "latency": FASTEST, "size": SMALLEST, "memory": SMALLEST}


def combinations(request: Request) -> list[Combination]:
    """The pairs to try; without names all that are made by default.

    Raises:
        UsageError: an unknown recipe, exporter, target or objective; an exporter that the target does not run; or none
            of the exporters can do the recipes.
    """
    for kind, names, known in (("recipe", request.recipes, RECIPES), ("exporter", request.exporters, EXPORTERS)):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    if request.objective not in OBJECTIVES:
        raise unknown("objective", request.objective, [name for name in OBJECTIVES if name])
    exporters = [EXPORTERS[name] for name in _exporters(request)]
    recipes = [RECIPES[name] for name in _once(request.recipes) or [n for n, r in RECIPES.items() if not r.on_request]]
    pairs = [(e, r) for e in exporters for r in recipes if r.name in e.recipes]
    if not pairs:
        offers = "; ".join(f"{e.name} does {', '.join(e.recipes)}" for e in exporters)
        raise UsageError(f"none of the exporters can do {', '.join(r.name for r in recipes)}: {offers}")
    return pairs


def _once(names: Sequence[str]) -> list[str]:
    """Each name once, however often it was typed, in the order of its first place."""
    return list(dict.fromkeys(names))


def _exporters(request: Request) -> list[str]:
    """Those that are named; else those of the target, or all that are made by default."""
    named = _once(request.exporters)
    if request.target is None or not target(request.target).exporters:
        return named or [name for name, exporter in EXPORTERS.items() if exporter.by_default]
    runs = target(request.target).exporters
    if strangers := [name for name in named if name not in runs]:
        raise UsageError(f"{request.target} does not run what {strangers[0]} makes: it runs that of {', '.join(runs)}")
    return named or list(runs)


def runs_there(request: Request, engine: str) -> bool:
    """Whether the request's target has this engine, so that its figures are worth ranking; without a target, always."""
    return request.target is None or engine in (target(request.target).engines or (engine,))


def most_promising_first(pairs: Sequence[Combination], objective: str) -> list[Combination]:
    """The same pairs, those first whose recipe promises most for `objective` (one of `verdict.OBJECTIVES`).

    Recipes that the order does not name come last; among equals the order given is kept.
    """
    order = ORDERS[objective]
    return sorted(pairs, key=lambda pair: order.index(pair[1].name) if pair[1].name in order else len(order))
