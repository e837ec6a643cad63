"""Tasks: outputs become answers, the order of equals is fixed, and what is no probability is refused."""

import math

import numpy as np
import pytest

from edgekit.edge_runtime.errors import BundleError, EngineError, UsageError
from edgekit.edge_runtime.tasks.classification import Answer
from edgekit.edge_runtime.tasks.metrics import Accuracy
from edgekit.edge_runtime.tasks.registry import TASKS, task

LABELS = ("bird", "airplane", "frog")


def test_classification_ranks_the_labels():
    first, second = task("classification").answer(np.float32([[0.25, 0.75, 0.0], [0.5, 0.0, 0.5]]), LABELS)
    ranking = (("airplane", 0.75), ("bird", 0.25), ("frog", 0.0))
    assert first == Answer(label="airplane", index=1, probability=0.75, ranking=ranking)
    assert [label for label, _ in second.ranking] == ["bird", "frog", "airplane"]


def test_the_answer_is_the_one_that_accuracy_counts():
    outputs = np.random.default_rng(0).integers(0, 3, size=(100, 3)) / 3  # full of ties
    metric = TASKS["classification"].metric()
    metric.update(outputs, [answer.index for answer in task("classification").answer(outputs, LABELS)])
    assert isinstance(metric, Accuracy)
    assert metric.value == 1.0


def test_rounding_beyond_zero_and_one_is_clipped():
    (answer,) = task("classification").answer([[1.004, -0.004, 0.0]], LABELS)
    assert (answer.probability, answer.ranking[1:]) == (1.0, (("airplane", 0.0), ("frog", 0.0)))


@pytest.mark.parametrize("value", [12.3, -4.0, math.nan, math.inf])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(EngineError, match=rf"answered {value:.6g} where a probability"):
        task("classification").answer([[0.5, 0.5, 0.0], [value, 0.0, 0.0]], LABELS)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1, 2, 5)])
def test_outputs_that_do_not_fit_the_labels_are_refused(shape):
    with pytest.raises(BundleError, match="lists 3 labels"):
        task("classification").answer(np.zeros(shape), LABELS)


def test_of_classes_for_each_place_the_answer_is_the_share_of_each_label():
    scores = np.zeros((1, 3, 2, 2))
    scores[0, 1, 0] = scores[0, 2, 1] = 1  # the upper row is airplane, the lower one frog
    (answer,) = task("classification").answer(scores, LABELS)
    assert answer.values == (("bird", 0.0), ("airplane", 0.5), ("frog", 0.5))


def test_labels_that_may_each_apply_are_given_with_their_probability():
    outputs, truth = np.array([[0.9, 0.5, 0.1], [0.2, 0.4, 0.6]]), np.array([[1, 0, 0], [0, 0, 1]])
    metric = task("multi_label").metric()
    metric.update(outputs, truth)
    assert metric.value == pytest.approx((2 / 3 + 1) / 2)  # one of two that were given, then all
    (first, _) = task("multi_label").answer(outputs, LABELS)
    assert first.values == (("bird", 0.9), ("airplane", 0.5), ("frog", 0.1))
    assert task("multi_label").differ(outputs, outputs[::-1]).tolist() == [[True, True, True]] * 2


def test_of_a_single_yes_or_no_the_score_is_the_share_of_right_answers():
    metric = task("multi_label").metric()
    metric.update([[0.9], [0.1], [0.8], [0.2]], [[1], [0], [0], [0]])
    assert metric.value == 0.75


def test_an_unknown_task_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown task 'clasification'. Known: classification"):
        task("clasification")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_registered_under_its_own_name(name):
    assert task(name).name == name
