"""What a bundle's golden replay is held to, output by output: the recipe's floors, in the words of the manifest.

Pure arithmetic on answers: this module exports nothing and runs nothing.
"""

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
# Another CPU rounds otherwise: so much nearer to the float model the artifact may have been where it was packed.
ROOM_DB = 3.0


def golden_floors(
    outputs: Sequence[OutputSpec], recipe: Recipe, reference: Arrays, packed: Arrays, *, held: bool
) -> dict[str, Floor]:
    """The floor of each output.

    The stages are held to the recipe's SQNR of all outputs together, their constant part included. A replay is held to
    that of what varies between samples, output by output: to the recipe's, or where the artifact itself was below it
    when packed, to little less than it had.

    Args:
        reference: the float model's answers (N, …) to the golden samples.
        packed: the artifact's own.
        held: whether every stage was held; where one was not, the recipe's floors stand as they are.
    """
    return {
        spec.name: _floor(spec, i == 0, recipe, reference[spec.name], packed[spec.name], held)
        for i, spec in enumerate(outputs)
    }


def _floor(
    spec: OutputSpec, first: bool, recipe: Recipe, reference: np.ndarray, packed: np.ndarray, held: bool
) -> Floor:
    agreement = kind(spec.holds).agreement(reference, packed)
    # Of the other outputs nobody was held to an agreement when the file was made.
    agrees = recipe.agreement_floor if first or agreement >= recipe.agreement_floor else None
    sqnr = recipe.sqnr_floor_db
    if held:
        sqnr = min(sqnr, float(math.floor(varying_sqnr_db(reference, packed) - ROOM_DB)))
    if sqnr < 0:  # what varies is drowned by the error: then only the agreement says anything
        return Floor(sqnr_db=None, agreement=recipe.agreement_floor, max_abs=None)
    return Floor(sqnr_db=sqnr, agreement=agrees, max_abs=None)
