"""Metrics: known values by hand or from the literature, and what NaN, zeros and odd shapes give."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.tasks.metrics import (
    NOT_FINITE,
    Accuracy,
    TaskMetric,
    max_abs,
    relative_error,
    right_and_counted,
    sqnr_db,
    top_agreement,
    wilson_interval,
)

FLOATS = hnp.arrays(np.float64, (4, 3), elements=st.floats(allow_nan=False, allow_infinity=False))


# R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998), table I, method 3.
@pytest.mark.parametrize(
    ("successes", "samples", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published_intervals(successes, samples, low, high):
    assert wilson_interval(successes, samples) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_ends():
    assert (wilson_interval(20, 20)[1], wilson_interval(0, 20)[0], wilson_interval(0, 0)) == (1.0, 0.0, (0.0, 1.0))


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion(counts):
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


@pytest.mark.parametrize(("successes", "samples"), [(-1, 3), (4, 3), (0, -1)])
def test_wilson_refuses_impossible_counts(successes, samples):
    with pytest.raises(ValueError, match=f"{successes} successes of {samples}"):
        wilson_interval(successes, samples)


def test_wilson_covers_the_truth_about_as_often_as_it_says():
    found = [wilson_interval(int(k), 200) for k in np.random.default_rng(0).binomial(200, 0.9, size=4000)]
    assert np.mean([low <= 0.9 <= high for low, high in found]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("found", "decibels"),
    [
        ([3.0, 4.0], 200.0),
        ([3.0, 4.5], 20.0),
        ([3.0, 4.0 + 1e-12], 200.0),
        ([0.0, 0.0], 0.0),
        ([3e20, 4e20], -200.0),
        ([3.0, math.nan], -200.0),
        ([3.0, math.inf], -200.0),
    ],
)
def test_sqnr_known_values(found, decibels):
    assert sqnr_db([3.0, 4.0], found) == pytest.approx(decibels, abs=1e-9)


def test_sqnr_of_zeros():
    assert (sqnr_db([0, 0], [0, 0]), sqnr_db([0, 0], [0, 1]), sqnr_db([math.inf], [math.inf])) == (200, -200, -200)


def test_sqnr_of_8_bit_rounding_is_about_6_db_a_bit():
    signal = np.random.default_rng(0).uniform(-1, 1, 100_000)
    assert sqnr_db(signal, np.round(signal * 128) / 128) == pytest.approx(6.02 * 8, abs=0.1)


@given(FLOATS, FLOATS)
def test_distances_are_finite_and_zero_only_for_equals(reference, found):
    values = sqnr_db(reference, found), max_abs(reference, found), relative_error(reference, found)
    assert np.isfinite(values).all()
    assert -200 <= values[0] <= 200
    assert (values[1] == 0) == np.array_equal(reference, found)


def test_max_abs_and_relative_error():
    reference, found = np.array([[-1.0, 3.0]]), np.array([[-1.5, 3.0]], dtype=np.float32)
    assert (max_abs(reference, found), relative_error(reference, found)) == (0.5, 0.125)
    assert max_abs(np.uint8([1]), np.uint8([2])) == 1.0  # not 255, as unsigned subtraction would have it


@pytest.mark.parametrize(
    ("reference", "found", "relative"),
    [([2, 2], [2, 3], 0.5), ([0, 0], [0, 0], 0.0), ([0, 0], [0, 1], NOT_FINITE), ([1, 2], [1, math.nan], NOT_FINITE)],
)
def test_relative_error_without_a_range(reference, found, relative):
    assert relative_error(reference, found) == relative


def test_top_agreement_counts_rows_and_never_a_nan():
    reference = [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [math.nan, 1.0]]
    found = [[0.4, 0.6], [0.4, 0.6], [math.nan, 0.7], [math.nan, 1.0]]
    assert top_agreement(reference, found) == 0.25


@pytest.mark.parametrize("measure", [sqnr_db, max_abs, relative_error, top_agreement])
@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((0, 3), (0, 3)), ((2, 3), (2, 1))])
def test_what_cannot_be_compared_is_refused(measure, shapes):
    with pytest.raises(InputError, match="the same shape and are not empty; found"):
        measure(*(np.zeros(shape) for shape in shapes))


def test_agreement_of_other_than_rows_of_scores_is_refused():
    with pytest.raises(InputError, match=r"\(N, C\)"):
        top_agreement([1.0], [1.0])


def test_accuracy_over_two_batches():
    metric: TaskMetric = Accuracy()
    metric.update([[0.1, 0.9], [0.9, 0.1]], [1, 1])
    metric.update(np.float32([[5, -5]]), np.int64([0]))
    assert (metric.value, metric.samples) == (2 / 3, 3)
    assert (metric.low, metric.high) == wilson_interval(2, 3)


def test_accuracy_counts_nan_as_wrong_and_ties_for_the_first():
    metric = Accuracy()
    metric.update([[math.nan, 0.0], [0.5, 0.5], [0.5, 0.5]], [0, 0, 1])
    assert (metric.correct, metric.samples) == (1, 3)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        ([0.1, 0.9], [1]),
        ([[0.1, 0.9]], [1, 0]),
        ([[0.1, 0.9]], [[1]]),
        (np.zeros((1, 0)), [0]),
        ([[0.1, 0.9]], [2]),
        ([[0.1, 0.9]], [-1]),
        ([[0.1, 0.9]], [1.0]),
    ],
)
def test_accuracy_refuses_what_does_not_fit(outputs, targets):
    metric = Accuracy()
    with pytest.raises(InputError, match="found"):
        metric.update(outputs, targets)
    assert metric.samples == 0


def test_accuracy_of_nothing():
    metric = Accuracy()
    metric.update(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    assert (metric.samples, metric.low, metric.high) == (0, 0.0, 1.0)
    with pytest.raises(InputError, match="0 samples"):
        _ = metric.value


def test_accuracy_of_tokens_counts_those_that_count_and_its_interval_goes_by_sample():
    scores = np.zeros((3, 2, 4))  # (N, C, T)
    scores[:, 1] = [[1, 1, -1, -1], [1, 1, 1, 1], [-1, -1, -1, -1]]
    truth = np.array([[1, 1, 0, 1], [1, 1, -100, -100], [1, 0, 0, -100]])
    metric = Accuracy()
    metric.update(scores[:2], truth[:2])
    metric.update(scores[2:], truth[2:])
    assert (metric.correct, metric.samples, metric.value) == (7, 3, 7 / 9)
    assert right_and_counted(scores, truth).tolist() == [[3, 4], [2, 2], [2, 3]]
    residuals = np.array([3, 2, 2]) - 7 / 9 * np.array([4, 2, 3])
    spread = 1.959964 * np.sqrt(3 / 2 * (residuals**2).sum()) / 9
    assert (metric.low, metric.high) == pytest.approx((7 / 9 - spread, min(1, 7 / 9 + spread)), abs=1e-6)


def test_accuracy_of_pixels_refuses_other_shapes_and_classes():
    with pytest.raises(InputError, match=r"\(N, C, …\) and \(N, …\); found \(2, 3, 4, 4\) and \(2, 4\)"):
        Accuracy().update(np.zeros((2, 3, 4, 4)), np.zeros((2, 4), int))
    with pytest.raises(InputError, match="not class indices: found int64 from 0 to 3"):
        Accuracy().update(np.zeros((1, 3, 4)), np.array([[0, 1, 2, 3]]))
