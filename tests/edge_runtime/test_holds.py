"""What outputs hold: when two say the same, how one form is read as another, and what of them varies."""

from typing import get_args

import numpy as np
import pytest

from edgekit.edge_runtime.bundle.contract import Holds
from edgekit.edge_runtime.bundle.status import PROVEN, STATUSES, Status, canonical, stamp_of, tone_of, why_of
from edgekit.edge_runtime.errors import BundleError, InputError, UsageError
from edgekit.edge_runtime.tasks.holds import HOLDS, kind, read_as, readable
from edgekit.edge_runtime.tasks.registry import TASKS, answers_to, task
from edgekit.edge_runtime.tasks.variation import varies, varying_sqnr_db

LOGITS = np.array([[2.0, 1.0, -1.0], [0.0, 0.0, 5.0]])
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
NAN = float("nan")


def test_each_kind_that_a_manifest_may_name_is_here():
    assert set(HOLDS) == set(get_args(Holds))
    with pytest.raises(UsageError, match="unknown kind of output 'magic'. Known: boxes, classes"):
        kind("magic")


@pytest.mark.parametrize(
    ("holds", "reference", "found", "share"),
    [
        ("probabilities", [[0.2, 0.8], [0.9, 0.1]], [[0.4, 0.6], [0.4, 0.6]], 0.5),
        ("probabilities", [[0.5, 0.5], [0.9, 0.1]], [[0.6, 0.4], [NAN, 0.1]], 0.5),
        ("token_probabilities", [[[0.2, 0.8], [0.9, 0.1]]], [[[0.4, 0.6], [0.4, 0.6]]], 0.5),  # (1, 2, 2): two tokens
        ("logits", [[[1.0, 0.0], [0.0, 1.0]]], [[[1.0, 3.0], [0.0, 1.0]]], 0.5),  # (1, 2, 2): two places
        ("log_probabilities", [[-0.1, -3.0]], [[-0.2, -2.0]], 1.0),
        ("independent_probabilities", [[0.5, 0.4, 0.9]], [[0.51, 0.5, 0.2]], 1 / 3),
        ("independent_logits", [[0.0, -0.1, 2.0]], [[1.0, 0.0, 0.1]], 2 / 3),
        ("mask", [[[[0.5, 0.49]]]], [[[[0.5, NAN]]]], 0.5),
        ("values", [[0.0, 100.0]], [[2.0, 97.9]], 0.5),
        ("values", [[7.0, 7.0]], [[7.13, 7.15]], 0.5),  # no range: 2 % of the magnitude
        ("values", [[NAN, 1.0]], [[1.0, 1.0]], 0.5),
        ("features", [[NAN]], [[NAN]], 0.0),
        ("boxes", [[[0.0, 0, 10, 10]]], [[[0.2, 0, 10, 10.21]]], 0.75),
        ("scores", [[0.0, 1.0]], [[0.02, 0.97]], 0.5),
        ("classes", [[3, 4]], [[3, 5]], 0.5),
    ],
)
def test_agreement_counts_the_answers_that_are_the_same(holds, reference, found, share):
    assert kind(holds).agreement(reference, found) == pytest.approx(share)


@pytest.mark.parametrize("holds", HOLDS)
def test_arrays_that_do_not_belong_together_have_no_agreement(holds):
    for reference, found in ((np.zeros((2, 3)), np.zeros((3, 2))), (np.zeros((0, 2)), np.zeros((0, 2))), (1.0, 1.0)):
        with pytest.raises(InputError, match="agreement takes two arrays of the same shape"):
            kind(holds).agreement(reference, found)
    assert kind(holds).agreement(np.zeros((2, 3, 4)), np.zeros((2, 3, 4))) == 1.0


@pytest.mark.parametrize(
    ("holds", "takes", "given", "wanted"),
    [
        ("logits", "probabilities", LOGITS, SOFTMAX),
        ("logits", "log_probabilities", LOGITS, np.log(SOFTMAX)),
        ("log_probabilities", "probabilities", np.log(SOFTMAX), SOFTMAX),
        ("probabilities", "log_probabilities", SOFTMAX, np.log(SOFTMAX)),
        ("independent_logits", "mask", [[0.0, 1000.0, -1000.0]], [[0.5, 1.0, 0.0]]),
        ("independent_probabilities", "mask", [[0.3]], [[0.3]]),
        ("values", "values", [[1.0]], [[1.0]]),
        ("boxes", "", [[1.0]], [[1.0]]),
    ],
)
def test_an_output_is_read_as_what_its_task_takes(holds, takes, given, wanted):
    assert readable(holds, takes)
    np.testing.assert_allclose(read_as(given, holds, takes), wanted)


@pytest.mark.parametrize(
    ("holds", "takes"), [("boxes", "probabilities"), ("probabilities", "mask"), ("logits", "values")]
)
def test_what_cannot_be_read_so_is_refused(holds, takes):
    assert not readable(holds, takes)
    with pytest.raises(BundleError, match=f"holds {holds}, but its task takes {takes}"):
        read_as([[1.0]], holds, takes)


def test_huge_logits_are_still_probabilities():
    found = read_as([[1e30, -1e30, 0.0]], "logits", "probabilities")
    assert found.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_reads_its_own_form_as_it_is(name):
    takes = TASKS[name].takes
    array = np.zeros((1, 2))
    assert read_as(array, takes or "values", takes) is array


def test_logits_are_answered_with_the_probabilities_behind_them():
    found = answers_to({"o": LOGITS}, {"o": "logits"}, task=task("classification"), labels=("a", "b", "c"))
    assert [answer.label for answer in found] == ["a", "c"]
    assert found[0].probability == pytest.approx(SOFTMAX[0, 0])


@pytest.mark.parametrize(
    ("reference", "found", "decibels"),
    [
        ([[100.0], [101.0]], [[100.0], [101.0]], 200.0),
        ([[100.0], [101.0]], [[100.5], [100.5]], 0.0),  # says the same to all: the whole signal is missed
        ([[100.0], [101.0]], [[100.05], [100.95]], 20.0),
        ([[0.0], [0.0]], [[0.0], [1e-9]], -200.0),
        ([[5.0], [5.0]], [[5.5], [5.5]], 20.0),  # nothing varies: the constant is the signal
        ([[5.0]], [[5.5]], 20.0),  # and of a single sample
        ([[100.0], [100.00001]], [[100.0], [101.0]], 43.01),  # less than rounding is no variation
        ([[NAN], [1.0]], [[1.0], [1.0]], -200.0),
        ([[1.0, 0.0], [1.0, 2.0]], [[1.0, 0.0], [1.0, 1.8]], 16.99),
    ],
)
def test_the_signal_is_what_varies_between_samples(reference, found, decibels):
    assert varying_sqnr_db(reference, found) == pytest.approx(decibels, abs=0.01)


def test_a_huge_signal_does_not_overflow():
    reference = np.array([[1e300], [-1e300]])
    assert varying_sqnr_db(reference, reference * 1.1) == pytest.approx(20.0)


def test_whether_answers_vary():
    assert varies([[1.0], [1.1]])
    assert not varies([[1.0], [1.0 + 1e-7]])
    assert not varies([[1.0]])
    assert not varies(np.zeros((3, 0)))
    with pytest.raises(InputError, match="answers should be an array"):
        varies(1.0)


def test_each_status_has_one_meaning():
    assert set(STATUSES) == set(get_args(Status))
    assert [name for name, one in STATUSES.items() if one.kept] == ["verified"]
    assert [name for name, one in STATUSES.items() if not one.held] == ["unverified", "not_run"]
    assert [name for name, one in STATUSES.items() if not one.strict] == ["verified"]
    assert PROVEN == ("verified", "consistent")
    for name, one in STATUSES.items():
        assert (stamp_of(name), why_of(name), tone_of(name)) == (one.stamp, one.why, one.tone)
        assert bool(one.stamp) == bool(one.why) == (name != "verified")


def test_a_status_of_older_files_is_known_by_its_name_of_today():
    assert canonical("stages_verified") == "consistent"
    assert why_of("stages_verified") == why_of("consistent")
    assert (canonical("perfect"), stamp_of("perfect")) == ("unverified", "UNVERIFIED")
    assert why_of("perfect") == "this edgekit does not know its status 'perfect'"
