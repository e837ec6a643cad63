"""A verdict as data: it survives JSON, and cannot claim what its own numbers do not show."""

import json
from dataclasses import replace

import pytest

from edgekit.edge_runtime.bundle.verdict import Verdict
from edgekit.edge_runtime.decode import canonical_json, decode, to_plain

VERDICT = Verdict(
    status="verified", basis="hits", metric="accuracy", higher_is_better=True, float_value=0.97, value=0.97,
    samples=359, groups=0, loss=0.0, low=-0.0083, high=0.0083, budget=0.0097, flips=0, lost=0, won=0, unlabelled=0,
    needed=0, needed_unlabelled=0, helps="", reason="accuracy lost 0.00 points, at most 0.83",
)  # fmt: skip


def test_it_survives_json():
    assert decode(Verdict, json.loads(canonical_json(to_plain(VERDICT)))) == VERDICT


@pytest.mark.parametrize(("high", "passes"), [(0.0097, True), (0.0098, False)])
def test_verified_is_only_what_its_bound_shows(high, passes):
    if passes:
        assert replace(VERDICT, high=high).kept
        return
    with pytest.raises(ValueError, match=r"not within the budget"):
        replace(VERDICT, high=high)
    assert replace(VERDICT, high=high, basis="lossless").lossless
    assert not replace(VERDICT, high=high, status="undecided").kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 0.01},
        {"high": float("inf")},
        {"needed": -1},
        {"lost": 200, "won": 200},
        {"flips": 360},
        {"budget": -1.0},
        {"flips": 3, "lost": 2, "won": 2},
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"verdict|flips|bounds|budget"):
        replace(VERDICT, **wrong)


def test_an_answer_that_became_wrong_or_right_is_a_flip():
    assert replace(VERDICT, flips=4, lost=2, won=2).flips == 4


@pytest.mark.parametrize("basis", ["lossless", "hits", "bootstrap", "value", "answers", "broken", "nothing"])
def test_only_measured_losses_and_lossless_files_are_verified(basis):
    if basis in ("lossless", "hits", "bootstrap"):
        assert replace(VERDICT, basis=basis).kept
        return
    with pytest.raises(ValueError, match="cannot be verified"):
        replace(VERDICT, basis=basis)
    assert replace(VERDICT, basis=basis, status="unverified").basis == basis
