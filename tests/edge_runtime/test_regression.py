"""Numbers as answers: the error and its interval against known values, agreement, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest

from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import columns
from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.errors import BundleError, EngineError, InputError
from edgekit.edge_runtime.format import metric_text, share_kept, value_text
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE, TaskMetric
from edgekit.edge_runtime.tasks.registry import task
from edgekit.edge_runtime.tasks.regression import MeanAbsoluteError, estimate, near_agreement, t95

METRIC = Metric(
    name="mean_absolute_error", value=54.05, low=49.29, high=58.81, samples=146, float_value=53.81, agreement=0.966
)


def error_of(outputs, targets) -> MeanAbsoluteError:
    metric: TaskMetric = task("regression").metric()
    metric.update(outputs, targets)
    assert isinstance(metric, MeanAbsoluteError)
    return metric


# Student's two-sided 95 % quantiles as every statistics table prints them.
@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (10**6, 1.960)]
)
def test_students_quantiles(degrees, quantile):
    assert t95(degrees) == pytest.approx(quantile, rel=5e-3)


def test_the_error_of_four_samples_by_hand():
    found = error_of([[1.0], [2.0], [3.0], [4.0]], [[1.5], [2.0], [1.5], [4.0]])  # errors 0.5, 0, 1.5, 0
    assert (found.value, found.samples) == (0.5, 4)
    spread = 3.182 * math.sqrt(0.5) / 2  # their variance is 1.5 / 3
    assert (found.low, found.high) == pytest.approx((0.0, 0.5 + spread), rel=1e-2)


def test_batches_add_up_and_a_day_of_hours_is_one_sample():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(50, 24)), rng.normal(size=(50, 24))
    at_once, in_two = error_of(outputs, targets), error_of(outputs[:20], targets[:20])
    in_two.update(outputs[20:], targets[20:])
    assert at_once.samples == in_two.samples == 50
    assert (in_two.low, in_two.value, in_two.high) == pytest.approx((at_once.low, at_once.value, at_once.high))
    assert at_once.value == pytest.approx(np.abs(outputs - targets).mean())


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(2000, 40))  # their true mean is 1
    found = [error_of(row, np.zeros(40)) for row in draws]
    assert np.mean([metric.low <= 1 <= metric.high for metric in found]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_as_wrong_as_can_be(bad):
    assert error_of([1.0, bad], [1.0, 2.0]).value == NOT_FINITE
    assert near_agreement([[0.0], [1.0]], [[0.0], [bad]]) == 0.5
    with pytest.raises(EngineError, match="which is not a finite number"):
        estimate([[1.0], [bad]], ["°C"])


@pytest.mark.parametrize(("outputs", "targets"), [((3,), (3, 1)), ((2, 3), (3, 2)), ((), ()), ((3, 0), (3, 0))])
def test_shapes_are_not_broadcast(outputs, targets):
    with pytest.raises(InputError, match="of the same shape"):
        error_of(np.zeros(outputs), np.zeros(targets))


def test_of_no_samples_there_is_no_error_and_of_one_no_interval():
    with pytest.raises(InputError, match="of 0 samples is undefined"):
        _ = MeanAbsoluteError().value
    assert (error_of([3.0], [1.0]).low, error_of([3.0], [1.0]).high) == (0.0, NOT_FINITE)


def test_agreement_is_within_two_hundredths_of_the_range():
    reference = np.array([[0.0, 50.0], [100.0, 50.0]])  # a range of 100
    assert near_agreement(reference, reference + 1.99) == 1.0
    assert near_agreement(reference, np.add(reference, [[0, 2.01], [0, 0]])) == 0.5
    assert near_agreement([7.0, 7.0], [7.1, 7.2]) == 0.5  # a constant has its magnitude for a range


def test_an_estimate_names_its_numbers():
    (answer,) = task("regression").answer(np.float32([[21.5]]), ["temperature in °C"])
    assert answer.values == (("temperature in °C", 21.5),)
    with pytest.raises(BundleError, match="lists 2 labels"):
        estimate([[21.5]], ["a", "b"])


def test_an_error_is_written_without_percent_signs_and_a_share_with():
    assert metric_text(METRIC) == "54.05 [49.29, 58.81]"
    assert metric_text(replace(METRIC, name="accuracy", value=0.5, low=0.4, high=0.6)) == "50.00 % [40.0, 60.0]"
    assert value_text("mean_absolute_error", NOT_FINITE) == "not finite"
    rows = [Row(name="a", status="verified", metric=METRIC), Row(name="b", status="failed", error="no")]
    assert columns(rows)[1] == "mean absolute error [95 %]"


def test_of_an_error_that_grew_less_is_kept():
    assert share_kept(METRIC) == pytest.approx(53.81 / 54.05)
    assert share_kept(replace(METRIC, name="accuracy", value=0.8, float_value=0.9)) == pytest.approx(8 / 9)
    assert share_kept(replace(METRIC, value=0.0)) is None
