"""Accuracy-aware int8: which layers damage the answers, and the fewest that have to stay in float.

1. Each layer is quantized alone; how far the answers move from float's (SQNR, on calibration samples) is its damage.
2. The worst layers are put back to float, none at first, then one, two, four, ...; the task metric on validation
   samples, and on golden ones the SQNR and agreement that the recipe is held to, say when it is enough, and a bisection
   finds the fewest. Where true answers are not known, the last two decide alone.

Every measurement is kept on disk as it is made, so an interrupted search goes on where it was. Quantizes nothing.
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
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.format import db_text, limit_text, metric_name, percent_text, value_text
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.edge_runtime.tasks.registry import task

from ..deploy import DeployModel, run_module
from ..layer_notes import Damage, damages_text
from ..recipes.recipe import LayerChoice, LayerQuantizer
from ..verify import FloatReference, budget, joined

RANKED_ON = 32  # calibration samples
JUDGED_ON = 500  # validation samples, evenly spaced; the gate at the end sees all of them


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was found with the `put_back` worst layers in float, in words, and whether that is enough."""

    put_back: int
    found: str
    within: bool


OnTrial = Callable[[str], None]


class Search:
    """Looks for the fewest float layers of one model, in the file `kept` keeping what was measured."""

    def __init__(
        self,
        model: DeployModel,
        reference: FloatReference,
        *,
        max_drop: float,
        kept: Path,
        sqnr_floor_db: float = -np.inf,
        agreement_floor: float = 0.0,
        say: OnTrial = lambda line: None,
    ):
        self._sqnr_floor_db, self._agreement_floor = sqnr_floor_db, agreement_floor
        self._model, self._max_drop, self._kept, self._say = model, max_drop, kept, say
        count = len(next(iter(model.validation.values())))
        rows = np.unique(np.linspace(0, count - 1, JUDGED_ON).round().astype(np.int64))
        # The metric is of `rows`; the floors are judged on the golden samples behind them, as the stages will be.
        golden = reference.golden_inputs
        self._judged = {name: np.concatenate([x[rows], golden[name]]) for name, x in model.validation.items()}
        self._targets = None if model.targets is None else model.targets[rows]
        self._samples = len(rows)
        self._float_answers = {name: x[rows] for name, x in reference.validation.items()}
        self._golden_answers = reference.golden_outputs
        self._ranked_on = {name: values[:RANKED_ON] for name, values in model.calibration.items()}

    def choose(self, quantizer: LayerQuantizer) -> LayerChoice:
        """The layers that have to stay in float.

        Raises:
            VerificationError: even with every layer in float the budget is missed.
        """
        damages = self._rank(quantizer)
        trials: dict[int, Trial] = {}

        def enough(put_back: int) -> bool:
            trials[put_back] = self._try(quantizer, damages, put_back)
            return trials[put_back].within

        low, high = -1, 0  # `low` are too few
        while not enough(high):
            if high == len(damages):
                missed = (
                    f"the budget of {limit_text(self._max_drop)} is" if self._targets is not None else "the floors are"
                )
                raise VerificationError(
                    f"{self._model.name}: with all {high} layers back in float {missed} still missed, so the loss "
                    "comes from what is quantized between them. Deliver the fp32 bundle"
                )
            low, high = high, min(max(1, 2 * high), len(damages))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        chosen = tuple(damage.layer for damage in damages[:high])
        tried = (f"{k} back: {trials[k].found}" for k in sorted(trials))
        notes = {
            "float_layers": ", ".join(chosen) or "none",
            "layers_sqnr_db": damages_text(damages),
            "layers_tried": f"{'; '.join(tried)} (on {self._samples:,} validation samples)",
        }
        return LayerChoice(float_layers=frozenset(chosen), notes=notes)

    def _rank(self, quantizer: LayerQuantizer) -> list[Damage]:
        """All layers, the most damaging first."""
        wanted = joined(run_module(self._model, self._model.module, self._ranked_on))
        found = []
        for done, layer in enumerate(quantizer.layers, start=1):
            others = frozenset(quantizer.layers) - {layer}
            damage = self._remember(
                f"alone {layer}",
                partial(self._sqnr_db, quantizer, others, wanted),
            )
            found.append(Damage(layer=layer, sqnr_db=damage))
            self._say(f"layer {done}/{len(quantizer.layers)} {layer}: alone in int8 SQNR {db_text(damage)}")
        return sorted(found, key=lambda damage: damage.sqnr_db)

    def _sqnr_db(self, quantizer: LayerQuantizer, float_layers: frozenset[str], wanted: np.ndarray) -> float:
        return sqnr_db(wanted, joined(quantizer.quantized(float_layers, roughly=True)(self._ranked_on)))

    def _try(self, quantizer: LayerQuantizer, damages: list[Damage], put_back: int) -> Trial:
        float_layers = frozenset(damage.layer for damage in damages[:put_back])
        answers = functools.cache(lambda: quantizer.quantized(float_layers)(self._judged))

        def behind() -> Arrays:
            return {name: values[self._samples :] for name, values in answers().items()}

        def in_front() -> Arrays:
            return {name: values[: self._samples] for name, values in answers().items()}

        key = "back " + ", ".join(sorted(float_layers))
        said, asked, enough = [], [], True
        if self._targets is not None:
            value = self._remember(key, lambda: self._metric(in_front(), self._targets))
            limit, within = budget(self._model.task, self._metric(self._float_answers, self._targets), self._max_drop)
            name, enough = task(self._model.task).metric().name, within(value)
            said.append(f"{metric_name(name)} {value_text(name, value)}")
            asked.append(value_text(name, limit))
        # Else a stage would refuse what this search found good enough.
        if enough and np.isfinite(self._sqnr_floor_db):
            noise = self._remember(
                f"golden SQNR {key}", lambda: sqnr_db(joined(self._golden_answers), joined(behind()))
            )
            enough = noise >= self._sqnr_floor_db
            said.append(f"SQNR {db_text(noise)}")
            asked.append(f"{self._sqnr_floor_db:g} dB")
        if enough and self._agreement_floor:
            agreement = self._remember(f"golden agreement {key}", lambda: self._agreement(behind()))
            enough = agreement >= self._agreement_floor
            said.append(f"agreement {percent_text(agreement)}")
            asked.append(limit_text(self._agreement_floor))
        found = ", ".join(said)
        self._say(
            f"{put_back} of {len(damages)} layers back in float: {found}, "
            f"{'enough' if enough else 'not enough'}: {', '.join(asked)} is asked for"
        )
        return Trial(put_back=put_back, found=found, within=enough)

    def _agreement(self, answers: Arrays) -> float:
        first = self._model.outputs[0].name
        return task(self._model.task).agreement(self._golden_answers[first], answers[first])

    def _metric(self, answers: Arrays, targets: np.ndarray | None) -> float:
        assert targets is not None
        metric = task(self._model.task).metric()
        metric.update(answers[self._model.outputs[0].name], targets)
        return metric.value

    def _remember(self, key: str, measure: Callable[[], float]) -> float:
        """A measurement of an earlier, interrupted search, or a new one, which is kept at once."""
        kept = self._read()
        if key not in kept:
            kept[key] = float(measure())
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._kept, canonical_json(kept))
        return kept[key]

    def _read(self) -> dict[str, Any]:
        try:
            found = parse_json(self._kept.read_bytes())
        except (OSError, DecodeError):  # none, or damaged: it is only a saving of time
            return {}
        return found if isinstance(found, dict) else {}
