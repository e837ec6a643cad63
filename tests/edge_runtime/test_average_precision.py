"""Average precision: COCO's library and our sums agree, weights are copies of pictures, and bounds hold."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import InputError, MissingDependency
from edgekit.edge_runtime.statistics.precision_loss import precision_loss
from edgekit.edge_runtime.tasks import average_precision
from edgekit.edge_runtime.tasks.average_precision import (
    THRESHOLDS,
    AveragePrecision50,
    MeanAveragePrecision,
    matched,
    precision,
)
from edgekit.edge_runtime.tasks.registry import metric_named, task

BOX = (0.0, 0.0, 10.0, 10.0)


def scene(pictures=40, seed=0, labels=4, crowds=0.1):
    """(N, 5, 6) of what is true: boxes anywhere, some of them crowds."""
    draw = np.random.default_rng(seed)
    truth = np.zeros((pictures, 5, 6))
    truth[..., 0] = np.where(draw.random((pictures, 5)) < 0.4, -1, draw.integers(0, labels, (pictures, 5)))
    truth[..., 1] = draw.random((pictures, 5)) < crowds
    truth[..., 2:4] = draw.integers(0, 40, (pictures, 5, 2))
    truth[..., 4:] = truth[..., 2:4] + draw.integers(8, 20, (pictures, 5, 2))
    return truth


def found_in(truth, seed=1, spread=1.5, wrong=0.2):
    """(N, 10, 6): what is true, moved a bit; and the same once more, moved more, with other labels at times."""
    draw = np.random.default_rng(seed)
    found = np.concatenate([truth, truth], axis=1)
    found[..., 2:] += draw.normal(0, spread, found[..., 2:].shape)
    found[..., 1] = (draw.integers(1, 50, found.shape[:2])) / 50  # with ties
    other = (draw.random(found.shape[:2]) < wrong) & (found[..., 0] >= 0)
    found[..., 0] = np.where(other, (found[..., 0] + 1) % 5, found[..., 0])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_our_sums_are_the_library_s_to_the_last_digits(seed):
    truth = scene(seed=seed)
    matches = matched(found_in(truth, seed=seed + 10), truth)
    assert 0.05 < matches.value < 0.95
    assert precision(matches, np.ones((1, 40)))[0] == pytest.approx(matches.value, abs=1e-12)
    at_50 = matched(found_in(truth, seed=seed + 10), truth, (0.5,))
    assert at_50.value == pytest.approx(matches.values[0], abs=1e-12)
    assert matches.ignored.any()


def test_a_weight_is_so_many_copies_of_a_picture():
    truth = scene(12)
    found = np.concatenate([found_in(truth[:6], spread=0.1, wrong=0), found_in(truth[6:], spread=3, wrong=0.5)])
    weights = np.array([5, 4, 6, 3, 5, 5, 1, 1, 2, 1, 1, 1])
    copies = np.repeat(np.arange(12), weights)
    once, many = matched(found, truth), matched(found[copies], truth[copies])
    assert many.value > once.value + 0.15
    # Copies are counted one after the other and a weight at once, so that precision in between differs a bit.
    assert precision(once, weights[np.newaxis])[0] == pytest.approx(many.value, abs=0.02)
    assert precision(once, 2.5 * np.ones((1, 12)))[0] == pytest.approx(once.value, abs=1e-12)


def rows(*found):
    return np.array(found, np.float64).reshape(1, -1, 6)


def test_values_that_one_can_work_out():
    truth = rows((0, 0, *BOX), (0, 0, 20, 20, 30, 30))
    first, second = (0, 0.9, *BOX), (0, 0.8, 20, 20, 30, 30)
    assert matched(rows(first, second), truth).value == 1.0
    half = matched(rows(first), truth).value  # recalls up to 0.5 of 101 are reached
    assert half == pytest.approx(51 / 101)
    wrong_first = matched(rows((0, 0.95, 40, 40, 50, 50), first, second), truth).value
    assert wrong_first == pytest.approx(2 / 3)
    assert matched(rows((0, 0.9, 0, 0, 10, 7.4)), rows((0, 0, *BOX))).value == pytest.approx(
        0.5
    )  # up to 0.70 of overlap
    assert matched(rows((1, 0.9, *BOX)), rows((0, 0, *BOX))).value == 0.0


def test_a_crowd_is_neither_missed_nor_wrongly_found():
    truth = rows((0, 0, *BOX), (0, 1, 20, 20, 60, 60))
    found = [(0, 0.5, *BOX), (0, 0.9, 22, 22, 30, 30), (0, 0.8, 40, 40, 50, 50)]
    assert matched(rows(*found), truth).value == pytest.approx(1.0)
    assert matched(rows(found[0]), truth).value == pytest.approx(1.0)
    alone = truth.copy()
    alone[0, 1, 1] = 0
    assert matched(rows(*found), alone).value < 0.5


def test_a_picture_without_anything_true_costs_what_is_found_in_it():
    truth = np.concatenate([rows((0, 0, *BOX)), rows((-1, 0, *BOX))])
    quiet, loud = (np.concatenate([rows((0, 0.5, *BOX)), rows((label, 0.9, *BOX))]) for label in (-1, 0))
    assert [matched(one, truth).value for one in (quiet, loud)] == pytest.approx([1.0, 0.5])


def test_the_metric_takes_batches_of_other_sizes_and_has_an_interval_around_its_value():
    truth = scene(60)
    found, metric = found_in(truth), MeanAveragePrecision()
    metric.update(found[:20, :7], truth[:20])
    metric.update(found[20:], truth[20:, :4])
    whole = MeanAveragePrecision()
    found[:20, 7:, 0], truth[20:, 4:, 0] = -1, -1
    whole.update(found, truth)
    assert metric.value == whole.value
    assert metric.samples == 60
    assert 0.02 < metric.value - metric.low < 0.15
    assert 0.02 < metric.high - metric.value < 0.15
    fewer = AveragePrecision50()
    fewer.update(found, truth)
    assert fewer.value > metric.value
    assert isinstance(metric_named("average_precision_50"), AveragePrecision50)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="nothing is true in any picture"):
        matched(rows((0, 0.5, *BOX)), rows((0, 1, *BOX)))
    with pytest.raises(InputError, match="NaN or infinity"):
        matched(rows((0, np.nan, *BOX)), rows((0, 0, *BOX)))
    with pytest.raises(InputError, match=r"found \(1, 1, 6\) and \(2, 1, 6\)"):
        matched(rows((0, 0.5, *BOX)), np.zeros((2, 1, 6)))
    with pytest.raises(InputError, match="of 0 pictures"):
        _ = MeanAveragePrecision().value


def test_without_the_library_boxes_are_found_all_the_same_and_only_measuring_asks_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)  # as if it were not installed
    average_precision._matched.cache_clear()
    found = task("detection").answer(rows((0, 0.5, *BOX)), ["a"])
    assert found[0].found[0].label == "a"
    metric = task("detection").metric()
    metric.update(rows((0, 0.5, *BOX)), rows((0, 0, *BOX)))
    with pytest.raises(MissingDependency, match=re.escape(install("train"))):
        _ = metric.value


def test_the_loss_of_two_models_is_the_difference_of_their_values_with_bounds_around_it():
    truth = scene(80, crowds=0)
    before, after = (matched(found_in(truth, spread=spread), truth) for spread in (1.0, 1.3))
    loss = precision_loss(before, after, draws=600)
    assert loss.value == pytest.approx(before.value - after.value, abs=1e-12)
    assert loss.value > 0.05
    assert 0 < loss.low < loss.value < loss.high < 0.3
    assert loss.units == 80
    assert loss.changed >= 75
    assert 0.5 < (loss.high - loss.value) / (1.645 * loss.standard_error) < 2.5
    back = precision_loss(after, before, draws=600)
    assert (back.value, back.low) == (pytest.approx(-loss.value, abs=1e-12), pytest.approx(-loss.high, abs=0.02))
    wider = precision_loss(before, after, error=0.01, draws=600)
    assert (wider.low < loss.low, wider.high > loss.high) == (True, True)


def test_models_that_find_the_same_may_still_differ_in_a_picture_not_seen():
    truth = scene(80, crowds=0)
    same, copy = (matched(found_in(truth), truth) for _ in range(2))
    loss = precision_loss(same, replace(copy), draws=400)
    assert (loss.value, loss.changed) == (0.0, 0)
    # One more picture in which one of them finds all, and the other nothing: of about 81.
    assert 0.01 < loss.high < 0.15
    fewer = precision_loss(*(matched(found_in(truth)[:40], truth[:40]) for _ in range(2)), draws=400)
    assert 1.5 < fewer.high / loss.high < 3.0


def test_pictures_that_belong_together_are_drawn_together():
    truth = scene(20, crowds=0)
    found = [found_in(truth, spread=spread) for spread in (1.0, 1.3)]
    many = [matched(np.tile(one, (4, 1, 1)), np.tile(truth, (4, 1, 1))) for one in found]
    alone = precision_loss(*many, draws=400)
    together = precision_loss(*many, groups=np.tile(np.arange(20), 4), draws=400)
    assert together.value == pytest.approx(alone.value, abs=1e-12)
    assert together.units == 20
    assert together.high - together.value > 1.3 * (alone.high - alone.value)
    with pytest.raises(InputError, match="3 groups do not fit 80 pictures"):
        precision_loss(*many, groups=[1, 2, 3])
    with pytest.raises(InputError, match="found 80 and 20 of them"):
        precision_loss(many[0], matched(found[1], truth))


def test_bounds_miss_the_truth_no_more_often_than_they_say():
    """Small samples of a large set, of which the true loss is known: at an overlap where few pictures change."""
    truth = scene(1200, crowds=0, labels=2)
    found = [found_in(truth, spread=spread) for spread in (1.0, 1.15)]
    whole = [matched(one, truth, THRESHOLDS[:1]) for one in found]
    true, missed = whole[0].value - whole[1].value, []
    for start in range(0, 1200, 30):
        part = slice(start, start + 30)
        loss = precision_loss(*(matched(one[part], truth[part], THRESHOLDS[:1]) for one in found), draws=100)
        missed.append((loss.high < true, loss.low > true))
    assert np.array(missed).sum(axis=0).max() <= 5  # of 40; where 5 % miss, more than 5 have a chance of 1 %
