"""The verified chain: every stage against the one before it, on real samples, and the accuracy gate at the end.

Random inputs prove little: a lowered model can agree on noise and be wrong on pictures. All comparisons here are on
golden samples from the validation split. This module compares; it exports nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import Metric, StageResult
from edgekit.edge_runtime.errors import VerificationError
from edgekit.edge_runtime.format import db_text, limit_text, metric_name, percent_text, value_text
from edgekit.edge_runtime.tasks.metrics import max_abs, relative_error, sqnr_db
from edgekit.edge_runtime.tasks.registry import task

from .deploy import DeployModel, Predict, run_module
from .exporters import Stage
from .recipes import RECIPES, Recipe
from .user_model.evaluation import check_finite, evaluated

# What capturing or rewriting a graph may change: the order of float additions, nothing more (relative to the range).
EXACT = 1e-5
OnStage = Callable[[StageResult], None]


@dataclass(frozen=True, kw_only=True)
class FloatReference:
    """The float model's answers in eager PyTorch: on the whole validation split, and on the golden rows of it.

    `metric` relates the float model to itself; None where the true answers are not known and nothing evaluates it.
    """

    validation: Arrays
    metric: Metric | None
    golden_indices: np.ndarray
    golden_inputs: Arrays
    golden_outputs: Arrays

    @classmethod
    def of(cls, model: DeployModel) -> FloatReference:
        """Runs the eager module over the validation split once; every bundle of the model is held to this.

        Raises:
            InputError: an answer is NaN or infinite.
        """
        answers = run_module(model, model.module, model.validation)
        check_finite(answers)
        indices = model.golden_indices(answers[model.outputs[0].name])
        return cls(
            validation=answers,
            metric=measure(model, answers, lambda arrays: run_module(model, model.module, arrays)),
            golden_indices=indices,
            golden_inputs={name: rows[indices] for name, rows in model.validation.items()},
            golden_outputs={name: rows[indices] for name, rows in answers.items()},
        )


class Chain:
    """Takes the stages of one export in order; `results` is what the manifest records.

    A stage that misses what it is held to raises VerificationError, unless `keep_going`: then it is only recorded.
    """

    def __init__(
        self, model: DeployModel, recipe: Recipe, reference: FloatReference, *, keep_going: bool, on_stage: OnStage
    ):
        self.results: list[StageResult] = []
        self.notes: dict[str, str] = {}
        self._model, self._recipe, self._reference = model, recipe, reference
        self._keep_going, self._on_stage = keep_going, on_stage
        self._last_name = "eager"
        self.last_outputs = reference.golden_outputs
        self._quantized = False

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    def check(self, stage: Stage) -> None:
        """Runs the stage's program on the golden inputs and compares it with the stage before."""
        found = stage.run(self._reference.golden_inputs)
        self.notes |= stage.notes
        if stage.kind == "quantize":
            self._quantized = True
        exact = stage.kind in ("capture", "rewrite")
        # Before anything was quantized a lowered program is held to what float is held to.
        recipe = self._recipe if self._quantized else RECIPES["fp32"]
        self._record(stage.kind, self._last_name, self.last_outputs, found, recipe, exact=exact)
        self._last_name, self.last_outputs = stage.kind, found

    def check_reload(self, found: Arrays) -> None:
        """Compares a fresh process's answers to the golden inputs with the float model's."""
        self._record("reload", "eager", self._reference.golden_outputs, found, self._recipe, exact=False)

    def check_batch(self, single: Arrays, together: Arrays) -> None:
        """Compares answers to golden inputs that were run several at a time with those to one at a time."""
        self._record("batch", "reload", single, together, self._recipe, exact=False)

    def _record(
        self, stage: str, before: str, reference: Arrays, found: Arrays, recipe: Recipe, *, exact: bool
    ) -> None:
        wanted, got = joined(reference), joined(found)
        first = self._model.outputs[0].name
        relative, sqnr = relative_error(wanted, got), sqnr_db(wanted, got)
        agreement = task(self._model.task).agreement(reference[first], found[first])
        if exact:
            held_to, passed = f"relative error ≤ {EXACT:g}", relative <= EXACT
        else:
            held_to = f"SQNR ≥ {recipe.sqnr_floor_db:g} dB, agreement ≥ {limit_text(recipe.agreement_floor)}"
            passed = sqnr >= recipe.sqnr_floor_db and agreement >= recipe.agreement_floor
        result = StageResult(
            stage=stage,
            compared_with=before,
            max_abs=max_abs(wanted, got),
            relative=relative,
            sqnr_db=round(sqnr, 2),
            agreement=agreement,
            held_to=held_to,
            passed=passed,
        )
        self.results.append(result)
        self._on_stage(result)
        if not passed and not self._keep_going:
            worst = int(np.abs(wanted - got).max(axis=1).argmax())
            raise VerificationError(
                f"{self._model.name}: stage {stage!r} is wrong on real samples. Required: {held_to}; found: SQNR "
                f"{db_text(sqnr)}, relative error {relative:.2g}, agreement {percent_text(agreement)} "
                f"against {before!r}. "
                f"Worst is golden sample {worst} ({self._truth(worst)}). {self._rewrites(stage)}"
                "Nothing was written; --allow-unverified keeps the bundle for study, stamped unverified"
            )

    def _rewrites(self, stage: str) -> str:
        """What the stage rewrote, where it did."""
        return f"It rewrote {self.notes['rewrites']}. " if stage == "rewrite" and "rewrites" in self.notes else ""

    def _truth(self, golden_row: int) -> str:
        """The true answer to a golden sample: its class by name, or the first of its numbers."""
        if self._model.targets is None:
            return "its truth is not known"
        target = self._model.targets[self._reference.golden_indices[golden_row]]
        if target.ndim == 0 and target.dtype.kind in "iu":
            return f"class {self._model.labels[int(target)]!r}"
        numbers = [f"{value:.4g}" for value in target.ravel()[:4]]
        return f"truth {', '.join(numbers)}{', …' if target.size > len(numbers) else ''}"


def measure(
    model: DeployModel, answers: Arrays, predict: Predict, reference: FloatReference | None = None
) -> Metric | None:
    """The metric of answers (N, …) to the validation split as the manifest keeps it, beside the `reference`'s.

    Where the model comes with an `evaluate` of its own, that is asked, with `predict`. None where neither it nor the
    true answers are there. Without `reference` the answers are the float model's own.
    """
    first = model.outputs[0].name
    before = None if reference is None else reference.metric
    if model.evaluate is not None:
        found = evaluated(model.evaluate, predict)
    elif model.targets is not None:
        counted = task(model.task).metric()
        counted.update(answers[first], model.targets)
        found = Metric(
            name=type(counted).name,
            value=counted.value,
            low=counted.low,
            high=counted.high,
            samples=counted.samples,
            float_value=counted.value,
            agreement=1.0,
        )
    else:
        return None
    if reference is None or before is None:
        return found
    agreement = task(model.task).agreement(reference.validation[first], answers[first])
    return replace(found, float_value=before.value, agreement=agreement)


def budget(task_name: str, float_value: float, max_drop: float) -> tuple[float, Callable[[float], bool]]:
    """The worst value of the task's metric that keeps within `max_drop` of float's, and the test of a value."""
    allowed = max_drop * abs(float_value)
    if task(task_name).metric().higher_is_better:
        limit = float_value - allowed
        return limit, lambda value: value >= limit
    limit = float_value + allowed
    return limit, lambda value: value <= limit


def gate_message(model: DeployModel, metric: Metric | None, max_drop: float) -> str | None:
    """None when the metric is within the budget, or not measured, else what was missed.

    `max_drop` is relative to the float model; of a model's own `evaluate` more is better, as of an accuracy.
    """
    if metric is None:
        return None
    limit, within = budget("classification" if model.evaluate else model.task, metric.float_value, max_drop)
    if within(metric.value):
        return None
    return (
        f"{metric_name(metric.name)} went from {value_text(metric.name, metric.float_value)} to "
        f"{value_text(metric.name, metric.value)} on {metric.samples:,} validation samples; the budget of "
        f"{limit_text(max_drop)} allows {value_text(metric.name, limit)} at the worst"
    )


def joined(arrays: Arrays) -> np.ndarray:
    """All outputs of each sample side by side, (N, …) float64."""
    columns: Sequence[np.ndarray] = [rows.reshape(len(rows), -1) for rows in arrays.values()]
    return np.concatenate(columns, axis=1).astype(np.float64)
