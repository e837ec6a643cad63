"""Which exporter × recipe pairs are tried first when there may not be time for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from .exporters import Exporter
from .recipes import Recipe

# A recipe that another's failure calls for stands behind that one here: by then it is known whether it is called for.
# These are expectations, not measurements: static int8 computes in 8 bits in every kind of layer and finds its ranges
# beforehand; a dynamic recipe does so for linear layers alone, and fp16 or weight-only ones mostly save bytes.
FASTEST = ("w8a8_static", "w8a8_tuned", "mixed", "w8a8_qat", "fp32")
SMALLEST = (
    *("w4_dynamic", "w4_only", "w8a8_static", "w8_dynamic", "w8_only", "w8a8_tuned", "mixed", "w8a8_qat"),
    *("fp16", "fp32"),
)
ORDERS = {"": FASTEST, "latency": FASTEST, "size": SMALLEST, "memory": SMALLEST}


def most_promising_first(pairs: Sequence[tuple[Exporter, Recipe]], objective: str) -> list[tuple[Exporter, Recipe]]:
    """The same pairs, those first whose recipe promises most for `objective` (one of `verdict.OBJECTIVES`).

    Recipes that the order does not name come last; among equals the order given is kept.
    """
    order = ORDERS[objective]
    return sorted(pairs, key=lambda pair: order.index(pair[1].name) if pair[1].name in order else len(order))
