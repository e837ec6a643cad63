"""The verified chain: every stage against the one before it, on real samples, and the accuracy gate at the end.

Random inputs prove little: a lowered model can agree on noise and be wrong on pictures. All comparisons here are on
golden samples from the validation split. This module compares; it exports nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.errors import VerificationError
from edge_runtime.golden import Arrays
from edge_runtime.manifest import Metric, StageResult
from edge_runtime.metrics import TaskMetric, max_abs, relative_error, sqnr_db
from edge_runtime.table import metric_name, value_text
from edge_runtime.tasks import task

from .deploy import DeployModel, run_module
from .exporters import Stage
from .recipes import RECIPES, Recipe

# What capturing or rewriting a graph may change: the order of float additions, nothing more (relative to the range).
EXACT = 1e-5
OnStage = Callable[[StageResult], None]


@dataclass(frozen=True, kw_only=True)
class FloatReference:
    """The float model's answers in eager PyTorch: on the whole validation split, and on the golden rows of it."""

    validation: Arrays
    metric: TaskMetric
    golden_indices: np.ndarray
    golden_inputs: Arrays
    golden_outputs: Arrays

    @classmethod
    def of(cls, model: DeployModel) -> FloatReference:
        """Runs the eager module over the validation split once; every bundle of the model is held to this."""
        answers = run_module(model, model.module, model.validation)
        indices = model.golden_indices()
        return cls(
            validation=answers,
            metric=measure(model, answers),
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

    def _record(
        self, stage: str, before: str, reference: Arrays, found: Arrays, recipe: Recipe, *, exact: bool
    ) -> None:
        wanted, got = _joined(reference), _joined(found)
        first = self._model.outputs[0].name
        relative, sqnr = relative_error(wanted, got), sqnr_db(wanted, got)
        agreement = task(self._model.task).agreement(reference[first], found[first])
        if exact:
            held_to, passed = f"relative error ≤ {EXACT:g}", relative <= EXACT
        else:
            held_to = f"SQNR ≥ {recipe.sqnr_floor_db:g} dB, agreement ≥ {recipe.agreement_floor:.0%}"
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
                f"{self._model.name}: stage {stage!r} is wrong on real samples. Held to {held_to}; found SQNR "
                f"{sqnr:.1f} dB, relative error {relative:.2g}, agreement {agreement:.0%} against {before!r}. "
                f"Worst is golden sample {worst} ({self._truth(worst)}). "
                "Nothing was written; --allow-unverified keeps the bundle for study, stamped unverified"
            )

    def _truth(self, golden_row: int) -> str:
        """The true answer to a golden sample: its class by name, or the first of its numbers."""
        target = self._model.targets[self._reference.golden_indices[golden_row]]
        if target.ndim == 0 and target.dtype.kind in "iu":
            return f"class {self._model.labels[int(target)]!r}"
        numbers = [f"{value:.4g}" for value in target.ravel()[:4]]
        return f"truth {', '.join(numbers)}{', …' if target.size > len(numbers) else ''}"


def measure(model: DeployModel, answers: Arrays) -> TaskMetric:
    """The task's metric of answers (N, …) to the validation split."""
    metric = task(model.task).metric()
    metric.update(answers[model.outputs[0].name], model.targets)
    return metric


def manifest_metric(model: DeployModel, reference: FloatReference, answers: Arrays) -> Metric:
    """The artifact's metric beside the float model's, as the manifest keeps it."""
    found, first = measure(model, answers), model.outputs[0].name
    return Metric(
        name=type(found).name,
        value=found.value,
        low=found.low,
        high=found.high,
        samples=found.samples,
        float_value=reference.metric.value,
        agreement=task(model.task).agreement(reference.validation[first], answers[first]),
    )


def gate_message(model: DeployModel, metric: Metric, max_drop: float) -> str | None:
    """None when the metric is within the budget, else what was missed. `max_drop` is relative to the float model."""
    higher_is_better = task(model.task).metric().higher_is_better
    limit = metric.float_value * (1 - max_drop if higher_is_better else 1 + max_drop)
    if (metric.value >= limit) if higher_is_better else (metric.value <= limit):
        return None
    return (
        f"{metric_name(metric.name)} went from {value_text(metric.name, metric.float_value)} to "
        f"{value_text(metric.name, metric.value)} on {metric.samples:,} validation samples; the budget of "
        f"{max_drop:.1%} allows {value_text(metric.name, limit)} at the worst"
    )


def _joined(arrays: Arrays) -> np.ndarray:
    columns: Sequence[np.ndarray] = [rows.reshape(len(rows), -1) for rows in arrays.values()]
    return np.concatenate(columns, axis=1).astype(np.float64)
