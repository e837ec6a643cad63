"""How close a replay of a bundle must be to the float model, output by output. Only arithmetic; runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.contract import Holds
from edgekit.edge_runtime.bundle.manifest import Floor, OutputSpec
from edgekit.edge_runtime.tasks.holds import kind
from edgekit.edge_runtime.tasks.variation import varying_sqnr_db

from .recipes import Recipe

# What the first output of a deployed model holds, by its task.
HOLDS: dict[str, Holds] = {
    "classification": "probabilities",
    "next_character": "log_probabilities",
    "segmentation": "mask",
}
# Another CPU rounds differently: it may come out this much further from the float model than where it was packed.
ROOM_DB = 3.0


def golden_floors(
    outputs: Sequence[OutputSpec], recipe: Recipe, reference: Arrays, packed: Arrays, *, held: bool
) -> dict[str, Floor]:
    """The floor of each output.

    Stages must reach the recipe's SQNR over all outputs together, constant parts included. A replay must reach it for
    what varies between samples, output by output; if the artifact itself was below that when it was packed, the floor
    is a little less than what it reached.

    Args:
        reference: the float model's answers (N, …) to the golden samples.
        packed: the artifact's own.
        held: whether every stage passed; if one did not, the recipe's floors are used unchanged.
    """
    return {
        spec.name: _floor(spec, i == 0, recipe, reference[spec.name], packed[spec.name], held)
        for i, spec in enumerate(outputs)
    }


def _floor(
    spec: OutputSpec, first: bool, recipe: Recipe, reference: np.ndarray, packed: np.ndarray, held: bool
) -> Floor:
    agreement = kind(spec.holds).agreement(reference, packed)
    # When the file was made, only the first output had to reach an agreement.
    agrees = recipe.agreement_floor if first or agreement >= recipe.agreement_floor else None
    sqnr = recipe.sqnr_floor_db
    if held:
        sqnr = min(sqnr, float(math.floor(varying_sqnr_db(reference, packed) - ROOM_DB)))
    if sqnr < 0:  # the error is larger than what varies: only the agreement means anything
        return Floor(sqnr_db=None, agreement=recipe.agreement_floor, max_abs=None)
    return Floor(sqnr_db=sqnr, agreement=agrees, max_abs=None)
