"""Statistics against values known by hand, and intervals against how often they hold the truth."""

import numpy as np
import pytest

from edgekit.edge_runtime.benchmark.stats import (
    Ratio,
    median_ratio,
    medians_by_input_ms,
    medians_ms,
    paired_ratio,
    percentile_ms,
    ratio_of_ratios,
    slow_inputs,
    spread,
    unpaired_ratio,
)


def rounds(draw: np.random.Generator, factor: float, *, count: int, drift: np.ndarray | float = 0.0) -> np.ndarray:
    """Medians of rounds around `factor`, 3 % of noise of their own on top of what the machine did."""
    return factor * np.exp(drift + draw.normal(0, 0.03, count))


def test_percentiles_by_hand():
    samples = np.arange(1, 102) * 1_000_000  # 1 to 101 ms
    assert [percentile_ms(samples, q) for q in (0, 50, 90, 99, 100)] == [1, 51, 91, 100, 101]
    assert medians_ms([np.array([1_000_000, 3_000_000]), np.array([5_000_000])]) == (2.0, 5.0)


def test_the_same_rounds_are_one_exactly():
    assert paired_ratio([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == Ratio(value=1.0, low=1.0, high=1.0)
    assert not paired_ratio([1.0, 2.0], [1.0, 2.0]).beyond_noise


def test_twice_as_fast_in_every_round_is_two_however_the_machine_drifts():
    slow = np.array([10.0, 20.0, 15.0, 40.0, 11.0])
    found = paired_ratio(slow, slow / 2)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    assert (found.inverse.value, found.inverse.beyond_noise) == (pytest.approx(0.5), True)


def test_a_ratio_of_medians_by_hand():
    slow, fast = ([np.array([s]) for s in times] for times in ((2.0, 4.0, 3.0), (1.0, 1.0, 1.0)))
    assert median_ratio(slow, fast) == (3.0, 2.0, 4.0)


def test_one_disturbed_round_of_each_end_moves_nothing():
    calm, disturbed = np.ones(15), np.r_[np.ones(12), 50.0, 0.02, 30.0]
    assert paired_ratio(disturbed, calm).value == pytest.approx(1.0)


@pytest.mark.parametrize("count", [7, 15])
@pytest.mark.parametrize("drifts", [0.0, 0.15])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(count, drifts):
    draw = np.random.default_rng(count)
    found = []
    for i in range(300):
        drift = draw.normal(0, drifts, count)
        pair = (rounds(draw, f, count=count, drift=drift) for f in (1.5, 1.0))
        found.append(paired_ratio(*pair, seed=i))
    held = np.mean([ratio.low <= 1.5 <= ratio.high for ratio in found])
    assert 0.91 <= held <= 0.995
    assert np.median([ratio.high - ratio.low for ratio in found]) < 0.16  # the drift is shared and falls out


def test_between_two_runs_the_interval_holds_the_truth_as_well():
    draw, held = np.random.default_rng(0), []
    for i in range(200):
        drifts = draw.normal(0, 0.3, 2)  # of the machine, from one run to the other
        runs = [
            tuple(rounds(draw, f, count=15, drift=drift) for f in pair)
            for drift, pair in zip(drifts, ((4.0, 2.0), (4.0, 2.5)), strict=True)
        ]
        ratio = ratio_of_ratios(*runs, seed=i)
        held.append(ratio.low <= 0.8 <= ratio.high)  # 4/2.5 over 4/2
    assert 0.91 <= np.mean(held) <= 0.995


def test_without_a_baseline_rounds_are_compared_as_they_are():
    found = unpaired_ratio([3.0, 3.1, 2.9], [1.5, 1.5, 1.5, 1.5])
    assert found.value == pytest.approx(2.0, rel=0.02)
    assert found.beyond_noise


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])])
def test_what_is_no_ratio_is_refused(first, second):
    with pytest.raises(ValueError, match="a ratio needs"):
        paired_ratio(first, second)


def test_spread_is_the_middle_half_over_the_median():
    assert spread([np.array([ms]) for ms in (8, 9, 10, 11, 12)]) == pytest.approx(0.2)


def visits(draw, inputs_ms, *, count, noise=0.05):
    """Nanoseconds of `count` runs in which the inputs take turns, with noise and now and then a run twice as long."""
    exact = np.resize(np.array(inputs_ms, float), count)
    return (1e6 * exact * np.exp(draw.normal(0, noise, count)) * draw.choice([1, 2], count, p=[0.97, 0.03])).astype(int)


def test_each_input_has_a_median_of_its_own():
    samples = np.array([1, 5, 1, 7, 3, 9, 2]) * 1_000_000  # inputs 0 and 1 in turn
    assert medians_by_input_ms(samples, 2) == (1.5, 7.0)
    assert medians_by_input_ms(samples[:3], 5) == (1.0, 5.0, 1.0)  # the others were never run
    assert medians_by_input_ms(samples, 1) == medians_by_input_ms(samples, 0) == ()


def test_slow_inputs_are_found_and_measured_where_they_were_not_picked():
    draw = np.random.default_rng(0)
    assert slow_inputs(visits(draw, [1, 1, 1, 50], count=300), 4) == pytest.approx(50, rel=0.1)
    assert slow_inputs(visits(draw, [1] * 29 + [1.5] * 3, count=400), 32) == pytest.approx(1.5, rel=0.1)


def test_noise_alone_makes_no_input_slow():
    found = [
        slow_inputs(visits(np.random.default_rng(i), [1] * 32, count=32 * n), 32) for i in range(50) for n in (2, 9)
    ]
    assert np.mean(found) == pytest.approx(1, abs=0.02)
    assert max(found) < 1.25


def test_inputs_that_were_run_too_seldom_are_not_told_apart():
    samples = np.array([1, 9] * 6) * 1_000_000
    assert slow_inputs(samples, 2) == pytest.approx(9 / 5)
    assert [slow_inputs(samples[:11], 2), slow_inputs(samples, 1), slow_inputs(samples, 0)] == [None] * 3
    many = np.tile(np.where(np.arange(30) < 4, 9, 1) * 1_000_000, 2)
    assert slow_inputs(many, 30) == 9
    assert slow_inputs(many[:-1], 30) is None
