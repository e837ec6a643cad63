"""How well what varies is followed, by hand; and answers that say nothing of their samples."""

import numpy as np
import pytest

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.edge_runtime.tasks.next_character import BitsPerCharacter
from edgekit.edge_runtime.tasks.variation import same_to_all, varies, varying_sqnr_db

DRAW = np.random.default_rng(0)
SIGNAL, NOISE = DRAW.normal(size=(200, 5)), DRAW.normal(size=(200, 5))


def test_a_constant_part_is_no_signal():
    quiet = 1000 + SIGNAL
    assert sqnr_db(quiet, quiet + 0.1 * NOISE) == pytest.approx(80, abs=0.5)
    assert varying_sqnr_db(quiet, quiet + 0.1 * NOISE) == pytest.approx(20, abs=0.5)
    offsets = np.arange(5) * 1e4  # of each element its own
    assert varying_sqnr_db(offsets + SIGNAL, offsets + SIGNAL + 0.1 * NOISE) == pytest.approx(20, abs=0.5)


def test_a_constant_error_is_noise():
    assert varying_sqnr_db(SIGNAL, SIGNAL + 0.1) == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(("found", "decibels"), [(SIGNAL, 200), (SIGNAL * np.nan, -200), (SIGNAL * 1e300, -200)])
def test_identical_and_broken_answers_stand_at_the_ends(found, decibels):
    assert varying_sqnr_db(SIGNAL, found) == decibels


def test_what_never_varies_and_a_single_sample_are_held_as_they_are():
    same = np.ones((20, 3))
    assert varying_sqnr_db(same, same + 1e-3) == pytest.approx(60, abs=0.01)
    assert varying_sqnr_db(SIGNAL[:1], SIGNAL[:1] * 1.001) == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize(("step", "expected"), [(3e-7, False), (3e-6, True)])
def test_rounding_is_no_variation(step, expected):
    numbers = np.ones((20, 3))
    numbers[7, 1] += step
    assert varies(numbers) is expected


@pytest.mark.parametrize("answers", [np.zeros((5, 2)), np.ones((1, 2)), np.ones((0, 2)), np.ones((4, 0))])
def test_nothing_and_one_sample_do_not_vary(answers):
    assert not varies(answers)


def test_one_answer_to_all_is_the_mean_of_the_answers():
    assert same_to_all([[0.2, 0.8], [0.6, 0.4]]) == pytest.approx(np.array([[0.4, 0.6], [0.4, 0.6]]))
    logs = np.log([[0.2, 0.8], [0.6, 0.4], [1.0, 0.0 + 1e-300]])
    bits = BitsPerCharacter()
    bits.update(same_to_all(logs, logarithms=True), np.array([0, 0, 0]))
    assert bits.value == pytest.approx(-np.log2(0.6))


def test_numbers_without_samples_are_refused():
    with pytest.raises(InputError, match=r"should be an array \(N, …\), one row for each sample"):
        varies(1.0)
    with pytest.raises(InputError, match="no answers"):
        same_to_all(np.zeros((0, 3)))


def test_two_hundred_decibels_of_the_constant_part_are_not_identical():
    reference = np.array([[1e9], [1e9 + 2000]])
    assert sqnr_db(reference, reference + 0.05) == 200
    assert varying_sqnr_db(reference, reference + 0.05) == pytest.approx(86.02, abs=0.01)
    assert varying_sqnr_db(reference, reference) == 200
