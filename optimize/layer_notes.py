"""How damaging int8 is to each layer, as a manifest's notes keep it: written and read here alone. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What quantizing `layer` alone does to the answers: their SQNR (dB) against float's; the lower, the worse."""

    layer: str
    sqnr_db: float


def damages_text(damages: Iterable[Damage]) -> str:
    """Like "net.b -0.5, net.a 31.0"."""
    return ", ".join(f"{damage.layer} {damage.sqnr_db:.1f}" for damage in damages)


def read_damages(text: str) -> list[Damage]:
    """What `damages_text` wrote; an entry of a foreign manifest that is none is left out."""
    found = []
    for entry in text.split(", "):
        layer, _, number = entry.rpartition(" ")
        try:
            damage = Damage(layer=layer, sqnr_db=float(number))
        except ValueError:
            continue
        if layer and math.isfinite(damage.sqnr_db):
            found.append(damage)
    return found
