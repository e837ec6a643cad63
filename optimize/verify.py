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
from edgekit.edge_runtime.bundle.verdict import Verdict
from edgekit.edge_runtime.errors import VerificationError
from edgekit.edge_runtime.format import limit_text, percent_text
from edgekit.edge_runtime.statistics.paired import ERROR
from edgekit.edge_runtime.tasks.average_precision import AveragePrecision50, MeanAveragePrecision
from edgekit.edge_runtime.tasks.holds import kind
from edgekit.edge_runtime.tasks.metrics import TaskMetric, max_abs, relative_error
from edgekit.edge_runtime.tasks.registry import task
from edgekit.edge_runtime.tasks.variation import ROUNDING, varying_sqnr_db

from .deploy import DeployModel, Predict, run_module
from .exporters import Stage
from .judge import Compared, judge
from .recipes import RECIPES, Recipe
from .user_model.evaluation import check_finite, evaluated

# What capturing or rewriting a graph may change: the order of float additions, nothing more (relative to the range).
EXACT = 1e-5
# A net of random weights gives answers that hardly vary, and float32 is no finer than this. Of answers that do vary
# (`variation.varies`) nothing can be lost so: a constant in their place would be off by more.
_FINEST = ROUNDING / 2
# Of a quantized artifact whose metric is measured: below this the error is larger than all that varies in an answer.
BROKEN_DB = 0.0
OnStage = Callable[[StageResult], None]


@dataclass(frozen=True, kw_only=True)
class FloatReference:
    """The float model's answers in eager PyTorch: on the whole validation split, and on the golden rows of it.

    `golden_targets` are (rows, 0) where the truth is not known. `metric` relates the float model to itself; None where
    the true answers are not known and nothing evaluates it. `scores` are those of a user's `evaluate`, `unlabelled` the
    answers to samples without truth.
    """

    validation: Arrays
    metric: Metric | None
    scores: np.ndarray | None
    unlabelled: Arrays
    golden_indices: np.ndarray
    golden_inputs: Arrays
    golden_outputs: Arrays
    golden_targets: np.ndarray

    @classmethod
    def of(cls, model: DeployModel) -> FloatReference:
        """Runs the eager module over the validation split once; every bundle of the model is held to this.

        Raises:
            InputError: an answer is NaN or infinite.
        """
        answers = run_module(model, model.module, model.validation)
        check_finite(answers)
        indices = model.golden_indices(answers[model.outputs[0].name])  # of which a detector's are not looked at
        golden = None if model.golden is None else run_module(model, model.module, model.golden.inputs)
        metric, scores = measure(model, answers, lambda arrays: run_module(model, model.module, arrays))
        return cls(
            validation=answers,
            metric=metric,
            scores=scores,
            unlabelled=run_module(model, model.module, model.unlabelled) if model.unlabelled else {},
            golden_indices=indices,
            golden_inputs={name: rows[indices] for name, rows in model.validation.items()}
            if model.golden is None
            else model.golden.inputs,
            golden_outputs={name: rows[indices] for name, rows in answers.items()} if golden is None else golden,
            golden_targets=model.golden_targets(indices),
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
        """Compares every output on its own, then raises for the first that is wrong."""
        results = [
            self._compare(place, stage, before, reference[spec.name], found[spec.name], recipe, exact=exact)
            for place, spec in enumerate(self._model.outputs)
        ]
        for result in results:
            self.results.append(result)
            self._on_stage(result)
        missed = next((result for result in results if not result.passed), None)
        if missed is not None and not self._keep_going:
            wanted, got = (arrays[missed.output].astype(np.float64) for arrays in (reference, found))
            worst = int(np.nan_to_num(np.abs(wanted - got), nan=np.inf).reshape(len(wanted), -1).max(axis=1).argmax())
            raise VerificationError(
                f"{self._model.name}: stage {stage!r} is wrong on real samples, in the output {missed.output!r}. "
                f"Required: {missed.held_to}; found SQNR {missed.sqnr_db:.1f} dB, relative error "
                f"{missed.relative:.2g}, agreement {percent_text(missed.agreement)} against {before!r}. "
                f"Worst is golden sample {worst} ({self._truth(worst)}). {self._rewrites(stage)}{_next(recipe)}"
                "Nothing was written; --allow-unverified keeps the bundle for study, stamped unverified"
            )

    def _compare(
        self, place: int, stage: str, before: str, wanted: np.ndarray, got: np.ndarray, recipe: Recipe, *, exact: bool
    ) -> StageResult:
        spec = self._model.outputs[place]
        relative, sqnr = relative_error(wanted, got), varying_sqnr_db(wanted, got)
        agreement = kind(self._model.output_holds(place)).agreement(wanted, got)
        if exact:
            held_to, passed = f"relative error ≤ {EXACT:g}", relative <= EXACT
        elif recipe.lossy and self._model.is_answer(place) and self._reference.metric is not None:
            # The verdict on the model's own metric decides; here only what is broken is stopped.
            held_to, passed = f"SQNR ≥ {BROKEN_DB:g} dB; the metric decides", sqnr >= BROKEN_DB
        else:
            held_to = f"SQNR ≥ {recipe.sqnr_floor_db:g} dB, agreement ≥ {limit_text(recipe.agreement_floor)}"
            passed = sqnr >= recipe.sqnr_floor_db and agreement >= recipe.agreement_floor
        if not passed and not recipe.lossy and max_abs(wanted, got) < _FINEST * float(np.abs(wanted).max()):
            held_to, passed = f"{held_to}, or a difference below {_FINEST:g} of the largest value", True
        return StageResult(
            stage=stage,
            compared_with=before,
            max_abs=max_abs(wanted, got),
            relative=relative,
            sqnr_db=round(sqnr, 2),
            agreement=agreement,
            held_to=held_to,
            passed=passed,
            output=spec.name,
        )

    def _rewrites(self, stage: str) -> str:
        """What the stage rewrote, where it did."""
        return f"It rewrote {self.notes['rewrites']}. " if stage == "rewrite" and "rewrites" in self.notes else ""

    def _truth(self, golden_row: int) -> str:
        """The true answer to a golden sample: its class by name, or the first of its numbers."""
        target = self._reference.golden_targets[golden_row]
        if not target.size:
            return "its truth is not known"
        if target.ndim == 0 and target.dtype.kind in "iu":
            return f"class {self._model.labels[int(target)]!r}"
        numbers = [f"{value:.4g}" for value in target.ravel()[:4]]
        return f"truth {', '.join(numbers)}{', …' if target.size > len(numbers) else ''}"


def _next(recipe: Recipe) -> str:
    """What to try where an output is lost to rounding."""
    return "Try --recipe w8a8_tuned, or mixed, which leaves layers in float. " if recipe.quantized else ""


def measure(
    model: DeployModel, answers: Arrays, predict: Predict, reference: FloatReference | None = None
) -> tuple[Metric | None, np.ndarray | None]:
    """The metric of answers (N, …) to the validation split as the manifest keeps it, and the scores of an `evaluate`.

    Where the model comes with an `evaluate` of its own, that is asked, with `predict`. None where neither it nor the
    true answers are there. Without `reference` the answers are the float model's own.
    """
    scores = None
    before = None if reference is None else reference.metric
    if model.evaluate is not None:
        evaluation = evaluated(model.evaluate, predict)
        found, scores = evaluation.metric, evaluation.scores
    elif model.targets is not None:
        found = _counted(model, model.metric(), answers, model.targets)
    else:
        return None, None
    if reference is None or before is None:
        return found, scores
    agreement = task(model.task).agreement(*map(model.answers, (reference.validation, answers)))
    return replace(found, float_value=before.value, agreement=agreement), scores


def _counted(model: DeployModel, metric: TaskMetric, answers: Arrays, targets: np.ndarray) -> Metric:
    metric.update(model.answers(answers), targets)
    return Metric(
        name=type(metric).name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        samples=metric.samples,
        float_value=metric.value,
        agreement=1.0,
    )


def also_shown(
    model: DeployModel, metric: Metric | None, answers: Arrays, reference: FloatReference
) -> tuple[Metric, ...]:
    """What is told beside a measured `metric`: of a detector its average precision at an overlap of 0.50 too."""
    if metric is None or model.targets is None or metric.name != MeanAveragePrecision.name:
        return ()
    before, after = (
        _counted(model, AveragePrecision50(), outputs, model.targets) for outputs in (reference.validation, answers)
    )
    return (replace(after, float_value=before.value, agreement=metric.agreement),)


def verdict_on(
    model: DeployModel,
    recipe: Recipe,
    reference: FloatReference,
    answers: Arrays,
    scores: np.ndarray | None,
    unlabelled: Arrays,
    *,
    max_drop: float,
    error: float = ERROR,
) -> Verdict:
    """Whether an artifact of `recipe` keeps what the float model can do.

    Args:
        answers: its answers to the validation split; to the golden samples alone where no truth is known.
        scores: what the user's `evaluate` gave it.
        unlabelled: its answers to `model.unlabelled`.
        max_drop: how much of the float model's value may be lost, relative.
    """
    judged = reference.validation if reference.metric is not None else reference.golden_outputs
    compared = Compared(
        float_outputs=judged,
        outputs=answers,
        answers=(model.answers(judged), model.answers(answers)),
        targets=None if model.evaluate is not None else model.targets,
        groups=model.groups,
        unlabelled=(model.answers(reference.unlabelled), model.answers(unlabelled)) if unlabelled else None,
        scores=None if reference.scores is None or scores is None else (reference.scores, scores),
    )
    return judge(
        compared,
        task_name=model.task,
        metric=reference.metric.name if model.evaluate is not None and reference.metric else model.gated,
        max_drop=max_drop,
        agreement_floor=recipe.agreement_floor,
        float_recipe=not recipe.quantized,
        error=error,
    )


def joined(arrays: Arrays) -> np.ndarray:
    """All outputs of each sample side by side, (N, …) float64."""
    columns: Sequence[np.ndarray] = [rows.reshape(len(rows), -1) for rows in arrays.values()]
    return np.concatenate(columns, axis=1).astype(np.float64)
