"""Bits per character: known values, and outputs that are no log-probabilities."""

import math

import numpy as np
import pytest

from edgekit.edge_runtime.errors import EngineError, InputError
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE
from edgekit.edge_runtime.tasks.next_character import BitsPerCharacter
from edgekit.edge_runtime.tasks.registry import task


def bits_of(probabilities, targets) -> BitsPerCharacter:
    metric = BitsPerCharacter()
    with np.errstate(divide="ignore"):
        metric.update(np.log(probabilities), targets)
    return metric


def test_a_guess_among_128_costs_seven_bits():
    found = bits_of(np.full((10, 128), 1 / 128), np.arange(10))
    assert (found.value, found.low, found.high, found.samples) == (7.0, 7.0, 7.0, 10)


def test_bits_by_hand_and_batch_by_batch():
    found = bits_of([[0.5, 0.25, 0.25]], [0])
    with np.errstate(divide="ignore"):
        found.update(np.log([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]), [0, 2])
    assert found.value == pytest.approx((1 + 2 + 0) / 3)
    assert found.low < found.value < found.high


def test_the_impossible_that_came_is_infinitely_surprising():
    assert bits_of([[1.0, 0.0]], [1]).value == NOT_FINITE
    metric = BitsPerCharacter()
    metric.update([[math.nan, math.nan]], [0])
    assert metric.value == NOT_FINITE


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        ([[2.0, 1.0]], [0], r"after exp\(\), a row of outputs sums to 10.1073"),
        ([[0.5, 0.5]], [0], "End the model with log_softmax"),
        ([[0.0, -50.0]], [2], "from 2 to 2"),
        ([[0.0, -50.0]], [0.0], "float64"),
        ([0.0, -50.0], [0, 1], r"outputs \(N, C\)"),
    ],
)
def test_what_is_refused(outputs, targets, message):
    with pytest.raises(InputError, match=message):
        BitsPerCharacter().update(outputs, targets)


def test_the_answer_is_the_most_probable_character():
    (answer,) = task("next_character").answer(np.log([[0.1, 0.7, 0.2]]), ["a", "space", "b"])
    assert (answer.label, answer.index) == ("space", 1)
    assert answer.probability == pytest.approx(0.7)
    assert [label for label, _ in answer.ranking] == ["space", "b", "a"]
    with pytest.raises(EngineError, match="where a probability"):
        task("next_character").answer([[3.0, 0.0, 0.0]], ["a", "b", "c"])
