"""Which recipes measure before they quantize, and what each of them does: one line each in `TUNERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..cache import fingerprint, measured_layers
from ..deploy import DeployModel
from ..events import OnEvent, TrainingProgress, Trial
from ..exporters import Exporter
from ..recipes import Recipe
from ..verify import FloatReference
from .calibrator import Calibrator
from .float_layers import Search
from .qat import QuantizationAwareTraining


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a tuner has to go by. `max_drop`: the budget; `tools`: the exact versions of what the bundle depends on."""

    model: DeployModel
    reference: FloatReference
    exporter: Exporter
    recipe: Recipe
    max_drop: float
    tools: dict[str, str]
    on_event: OnEvent

    def say(self, text: str) -> None:
        self.on_event(Trial(text=text))


def _calibrated(tuning: Tuning) -> Recipe:
    return Calibrator(tuning.recipe, tuning.model, say=tuning.say).recipe


def _with_float_layers(tuning: Tuning) -> Recipe:
    model, reference, recipe = tuning.model, tuning.reference, tuning.recipe
    made_from = fingerprint(model, reference, tuning.exporter, recipe, tools=tuning.tools, settings=())
    search = Search(
        model,
        max_drop=tuning.max_drop,
        kept=measured_layers(made_from),
        sqnr_floor_db=recipe.sqnr_floor_db,
        agreement_floor=recipe.agreement_floor,
        say=tuning.say,
    )
    return replace(recipe, choose_layers=search.choose)


def _trained(tuning: Tuning) -> Recipe:
    def on_progress(done: int, total: int) -> None:
        tuning.on_event(TrainingProgress(done=done, total=total))

    return QuantizationAwareTraining(tuning.recipe, tuning.model, say=tuning.say, on_progress=on_progress).recipe


# A tuner gives the recipe as the exporter is to carry it out on this model.
TUNERS: dict[str, Callable[[Tuning], Recipe]] = {
    "w8a8_tuned": _calibrated,
    "mixed": _with_float_layers,
    "w8a8_qat": _trained,
}


def tuned(tuning: Tuning) -> Recipe:
    """The recipe as its tuner makes it; as it is where it has none.

    Raises:
        ExportError: it trains on, and the model comes without training data.
    """
    tuner = TUNERS.get(tuning.recipe.name)
    return tuner(tuning) if tuner else tuning.recipe
