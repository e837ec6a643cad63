"""Exact bounds of a loss in hits against Clopper and Pearson's, and how often they miss the truth, counted exactly."""

import functools
import time

import numpy as np
import pytest
from scipy.stats import beta, multinomial

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.statistics.enough import NEVER, enough_hits, enough_units, enough_unlabelled, rounded
from edgekit.edge_runtime.statistics.paired import (
    Loss,
    hits_loss,
    loss_high,
    loss_low,
    share_high,
    share_low,
    split_error,
)


@pytest.mark.parametrize(("lost", "percent"), [(0, 0.83), (1, 1.31), (2, 1.74)])
def test_with_nothing_won_the_bound_is_that_of_the_lost_ones_alone(lost, percent):
    assert loss_high(lost, 0, 359) == pytest.approx(percent / 100, abs=5e-5)
    assert loss_low(0, lost, 359) == -loss_high(lost, 0, 359)


@pytest.mark.parametrize("samples", [1, 2, 5, 25, 359, 10_000, 1_000_000])
@pytest.mark.parametrize("lost", [0, 1, 3, 20, 140])
@pytest.mark.parametrize("error", [0.05, 0.025])
def test_it_is_clopper_and_pearsons_bound_for_any_number_of_samples(samples, lost, error):
    if lost >= samples:
        assert loss_high(samples, 0, samples, error=error) == 1.0
        return
    exact = beta.ppf(1 - error, lost + 1, samples - lost)
    assert loss_high(lost, 0, samples, error=error) == pytest.approx(exact, rel=2e-4)
    assert share_high(lost, samples, error=error) == pytest.approx(exact, rel=1e-6)
    assert share_low(samples - lost, samples, error=error) == pytest.approx(1 - exact, abs=1e-7)


high_of = functools.cache(lambda lost, won, samples, error: loss_high(lost, won, samples, error=error))


def missed(samples: int, lost: float, won: float, *, error: float = 0.05) -> float:
    """How often the bound lies below the true loss, summed over all outcomes."""
    outcomes = [(a, b) for a in range(samples + 1) for b in range(samples + 1 - a)]
    chances = multinomial.pmf([(a, b, samples - a - b) for a, b in outcomes], samples, (lost, won, 1 - lost - won))
    return sum(
        chance for (a, b), chance in zip(outcomes, chances, strict=True) if high_of(a, b, samples, error) < lost - won
    )


@pytest.mark.parametrize(("lost", "won"), [(0.11, 0.0), (0.11, 0.05), (0.02, 0.02), (0.2, 0.15), (0.3, 0.45)])
@pytest.mark.parametrize("samples", [3, 15])
def test_the_bound_misses_the_truth_in_at_most_one_case_of_twenty(samples, lost, won):
    assert missed(samples, lost, won) <= 0.0503
    assert missed(samples, lost, won, error=0.025) <= 0.0253


def test_right_above_a_bound_the_outcome_or_a_better_one_is_a_case_in_twenty():
    bound = loss_high(1, 2, 12)
    chances = np.linspace(0, (1 - bound) / 2 - 1e-6, 31)  # of a won answer; the worst of them counts
    assert max(missed(12, won + bound + 1e-6, won) for won in chances) == pytest.approx(0.05, abs=0.001)
    assert max(missed(12, won + bound - 1e-3, won) for won in chances) < 0.05


def test_gains_make_up_for_losses_but_are_not_trusted_at_once():
    bounds = [loss_high(3, won, 359) for won in (0, 1, 3, 6)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] == pytest.approx(0.02146, abs=1e-4)
    assert 0.0125 < bounds[2] < 0.0135  # two exact bounds put together (Fay and Lumbard) give 0.0151


def test_where_one_form_takes_over_from_the_other_the_bound_barely_moves():
    before, after = loss_high(75, 75, 10_000), loss_high(76, 75, 10_000)
    assert 0 < after - before < 0.0002
    assert loss_high(300, 300, 10_000) == pytest.approx(1.645 * np.sqrt(600) / 10_000, rel=0.04)


def test_it_is_fast_with_hundreds_of_flips():
    start = time.perf_counter()
    for lost in range(20):
        loss_high(60 + lost, 60, 10_000)
        loss_high(300 + lost, 300, 10_000)
    assert (time.perf_counter() - start) / 40 < 0.1  # 5 ms on one idle core


def test_no_samples_say_nothing_and_all_flips_say_all():
    assert (hits_loss(0, 0, 0).low, hits_loss(0, 0, 0).high) == (-1.0, 1.0)
    assert loss_high(25, 0, 25) == 1.0
    assert loss_low(25, 0, 25) == pytest.approx(0.7741, abs=1e-4)
    assert loss_high(0, 1, 1) == pytest.approx(0.9, abs=1e-4)
    assert (share_high(0, 0), share_low(0, 0)) == (1.0, 0.0)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 6, 5)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(InputError, match="impossible"):
        loss_high(*counts)
    with pytest.raises(InputError, match="6 of 5 samples"):
        share_high(6, 5)


def test_a_few_samples_without_truth_cost_the_others_next_to_nothing():
    assert split_error(359, 0) == (0.05, 0.0)
    assert split_error(359, 3) == pytest.approx((0.0498, 0.0002), abs=1e-4)
    assert split_error(359, 359) == split_error(359, 5000) == (0.025, 0.025)
    assert split_error(0, 10) == (0.0, 0.05)
    assert loss_high(0, 0, 359, error=split_error(359, 3)[0]) == pytest.approx(0.0083, abs=5e-5)


@pytest.mark.parametrize(("lost", "won", "budget"), [(0, 0, 0.004), (3, 3, 0.01), (1, 0, 0.008), (9, 1, 0.012)])
def test_the_number_that_would_decide_does_so_and_a_fifth_less_does_not(lost, won, budget):
    def decided(samples: int) -> bool:
        counts = round(lost * samples / 359), round(won * samples / 359)
        return loss_high(*counts, samples) <= budget or loss_low(*counts, samples) >= budget

    needed = enough_hits(lost, won, 359, budget)
    assert decided(round(needed * 1.1))
    assert not decided(round(needed * 0.8))


def test_close_to_the_budget_the_plan_takes_half_a_budget_of_distance():
    needed = enough_hits(10, 0, 1000, 0.01)  # a loss of the whole budget would never be decided
    assert needed == pytest.approx(1600, rel=0.1)
    assert loss_high(round(0.0075 * needed), round(0.0025 * needed), needed) == pytest.approx(0.01, rel=0.05)
    assert enough_hits(0, 0, 100, 0.0) == NEVER


def test_samples_without_truth_help_where_fewer_answers_flip_than_may_be_lost():
    needed = enough_unlabelled(1, 359, 359, 0.01)
    assert share_high(round((359 + needed) / 359), 359 + needed, error=0.025) <= 0.0101
    assert enough_unlabelled(4, 359, 359, 0.01) == 0


def test_of_a_standard_error_four_times_the_samples_halve_it():
    loss = Loss(value=0.0, low=-4.0, high=4.0, standard_error=4 / 1.6449, changed=50, units=50)
    assert enough_units(loss, 2.0) == pytest.approx(200, abs=3)
    few = Loss(value=0.0, low=-np.inf, high=np.inf, standard_error=0.1, changed=4, units=50)
    assert enough_units(few, 2.0) == 125
    assert (rounded(1398), rounded(99), rounded(120)) == (1400, 99, 120)
