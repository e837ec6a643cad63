"""Each sample's answer as it is kept, and which of them flipped."""

import numpy as np
import pytest

from edgekit.edge_runtime.benchmark.answers import MAX_NUMBERS, Answers, answer_text, answers_of, flipped, truth_text

INPUTS = {"x": np.arange(4, dtype=np.float32)}
LABELS = ("cat", "dog")


def classes(*tops: int, targets=(0, 1, 0, 1), inputs=INPUTS) -> Answers:
    outputs = np.eye(2, dtype=np.float32)[list(tops)]
    return answers_of("classification", outputs, np.array(targets), inputs=inputs, labels=LABELS, split="golden")


def numbers(*values: float) -> Answers:
    outputs = np.array(values, np.float32)[:, None]
    return answers_of("regression", outputs, np.zeros((4, 1)), inputs=INPUTS, labels=("mm",), split="golden")


def test_a_class_is_kept_by_its_index_with_what_it_counts():
    kept = classes(0, 1, 1, 1)
    assert kept.given.tolist() == [0, 1, 1, 1]
    assert kept.scores.tolist() == [1, 1, 0, 1]
    assert (answer_text(kept, 2), truth_text(kept, 2)) == ("dog", "cat")


def test_flips_are_named_by_their_place():
    assert flipped(classes(0, 1, 0, 1), classes(0, 0, 0, 0)).tolist() == [1, 3]
    assert flipped(classes(0, 1, 0, 1), classes(0, 1, 0, 1)).tolist() == []


def test_a_number_flips_when_it_moves_by_more_than_two_percent_of_the_range():
    before, after = numbers(0, 50, 100, 25), numbers(1, 53, 100, np.nan)
    assert flipped(before, after).tolist() == [1, 3]
    assert before.scores.tolist() == [0, 50, 100, 25]
    assert answer_text(after, 1) == "53"


def test_a_row_with_nan_has_no_answer():
    outputs = np.array([[0.1, 0.9], [np.nan, 1.0]], np.float32)
    kept = answers_of("classification", outputs, np.array([1, 1]), inputs=INPUTS, labels=LABELS, split="golden")
    assert (kept.given.tolist(), kept.scores.tolist(), answer_text(kept, 1)) == ([1, -1], [1, 0], "-1")


def test_without_a_truth_only_answers_are_kept():
    kept = classes(0, 1, 0, 1, targets=np.zeros((4, 0)))
    assert (kept.scores.size, truth_text(kept, 0)) == (0, "")


def test_of_a_metric_that_refuses_the_outputs_the_answers_are_kept():
    logits = np.array([[5.0, 7.0], [7.0, 5.0]], np.float32)  # no log-probabilities
    kept = answers_of("next_character", logits, np.array([1, 1]), inputs=INPUTS, labels=("a", "b"), split="golden")
    assert (kept.given.tolist(), kept.scores.size) == ([1, 0], 0)


def test_pictures_as_answers_are_not_kept():
    outputs = np.zeros((2, MAX_NUMBERS), np.float32)
    assert answers_of("regression", outputs, outputs, inputs=INPUTS, labels=(), split="golden") is None


def test_answers_to_other_samples_are_not_compared():
    with pytest.raises(ValueError, match="different samples"):
        flipped(classes(0, 1, 0, 1), classes(0, 1, 0, 1, inputs={"x": np.ones(4)}))
