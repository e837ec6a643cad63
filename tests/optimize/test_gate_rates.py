"""How often the gate accepts what loses too much, refuses what does not, and decides at all.

Of hits the rates are sums over all outcomes, so without the chance of a simulation. Where they are counted in simulated
data sets the limit of 0.05 is taken with three standard errors of that count.
"""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from edgekit.edge_runtime.statistics.paired import Loss, loss_high, loss_low, share_high, split_error
from edgekit.edge_runtime.statistics.resampled import sums_loss
from edgekit.edge_runtime.statistics.sum_metrics import F1, detection_rows, mean_of, mean_rows
from edgekit.optimize.gate import Budget, judge_hits

ERRORS = mean_of("mean_absolute_error", higher_is_better=False)

BUDGET = 0.01
EXACT = 0.0503  # the shares of won answers that are tried form a grid
LOSSES = (0.0, 0.5, 1.0, 2.0)  # of the budget
# Of n samples, in percent: how often equal models whose answers differ on 1 % of them are verified; such that lose half
# the budget; and how often twice the budget is refused.
DECIDED = {
    25: (0, 0, 0),
    100: (5, 3, 6),
    359: (49, 17, 28),
    1000: (88, 31, 60),
    2000: (99, 53, 85),
    10_000: (100, 99, 100),
}


@functools.cache
def limits(samples: int, budget: float = BUDGET) -> tuple[np.ndarray, np.ndarray]:
    """For each count of won answers, the most lost ones that are verified, and the fewest that are refused."""
    most = range(min(samples, int(samples * 0.005 + 6 * np.sqrt(samples * 0.005) + 4)) + 1)
    verified, refused = [], []
    accepted, beyond = -1, 0
    for won in most:
        while accepted + 1 + won <= samples and loss_high(accepted + 1, won, samples) <= budget:
            accepted += 1
        while beyond + won <= samples and loss_low(beyond, won, samples) <= budget:
            beyond += 1
        verified.append(accepted)
        refused.append(beyond)
    return np.array(verified), np.array(refused)


def rates(samples: int, loss: float, won_share: float, budget: float = BUDGET) -> tuple[float, float]:
    """How often an artifact with this loss is verified, and refused."""
    verified, refused = limits(samples, budget)
    won = np.arange(len(verified))
    chance = binom.pmf(won, samples, won_share)
    lost_share = (won_share + loss) / (1 - won_share)
    return (
        float(chance @ binom.cdf(verified, samples - won, lost_share)),
        float(chance @ binom.sf(refused - 1, samples - won, lost_share)),
    )


@pytest.mark.parametrize(("samples", "budget"), [*((n, BUDGET) for n in DECIDED), (25, 0.15), (50, 0.07), (100, 0.04)])
@pytest.mark.parametrize("won_share", [0.0, 0.001, 0.005])
def test_of_hits_at_most_one_verdict_of_twenty_is_false(samples, budget, won_share):
    found = [rates(samples, share * budget, won_share, budget) for share in LOSSES]
    verified, refused = zip(*found, strict=True)
    assert max(verified[2:]) <= EXACT  # at the budget and beyond
    assert max(refused[:3]) <= EXACT  # at the budget and below
    assert list(verified) == sorted(verified, reverse=True)
    assert list(refused) == sorted(refused)


@pytest.mark.parametrize("samples", DECIDED)
def test_so_often_hits_decide(samples):
    found = rates(samples, 0, 0.005)[0], rates(samples, BUDGET / 2, 0.005)[0], rates(samples, 2 * BUDGET, 0.005)[1]
    assert [100 * rate for rate in found] == pytest.approx(DECIDED[samples], abs=1)


def test_without_a_flip_to_lose_or_win_some_three_hundred_samples_decide_at_once():
    assert rates(359, 0.0, 0.0)[0] == rates(1000, 0.0, 0.0)[0] == 1.0
    assert rates(298, 0.0, 0.0)[0] == 0.0


def test_the_gate_itself_decides_as_its_limits_say():
    verified, refused = limits(1000)
    for won, lost in enumerate(verified[:8]):
        for more, status in (
            (lost, "verified"),
            (lost + 1, "undecided"),
            (refused[won] - 1, "undecided"),
            (refused[won], "refused"),
        ):
            before = np.arange(1000) >= won
            after = np.arange(1000) < 1000 - more
            assert judge_hits(before, after, Budget(max_drop=BUDGET / before.mean())).status == status


@pytest.mark.parametrize(("labelled", "unlabelled"), [(100, 300), (359, 359), (359, 5000), (1000, 100)])
@pytest.mark.parametrize(("won", "other"), [(0.0, 0.0), (0.002, 0.0), (0.004, 0.004)])
def test_flips_of_samples_without_truth_do_not_make_false_verdicts(labelled, unlabelled, won, other):
    draw, runs = np.random.default_rng(labelled + unlabelled), 20_000
    by_truth, by_flips = split_error(labelled, unlabelled)
    of_truth = functools.cache(lambda lost, won: loss_high(lost, won, labelled, error=by_truth) <= BUDGET)
    of_flips = functools.cache(lambda flips: share_high(flips, labelled + unlabelled, error=by_flips) <= BUDGET)

    def verified(loss: float) -> float:
        shares = won + loss, won, other, 1 - 2 * won - loss - other
        seen = draw.multinomial(labelled, shares, runs)
        flips = seen[:, :3].sum(axis=1) + draw.binomial(unlabelled, sum(shares[:3]), runs)
        outcomes, counts = np.unique(np.column_stack([seen[:, :2], flips]), axis=0, return_counts=True)
        passed = [of_truth(a, b) or of_flips(c) for a, b, c in outcomes.tolist()]
        return float(counts @ np.array(passed) / runs)

    assert verified(BUDGET) <= 0.05 + 0.004  # three standard errors of 20,000
    if unlabelled >= 5000 and not won:
        assert verified(BUDGET / 2) > 0.95  # 0.17 without them


def shares_of(losses: Callable[[], tuple[Loss, float]], runs: int) -> tuple[float, float]:
    """How often losses are verified within their budgets, and refused."""
    found = [losses() for _ in range(runs)]
    verified = sum(loss.high <= budget for loss, budget in found)
    return verified / runs, sum(loss.low > budget for loss, budget in found) / runs


def check(of_loss: Callable[[float], tuple[Loss, float]], runs: int, decided: float) -> None:
    """At most one false verdict of twenty; without a loss the share `decided` is verified."""
    tolerance = 3 * np.sqrt(0.05 * 0.95 / runs)
    none, at, twice = (shares_of(lambda x=x: of_loss(x), runs) for x in (0.0, 1.0, 2.0))
    assert max(at[0], twice[0]) <= 0.05 + tolerance
    assert max(none[1], at[1]) <= 0.05 + tolerance
    assert none[0] == pytest.approx(decided, abs=0.1)


@pytest.mark.parametrize(("samples", "runs", "decided"), [(25, 500, 0.16), (100, 400, 0.48), (1000, 100, 1.0)])
def test_of_errors_at_most_one_verdict_of_twenty_is_false(samples, runs, decided):
    draw = np.random.default_rng(samples)
    moved = draw.laplace(size=1_000_000)
    shift = float(np.mean(np.abs(moved + draw.normal(0, 0.1, len(moved))) - np.abs(moved)))

    def of_loss(budgets: float) -> tuple[Loss, float]:
        true = draw.laplace(size=samples)  # a mean absolute error of 1; 2 % of it may be lost
        after = np.abs(true + draw.normal(0, 0.1, samples)) - shift + budgets * 0.02
        loss = sums_loss(mean_rows(np.abs(true)), mean_rows(after), ERRORS, draws=400)
        return loss, 0.02 * float(np.abs(true).mean())

    check(of_loss, runs, decided)


@pytest.mark.parametrize(("samples", "runs", "decided"), [(100, 250, 0.0), (1000, 200, 0.5), (10_000, 40, 1.0)])
def test_of_f1_at_most_one_verdict_of_twenty_is_false(samples, runs, decided):
    draw = np.random.default_rng(samples)
    # Of 20 % positives 85 % are found, of the negatives 4 % are called, and an artifact changes 1 % of these counts
    # each way. Where it misses the share m of found positives besides, F1 is 1.7 (1 - m) / (2.01 - 0.85 m).
    f1 = 1.7 / 2.01

    def of_loss(budgets: float) -> tuple[Loss, float]:
        left = f1 * (1 - 0.02 * budgets)
        missed = (1.7 - 2.01 * left) / (1.7 - 0.85 * left)
        truth = draw.random(samples) < 0.2
        called = draw.random(samples) < np.where(truth, 0.85, 0.04)
        flips = np.where(called, np.where(truth, 0.01 + missed, 0.1), np.where(truth, 0.0085 / 0.15, 0.004 / 0.96))
        now = called ^ (draw.random(samples) < flips)
        rows = detection_rows(called, truth)
        return sums_loss(rows, detection_rows(now, truth), F1, draws=400), 0.02 * float(F1.value(rows.sum(axis=0)))

    check(of_loss, runs, decided)
