"""How close a replay of a bundle must be to the float model, output by output. Only arithmetic; runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import Floor, OutputSpec
from edgekit.edge_runtime.tasks.holds import kind
from edgekit.edge_runtime.tasks.variation import varying_sqnr_db

from .recipes import Recipe

# Another CPU rounds differently: it may come out this much further from the float model than where it was packed.
ROOM_DB = 3.0
ROOM_ANSWERS = 2  # and this many of its golden answers may flip there


def golden_floors(
    outputs: Sequence[OutputSpec], recipe: Recipe, reference: Arrays, packed: Arrays, *, held: bool
) -> dict[str, Floor]:
    """The floor of each output: the recipe's, or a bit less than the artifact reached, if that was lower when packed.

    An artifact may be below a floor of its recipe where its metric was measured and decides.

    Args:
        reference: the float model's answers (N, …) to the golden samples.
        packed: the artifact's own.
        held: whether every stage passed; if one did not, the recipe's floors are used unchanged.
    """
    return {spec.name: _floor(spec, recipe, reference[spec.name], packed[spec.name], held) for spec in outputs}


def _floor(spec: OutputSpec, recipe: Recipe, reference: np.ndarray, packed: np.ndarray, held: bool) -> Floor:
    agreement, sqnr = recipe.agreement_floor, recipe.sqnr_floor_db
    if held:
        sqnr = min(sqnr, float(math.floor(varying_sqnr_db(reference, packed) - ROOM_DB)))
        here = kind(spec.holds).agreement(reference, packed)
        if here < agreement:
            agreement = max(0.0, here - ROOM_ANSWERS / len(reference))
    # Below 0 dB the error is larger than what varies: only the agreement means anything.
    return Floor(sqnr_db=sqnr if sqnr >= 0 else None, agreement=agreement, max_abs=None)
