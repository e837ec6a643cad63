"""Accuracy-aware int8: which layers damage the answers, and the fewest that have to stay in float.

1. Each layer is quantized alone; how far the answers move from float's (SQNR) is its damage.
2. The worst layers are put back to float, none at first, then one, two, four, ...; the share of flipped answers and the
   SQNR of each output say when it is enough, and a bisection finds the fewest.

All of it is measured on calibration samples, against the float model's own answers: the validation split judges the
bundle at the end, so it has no part in the choice. No truth is needed: a loss of hits cannot exceed the share of
answers that flipped. Every measurement is kept on disk as it is made, so an interrupted search goes on where it was.
Quantizes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.decode import DecodeError, canonical_json, parse_json
from edgekit.edge_runtime.errors import VerificationError
from edgekit.edge_runtime.files import keep
from edgekit.edge_runtime.format import limit_text, percent_text
from edgekit.edge_runtime.tasks.metrics import Accuracy
from edgekit.edge_runtime.tasks.registry import task

from ..deploy import DeployModel, run_module
from ..layer_notes import Damage, damages_text
from ..recipes.recipe import LayerChoice, LayerQuantizer
from .samples import some_rows, worst_sqnr_db

RANKED_ON = 32  # calibration samples
JUDGED_ON = 500  # at most, evenly spaced
FEW = 64  # of fewer samples the choice says that they are few


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was found with the `put_back` worst layers in float, in words, and whether that is enough."""

    put_back: int
    found: str
    within: bool


OnTrial = Callable[[str], None]


class Search:
    """Looks for the fewest float layers of one model, in the file `kept` keeping what was measured.

    Args:
        max_drop: where the task's metric counts hits, the largest share of answers that may flip.
        sqnr_floor_db: of what varies between samples, for each output on its own.
        agreement_floor: the smallest share of equal answers, whatever the metric counts.
    """

    def __init__(
        self,
        model: DeployModel,
        *,
        max_drop: float,
        kept: Path | None,
        sqnr_floor_db: float = -np.inf,
        agreement_floor: float = 0.0,
        say: OnTrial = lambda line: None,
    ):
        self._model, self._kept, self._say = model, kept, say
        self._sqnr_floor_db, self._agreement_floor = sqnr_floor_db, agreement_floor
        self._counts_hits = isinstance(task(model.task).metric(), Accuracy)
        self._most_flips = min(1 - agreement_floor, max_drop) if self._counts_hits else 1 - agreement_floor
        self._judged = some_rows(model.calibration, JUDGED_ON)
        self._samples = len(next(iter(self._judged.values())))
        self._ranked_on = {name: values[:RANKED_ON] for name, values in model.calibration.items()}

    def choose(self, quantizer: LayerQuantizer) -> LayerChoice:
        """The layers that have to stay in float.

        Raises:
            VerificationError: too much is lost even with every layer in float, or with any fewer: then nothing would be
                quantized.
        """
        damages = self._rank(quantizer)
        wanted = run_module(self._model, self._model.module, self._judged)
        trials: dict[int, Trial] = {}

        def enough(put_back: int) -> bool:
            trials[put_back] = self._try(quantizer, damages, put_back, wanted)
            return trials[put_back].within

        low, high = -1, 0  # `low` are too few
        while not enough(high):
            if high == len(damages):
                raise VerificationError(
                    f"{self._model.name}: with all {high} layers back in float what is asked for is still missed "
                    f"({self._limits}; found {trials[high].found} on {self._where}), so the loss comes from what is "
                    "quantized between them. Deliver the fp32 bundle"
                )
            low, high = high, min(max(1, 2 * high), len(damages))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        if high == len(damages):
            raise VerificationError(
                f"{self._model.name}: only with all {high} layers back in float is enough kept ({self._limits}, on "
                f"{self._where}), and then nothing is quantized: that is the float model. Deliver the fp32 bundle, or "
                "allow more with --max-drop"
            )
        chosen = tuple(damage.layer for damage in damages[:high])
        tried = (f"{k} back: {trials[k].found}" for k in sorted(trials))
        notes = {
            "float_layers": ", ".join(chosen) or "none",
            "layers_sqnr_db": damages_text(damages),
            "layers_tried": f"{'; '.join(tried)} (on {self._where})",
        }
        return LayerChoice(float_layers=frozenset(chosen), notes=notes)

    @property
    def _where(self) -> str:
        """Like "500 calibration samples"; of few ones, what that means for the choice."""
        words = f"{self._samples:,} calibration samples"
        if self._samples >= FEW:
            return words
        if not self._counts_hits:
            return f"{words}, which are few"
        allowed = int(self._most_flips * self._samples + 1e-9)
        may = "no answer" if not allowed else f"no more than {allowed} of the answers"
        return f"{words}, which are few: {may} may flip"

    @property
    def _limits(self) -> str:
        """What is asked for."""
        said = [f"flipped answers at most {limit_text(self._most_flips)}"]
        if np.isfinite(self._sqnr_floor_db):
            said.append(f"SQNR at least {self._sqnr_floor_db:g} dB")
        return ", ".join(said)

    def _rank(self, quantizer: LayerQuantizer) -> list[Damage]:
        """All layers, the most damaging first."""
        wanted = run_module(self._model, self._model.module, self._ranked_on)
        found = []
        for done, layer in enumerate(quantizer.layers, start=1):
            others = frozenset(quantizer.layers) - {layer}
            damage = self._remember(f"calibration SQNR alone {layer}", partial(self._alone, quantizer, others, wanted))
            found.append(Damage(layer=layer, sqnr_db=damage))
            self._say(f"layer {done}/{len(quantizer.layers)} {layer}: alone in int8 SQNR {damage:.1f} dB")
        return sorted(found, key=lambda damage: damage.sqnr_db)

    def _alone(self, quantizer: LayerQuantizer, others: frozenset[str], wanted: Arrays) -> float:
        return worst_sqnr_db(wanted, quantizer.quantized(others, roughly=True)(self._ranked_on))

    def _try(self, quantizer: LayerQuantizer, damages: list[Damage], put_back: int, wanted: Arrays) -> Trial:
        float_layers = frozenset(damage.layer for damage in damages[:put_back])
        answers = functools.cache(lambda: quantizer.quantized(float_layers)(self._judged))
        key = "back " + ", ".join(sorted(float_layers))
        flipped = self._remember(f"calibration flips {key}", lambda: self._flipped(wanted, answers()))
        enough = flipped <= self._most_flips + 1e-9
        found = f"{percent_text(flipped)} of the answers flipped"
        if enough and np.isfinite(self._sqnr_floor_db):
            noise = self._remember(f"calibration SQNR {key}", lambda: worst_sqnr_db(wanted, answers()))
            enough = noise >= self._sqnr_floor_db
            found += f", SQNR {noise:.1f} dB"
        self._say(
            f"{put_back} of {len(damages)} layers back in float: {found} on calibration samples, "
            f"{'enough' if enough else 'not enough'}: asked for are {self._limits}"
        )
        return Trial(put_back=put_back, found=found, within=enough)

    def _flipped(self, wanted: Arrays, answers: Arrays) -> float:
        """The share of answers that are no longer float's."""
        return 1 - task(self._model.task).agreement(self._model.answers(wanted), self._model.answers(answers))

    def _remember(self, key: str, measure: Callable[[], float]) -> float:
        """A measurement of an earlier, interrupted search, or a new one, which is kept at once."""
        kept = self._read()
        if key not in kept:
            kept[key] = float(measure())
            keep(self._kept, canonical_json(kept))
        return kept[key]

    def _read(self) -> dict[str, Any]:
        if self._kept is None:
            return {}
        try:
            found = parse_json(self._kept.read_bytes())
        except (OSError, DecodeError):  # none, or damaged: it is only a saving of time
            return {}
        return found if isinstance(found, dict) else {}
