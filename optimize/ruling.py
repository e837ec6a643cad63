"""From a loss with its bounds and a budget to a verdict, with a sentence that says why. Knows no model and no array."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgekit.edge_runtime.bundle.verdict import Basis, Helps, Status, Verdict
from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.edge_runtime.statistics.enough import NEVER, enough_units, rounded
from edgekit.edge_runtime.statistics.paired import ERROR, Loss
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE

# If a model that says the same to every sample lost no more than this, relative, the samples would prove nothing of
# any model. Where the budget is smaller it takes its place.
SAME_TO_ALL = 0.01


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be lost, and what the samples can show.

    `max_drop` is relative to the float model's value. `same_to_all` is the metric of a model that gives one answer to
    all samples (`tasks/variation.py` makes its answers); None where it is not known. `error` is how often a
    verified artifact may be beyond its budget: less than 0.05 where the best of several is taken.
    """

    max_drop: float = 0.01
    same_to_all: float | None = None
    error: float = ERROR

    def __post_init__(self) -> None:
        if not (self.max_drop >= 0 and 0 < self.error < 0.5):
            raise UsageError(
                f"--max-drop takes a number from 0, and an error lies between 0 and 0.5; found {self.max_drop} and "
                f"{self.error}. Give for example 0.01 and 0.05"
            )

    def of(self, float_value: float) -> float:
        """In the metric's unit."""
        return self.max_drop * abs(float_value)

    def proves_nothing(self, float_value: float, higher_is_better: bool) -> bool:
        """Whether a model that says the same to all samples would pass."""
        if self.same_to_all is None or not math.isfinite(self.same_to_all):
            return False
        lost = float_value - self.same_to_all if higher_is_better else self.same_to_all - float_value
        return lost <= min(self.max_drop, SAME_TO_ALL) * abs(float_value)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known before the loss is judged; `values` of the float model and of the artifact."""

    metric: str
    higher_is_better: bool
    is_share: bool
    values: tuple[float, float]
    samples: int
    basis: Basis
    groups: int = 0

    def text(self, amount: float) -> str:
        """A loss or a budget, for a person."""
        return f"{100 * amount:.2f} points" if self.is_share else f"{amount:.3g}"


def planned(loss: Loss, budget: Budget, measured: Measured, flips: int) -> Verdict:
    allowed = budget.of(measured.values[0])
    return ruled(loss, budget, measured, flips=flips, needed=lambda: enough_units(loss, allowed, error=budget.error))


def broken(measured: Measured, budget: Budget) -> Verdict:
    """Of an artifact whose answers are no numbers: as bad as can be said."""
    loss = Loss(value=NOT_FINITE, low=NOT_FINITE, high=NOT_FINITE, standard_error=0, changed=0, units=measured.samples)
    return ruled(loss, budget, replace(measured, basis="broken"))


def ruled(
    loss: Loss,
    budget: Budget,
    measured: Measured,
    *,
    flips: int = 0,
    lost: int = 0,
    won: int = 0,
    unlabelled: int = 0,
    needed: Callable[[], int] = lambda: 0,
    needed_unlabelled: Callable[[], int] = lambda: 0,
) -> Verdict:
    """Judges a loss; the plan is asked for where it does not decide."""
    before, after = measured.values
    allowed = budget.of(before)
    status: Status = "undecided"
    basis: Basis = measured.basis
    helps: Helps = ""
    plan = (0, 0)
    if loss.low > allowed:
        status = "refused"
    elif budget.proves_nothing(before, measured.higher_is_better):
        status, basis = "unverified", "nothing"
    elif loss.high <= allowed:
        status = "verified"
    else:
        plan = needed(), needed_unlabelled()
        helps = _helps(plan, measured.samples, unlabelled)
    verdict = Verdict(
        status=status,
        basis=basis,
        metric=measured.metric,
        higher_is_better=measured.higher_is_better,
        float_value=before,
        value=_finite(after),
        samples=measured.samples,
        groups=measured.groups,
        loss=loss.value,
        low=_finite(loss.low),
        high=_finite(loss.high),
        budget=allowed,
        flips=flips,
        lost=lost,
        won=won,
        unlabelled=unlabelled,
        needed=plan[0] if plan[0] < NEVER else 0,
        needed_unlabelled=plan[1],
        helps=helps,
        reason="",
    )
    return replace(verdict, reason=_reason(verdict, measured))


def _helps(plan: tuple[int, int], samples: int, unlabelled: int) -> Helps:
    """What is less trouble to get. Samples without truth come cheap, so twice as many of them count as no more."""
    labels, pictures = plan[0] - samples, plan[1] - unlabelled
    if plan[1] and pictures <= 2 * labels:
        return "pictures"
    return "labels" if plan[0] < NEVER else ""


def _reason(verdict: Verdict, measured: Measured) -> str:
    name, text = verdict.metric.replace("_", " "), measured.text
    seen = f"{verdict.samples:,} samples" + (f" in {verdict.groups:,} groups" if verdict.groups else "")
    seen += f" and {verdict.unlabelled:,} without truth" if verdict.unlabelled else ""
    if verdict.basis == "broken":
        return f"broken: an answer of the artifact is no number, so it has no {name}"
    if verdict.basis == "nothing":
        why = "a model that gives one answer to all of them would pass"
        return nothing_proven(verdict.samples, f"{why}, and the float model's answers are worth no more than that")
    budget = f"the budget of {text(verdict.budget)}"
    if verdict.basis == "value":
        beyond = "is beyond" if verdict.status == "refused" else "is within"
        said = f"{name} went from {verdict.float_value:.4g} to {verdict.value:.4g}, which {beyond} {budget}"
        more = "; one number has no bound, so give one score for each sample to have it verified"
        return said if verdict.status == "refused" else said + more
    bounds = f"{name} {'lost' if verdict.loss >= 0 else 'gained'} {text(abs(verdict.loss))}"
    if verdict.status == "refused":
        return f"{bounds}, at least {text(verdict.low)}, beyond {budget} ({seen})"
    most = (
        f"a loss of at most {text(verdict.high)}" if verdict.high >= 0 else f"a gain of at least {text(-verdict.high)}"
    )
    if verdict.high == NOT_FINITE:
        most = "too few changed to say at most how much"
    if verdict.status == "verified":
        return f"{bounds}, {most}, within {budget} ({seen})"
    return f"{bounds}, {most}: {seen} do not decide {budget}. {_plan_text(verdict)}"


def _plan_text(verdict: Verdict) -> str:
    labels, pictures = rounded(verdict.needed), rounded(verdict.needed_unlabelled)
    kind = "groups" if verdict.groups else "samples"
    if labels and pictures and verdict.helps == "pictures":
        ways = f"{pictures:,} samples without true answers, or about {labels:,} with them,"
    elif labels and pictures:
        ways = f"{labels:,} samples with true answers, or about {pictures:,} without them,"
    elif labels or pictures:
        ways = f"{labels:,} {kind} with true answers" if labels else f"{pictures:,} samples without true answers"
    else:
        return "More samples would not decide it"
    return f"About {ways} would, if {'answers change no more often' if verdict.flips else 'no answer changes'}"


def _finite(number: float) -> float:
    """JSON has no infinity."""
    return max(-NOT_FINITE, min(NOT_FINITE, number)) if not math.isnan(number) else NOT_FINITE


def check_finite(numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        raise InputError("the float model's own scores are not all finite. Run it in PyTorch and mend it first")


def nothing_proven(samples: int, why: str) -> str:
    return f"these {samples:,} samples prove nothing: {why}"
