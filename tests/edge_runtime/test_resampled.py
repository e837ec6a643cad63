"""Bounds of losses that are not counted in hits, against exact ones and against how often they miss the truth."""

import math
import time

import numpy as np
import pytest
from scipy.stats import beta, norm

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.statistics.paired import hits_loss
from edgekit.edge_runtime.statistics.resampled import auc_loss, carriers, scores_loss, sums_loss
from edgekit.edge_runtime.statistics.sum_metrics import (
    DICE,
    F1,
    PRECISION,
    RECALL,
    detection_rows,
    hit_rows,
    mean_of,
    mean_rows,
)
from edgekit.edge_runtime.tasks.detection_metrics import auc, count_confusion

ERRORS = mean_of("mean_absolute_error", higher_is_better=False)
SHARES = mean_of("dice", higher_is_better=True, is_share=True)


def test_metrics_of_sums_are_those_of_the_training_log():
    draw = np.random.default_rng(0)
    called, truth = draw.random(200) < 0.3, draw.random(200) < 0.4
    counts, sums = count_confusion(called, truth), detection_rows(called, truth).sum(axis=0)
    assert F1.value(sums) == DICE.value(sums) == pytest.approx(counts.f1)
    assert (RECALL.value(sums), PRECISION.value(sums)) == pytest.approx((counts.recall, counts.precision))
    assert F1.value(np.zeros((2, 3))).tolist() == [0.0, 0.0]
    assert ERRORS.value(mean_rows([[1, 3], [5, 7]]).sum(axis=0)) == 4.0
    assert hit_rows([[True, False], [True, True]]).tolist() == [[1, 2], [2, 2]]


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_of_hits_it_is_clopper_and_pearsons_bound_as_well(lost):
    before, after = np.ones(359), np.r_[np.zeros(lost), np.ones(359 - lost)]
    loss = sums_loss(mean_rows(before), mean_rows(after), SHARES)
    assert (loss.value, loss.changed, loss.units) == (pytest.approx(lost / 359), lost, 359)
    assert loss.high == pytest.approx(beta.ppf(0.95, lost + 1, 359 - lost), rel=0.03)


def test_the_loss_is_positive_where_the_second_is_worse_whichever_way_is_better():
    small, large = np.linspace(0.1, 0.2, 50), np.linspace(0.2, 0.4, 50)
    for metric, before, after in ((ERRORS, small, large), (SHARES, large, small)):
        loss = sums_loss(mean_rows(before), mean_rows(after), metric)
        assert loss.low < 0.15 < loss.high
        assert loss.value == pytest.approx(0.15)
    gain = sums_loss(mean_rows(large), mean_rows(small), ERRORS)
    assert gain.high < 0 < -gain.value


@pytest.mark.parametrize(("kind", "truth"), [("laplace", 0.0), ("exponential", 1.0)])
def test_of_fifty_differences_the_bounds_miss_the_mean_in_at_most_one_case_of_twenty(kind, truth):
    draw = np.random.default_rng(5)
    drawn = getattr(draw, kind)(size=(400, 50))
    missed = [0, 0]
    for after in drawn:
        loss = sums_loss(mean_rows(np.zeros(50)), mean_rows(after), ERRORS)
        missed[0] += loss.high < truth
        missed[1] += loss.low > truth
    assert max(missed) / 400 <= 0.05  # 0.03 in truth; a plain bootstrap misses the upper one in 0.07 and 0.08
    assert min(missed) / 400 >= 0.01


@pytest.mark.parametrize(("changed", "bounded"), [(9, False), (10, True)])
def test_ten_changed_samples_are_the_least_for_a_bootstrap(changed, bounded):
    after = np.r_[np.full(changed, 0.5), np.zeros(100 - changed)]
    loss = sums_loss(mean_rows(np.zeros(100)), mean_rows(after), ERRORS)
    assert (math.isfinite(loss.high), math.isfinite(loss.low)) == (bounded, bounded)
    assert sums_loss(mean_rows(1 - after), mean_rows(np.ones(100)), SHARES).high < 0.031  # a share has its limit


def test_few_that_carry_the_change_count_as_few_however_many_moved_a_little():
    assert carriers(np.ones(10)) == 10
    assert carriers(np.r_[np.full(3, 100.0), np.full(1000, 0.01)]) == pytest.approx(3.2, abs=0.01)
    assert carriers(np.zeros(5)) == carriers([]) == 0
    after = np.r_[np.full(3, 100.0), np.full(997, 0.01)]
    assert sums_loss(mean_rows(np.zeros(1000)), mean_rows(after), ERRORS).high == math.inf


def test_nothing_changed_of_many_detections_still_bounds_f1_by_what_one_in_some_could_do():
    truth = np.arange(1000) < 200
    rows = detection_rows(truth, truth)
    loss = sums_loss(rows, rows, F1)
    # Three of 1,000 samples may flip, each at worst a positive missed: 6 of 400 in F1's terms, less the half of it.
    assert loss.high == pytest.approx(3 / 400, rel=0.1)
    assert loss.low == pytest.approx(-loss.high, abs=0.008)


def test_samples_of_one_group_are_drawn_together():
    draw = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), draw.integers(5, 60, 20))
    shift = draw.normal(0, 0.1, 20)[groups]
    before = np.ones(len(groups))
    alone, together = (
        sums_loss(mean_rows(before), mean_rows(before + shift), ERRORS, groups=g) for g in (None, groups)
    )
    assert (alone.units, together.units) == (len(groups), 20)
    assert alone.value == pytest.approx(together.value)
    assert together.standard_error > 3 * alone.standard_error
    assert together.high - together.value > 3 * (alone.high - alone.value)


def test_a_single_group_leaves_everything_possible():
    rows = detection_rows(np.ones(30, bool), np.ones(30, bool))
    loss = sums_loss(rows, rows, DICE, groups=["scan"] * 30)
    assert (loss.units, loss.high) == (1, pytest.approx(0.9, abs=0.1))
    assert sums_loss(mean_rows([1.0, 2.0]), mean_rows([1.0, 2.0]), ERRORS, groups=[0, 0]).high == math.inf


def test_a_bootstrap_of_ten_thousand_samples_takes_a_second_or_two():
    draw = np.random.default_rng(2)
    truth, scores = draw.random(10_000) < 0.3, draw.normal(size=10_000)
    noisy = scores + draw.normal(0, 0.05, 10_000)
    start = time.perf_counter()
    sums_loss(mean_rows(np.abs(scores)), mean_rows(np.abs(noisy)), ERRORS)
    auc_loss(scores + truth, noisy + truth, truth)
    assert time.perf_counter() - start < 15  # 0.8 s on one idle core


def test_the_area_under_a_curve_loses_what_the_areas_say_and_delong_gives_the_error():
    draw = np.random.default_rng(3)
    truth = draw.random(400) < 0.3
    before = draw.normal(size=400) + truth
    after = before + draw.normal(0, 0.6, 400)
    loss = auc_loss(before, after, truth)
    assert loss.value == pytest.approx(auc(before, truth) - auc(after, truth))
    kernel = [(s[truth][:, None] > s[~truth]).astype(float) for s in (before, after)]
    parts = [(kernel[0] - kernel[1]).mean(axis=axis) for axis in (1, 0)]
    delong = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts))
    assert loss.standard_error == pytest.approx(delong, rel=0.02)
    assert norm.ppf(0.95) <= (loss.high - loss.value) / delong <= 1.2 * norm.ppf(0.95)  # with the one more


def test_an_area_of_which_nothing_changed_is_bounded_by_one_sample_of_the_rarer_kind():
    truth = np.arange(300) < 60
    scores = np.where(truth, 2.0, 1.0) + np.linspace(0, 0.5, 300)
    loss = auc_loss(scores, scores, truth)
    assert (loss.value, loss.changed) == (0.0, 0)
    assert loss.high == pytest.approx(beta.ppf(0.95, 1, 60), rel=0.05)


def test_scores_of_zero_and_one_are_hits_and_others_are_not():
    before, after = np.ones(200), np.r_[np.zeros(4), np.ones(196)]
    assert scores_loss(before, after, higher_is_better=True) == hits_loss(4, 0, 200)
    assert scores_loss(before, after, higher_is_better=False) == hits_loss(0, 4, 200)
    assert scores_loss(before, after / 2, higher_is_better=True).value == pytest.approx(0.51)


@pytest.mark.parametrize(
    ("before", "after", "bounds"),
    [(1.0, np.nan, (np.inf, np.inf)), (np.inf, 1.0, (-np.inf, -np.inf)), (np.nan, np.nan, (-np.inf, np.inf))],
)
def test_scores_that_are_no_numbers_are_infinitely_worse(before, after, bounds):
    loss = scores_loss([before, 1.0], [after, 1.0], higher_is_better=False)
    assert (loss.low, loss.high) == bounds


@pytest.mark.parametrize(
    ("before", "after", "groups"), [((0, 2), (0, 2), None), ((3, 2), (2, 2), None), ((3, 2), (3, 2), [1])]
)
def test_rows_that_do_not_fit_are_refused(before, after, groups):
    with pytest.raises(InputError, match=r"same samples|groups do not fit"):
        sums_loss(np.zeros(before), np.zeros(after), ERRORS, groups=groups)


def test_one_class_alone_has_no_area():
    with pytest.raises(InputError, match="needs positives and negatives"):
        auc_loss([0.1, 0.2], [0.1, 0.2], [1, 1])
