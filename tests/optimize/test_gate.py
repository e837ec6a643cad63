"""Verdicts on small cases, each bound with one just inside and one just outside."""

import numpy as np
import pytest

from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.edge_runtime.statistics.sum_metrics import DICE, F1, detection_rows, mean_of, mean_rows
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE
from edgekit.optimize.gate import (
    Budget,
    judge_answers,
    judge_auc,
    judge_hits,
    judge_lossless,
    judge_metric,
    judge_value,
)
from edgekit.optimize.judge import Compared, judge

ERRORS = mean_of("mean_absolute_error", higher_is_better=False)
PERCENT = Budget(max_drop=0.01)


def hits(samples: int, *, lost: int = 0, won: int = 0, wrong: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What a float model and an artifact answered rightly; `wrong` to both."""
    before = np.arange(samples) >= wrong + won
    after = before.copy()
    after[wrong : wrong + won] = True
    after[samples - lost :] = False
    return before, after


@pytest.mark.parametrize(("max_drop", "status"), [(0.00832, "verified"), (0.00830, "undecided")])
def test_without_a_flip_the_budget_decides_at_clopper_and_pearsons_bound(max_drop, status):
    verdict = judge_hits(*hits(359), Budget(max_drop=max_drop))
    assert (verdict.status, verdict.basis, verdict.loss) == (status, "hits", 0.0)
    assert verdict.high == pytest.approx(0.00831, abs=1e-5)


@pytest.mark.parametrize(("lost", "status"), [(8, "undecided"), (9, "refused"), (1, "undecided"), (0, "verified")])
def test_of_359_samples_so_many_lost_ones_decide_about_one_percent(lost, status):
    verdict = judge_hits(*hits(359, lost=lost), PERCENT)
    assert (verdict.status, verdict.lost, verdict.flips) == (status, lost, lost)
    assert (verdict.needed > 359) is (status == "undecided")


def test_a_budget_is_relative_to_the_float_model():
    inside = judge_hits(*hits(359, wrong=59), PERCENT)
    assert (inside.status, inside.budget) == ("verified", pytest.approx(0.01 * 300 / 359))
    assert judge_hits(*hits(359, wrong=62), PERCENT).status == "undecided"


def test_an_artifact_that_wins_as_much_as_it_loses_is_decided_by_enough_samples():
    assert judge_hits(*hits(1000, lost=15, won=15, wrong=100), PERCENT).status == "undecided"
    few = judge_hits(*hits(100, lost=2, won=2, wrong=10), PERCENT)
    assert few.status == "undecided"
    assert judge_hits(*hits(10_000, lost=150, won=150, wrong=1000), PERCENT).status == "verified"
    assert judge_hits(*hits(1000, lost=5, won=35, wrong=100), PERCENT).loss == -0.03


def test_samples_without_truth_decide_where_few_answers_flip():
    labelled = hits(100)
    alone = judge_hits(*labelled, PERCENT)
    assert (alone.status, alone.helps) == ("undecided", "pictures")
    assert 268 <= alone.needed_unlabelled < 310
    some = judge_hits(*labelled, PERCENT, unlabelled_flipped=np.arange(1000) < 3)
    assert (some.status, some.flips, some.unlabelled) == ("verified", 3, 1000)
    many = judge_hits(*labelled, PERCENT, unlabelled_flipped=np.arange(1000) < 12)
    assert (many.status, many.helps, many.needed_unlabelled) == ("undecided", "labels", 0)


@pytest.mark.parametrize(("unlabelled", "status"), [(268, "verified"), (267, "undecided")])
def test_the_error_is_split_between_truth_and_flips(unlabelled, status):
    # 368 samples without a flip: 1 - 0.025 ** (1 / 368) is 1.0 %.
    flipped = np.zeros(unlabelled, bool)
    assert judge_hits(*hits(100), PERCENT, unlabelled_flipped=flipped).status == status
    assert judge_hits(*hits(359), PERCENT, unlabelled_flipped=np.zeros(3, bool)).status == "verified"


def test_wrong_answers_that_become_other_wrong_ones_are_flips_but_no_loss():
    before, after = hits(359, wrong=20)
    verdict = judge_hits(before, after, PERCENT, flipped=np.arange(359) < 7)
    assert (verdict.flips, verdict.lost, verdict.status) == (7, 0, "verified")


def test_hits_of_patients_or_of_tokens_are_drawn_together():
    before, after = hits(400, lost=20, won=20, wrong=40)
    order = np.random.default_rng(0).permutation(400)
    grouped = judge_hits(before[order], after[order], PERCENT, groups=np.arange(400) // 20)
    assert (grouped.basis, grouped.groups, grouped.status) == ("bootstrap", 20, "undecided")
    tokens = judge_hits(before.reshape(40, 10), after.reshape(40, 10), PERCENT)
    assert (tokens.samples, tokens.groups, tokens.flips) == (40, 0, 4)
    assert tokens.float_value == 0.85


def test_one_answer_to_all_proves_nothing_unless_it_shows_a_loss():
    dead = Budget(max_drop=0.01, same_to_all=1.0)
    verdict = judge_hits(*hits(1000), dead)
    assert (verdict.status, verdict.basis) == ("unverified", "nothing")
    assert verdict.reason.startswith("these 1,000 samples prove nothing")
    assert judge_hits(*hits(1000, lost=300), dead).status == "refused"


@pytest.mark.parametrize(("same_to_all", "status"), [(0.989, "verified"), (0.991, "unverified")])
def test_samples_prove_something_where_one_answer_to_all_would_not_pass(same_to_all, status):
    assert judge_hits(*hits(1000), Budget(same_to_all=same_to_all)).status == status
    assert judge_hits(*hits(1000), Budget(max_drop=0.5, same_to_all=same_to_all)).status == status


def test_errors_are_better_smaller_and_a_gain_is_verified():
    draw = np.random.default_rng(1)
    before = draw.exponential(40, 200)
    noise = draw.normal(0, 0.5, 200)
    statuses = [judge_metric(ERRORS, mean_rows(before), mean_rows(before + noise + d), PERCENT).status for d in (-1, 2)]
    assert statuses == ["verified", "refused"]
    near = judge_metric(ERRORS, mean_rows(before), mean_rows(before + noise + 0.42), PERCENT)
    assert (near.status, near.budget) == ("undecided", pytest.approx(0.01 * before.mean()))
    assert near.needed > 200


def test_too_few_changed_for_a_bootstrap_is_said():
    after = np.r_[np.full(3, 2.0), np.ones(97)]
    verdict = judge_metric(ERRORS, mean_rows(np.ones(100)), mean_rows(after), PERCENT)
    assert (verdict.status, verdict.high, verdict.needed) == ("undecided", NOT_FINITE, 334)
    assert "too few changed to say at most how much" in verdict.reason


def test_a_negative_score_has_a_budget_as_well():
    scores = mean_of("r2_like", higher_is_better=True)
    before = np.linspace(-3, -1, 100)
    verdict = judge_metric(scores, mean_rows(before), mean_rows(before + 0.001 * np.cos(np.arange(100))), PERCENT)
    assert (verdict.status, verdict.budget) == ("verified", pytest.approx(0.02))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_broken(bad):
    verdict = judge_metric(ERRORS, mean_rows([1.0, 2.0]), mean_rows([1.0, bad]), PERCENT)
    assert (verdict.status, verdict.basis, verdict.low) == ("refused", "broken", NOT_FINITE)
    assert judge_auc([0.1, 0.9], [bad, 0.9], [0, 1], PERCENT).basis == "broken"
    assert judge_value("score", 0.5, bad, PERCENT, samples=9).basis == "broken"
    with pytest.raises(InputError, match="float model's own"):
        judge_metric(ERRORS, mean_rows([1.0, bad]), mean_rows([1.0, 2.0]), PERCENT)


def test_a_net_that_never_says_nodule_is_refused_by_f1_and_passes_by_accuracy():
    truth = np.arange(5000) % 50 == 0
    dead = np.zeros(5000, bool)
    rows = [detection_rows(called, truth) for called in (truth, dead)]
    assert judge_metric(F1, *rows, Budget(max_drop=0.01)).status == "refused"
    assert judge_hits(truth == truth, dead == truth, Budget(max_drop=0.03)).status == "verified"


def test_dice_of_scans_needs_scans():
    draw = np.random.default_rng(2)
    sizes = draw.integers(50, 500, 40)
    missed, called = draw.binomial(sizes, 0.1), draw.binomial(sizes, 0.1)
    fewer = draw.integers(-1, 2, 40)
    before = np.stack([sizes - missed, called, missed], axis=1)
    after = before + np.stack([-fewer, 0 * fewer, fewer], axis=1)
    names = [f"scan {i}" for i in range(40)]
    assert judge_metric(DICE, before, after, PERCENT, groups=names).status == "verified"
    few = judge_metric(DICE, before[:9], after[:9], PERCENT, groups=names[:9])
    assert (few.status, few.groups, few.needed > 9) == ("undecided", 9, True)


def test_an_area_of_one_class_or_of_chance_proves_nothing():
    scores = np.random.default_rng(3).random(200)
    one = judge_auc(scores, scores, np.ones(200), PERCENT)
    assert (one.status, one.basis) == ("unverified", "nothing")
    chance = judge_auc(scores, scores, np.arange(200) % 2, PERCENT)
    assert (chance.status, chance.float_value < 0.52) == ("unverified", True)


def test_one_number_can_refuse_and_never_verifies():
    statuses = [judge_value("score", 0.9, value, PERCENT, samples=50).status for value in (0.95, 0.8911, 0.8909)]
    assert statuses == ["undecided", "undecided", "refused"]


@pytest.mark.parametrize(
    ("decibels", "flips", "float_recipe", "lossless"),
    [(60.0, 0, True, True), (59.9, 0, True, False), (90.0, 1, True, False), (90.0, 0, False, False)],
)
def test_a_float_artifact_that_follows_in_every_output_is_lossless_at_any_number(
    decibels, flips, float_recipe, lossless
):
    for samples in (1, 2, 25):
        measured = judge_hits(*hits(samples), PERCENT)
        assert measured.status == "undecided"
        sqnr = {"mask": 120.0, "score": decibels}
        verdict = judge_lossless(measured, sqnr, flips=flips, float_recipe=float_recipe)
        assert (verdict.lossless, verdict.status == "verified", verdict.needed == 0) == (lossless,) * 3


def test_of_answers_that_never_vary_nothing_is_lossless():
    dead = judge_hits(*hits(8), Budget(same_to_all=1.0))
    assert judge_lossless(dead, {"y": 200.0}, flips=0, float_recipe=True, varies=False).status == "unverified"
    assert judge_lossless(dead, {}, flips=0, float_recipe=True).status == "unverified"


@pytest.mark.parametrize(("flips", "status"), [(2, "consistent"), (3, "refused")])
def test_without_truth_the_floor_of_agreement_is_the_gate(flips, status):
    differ = np.arange(100) < flips
    verdict = judge_answers(differ, PERCENT, agreement_floor=0.98)
    assert (verdict.status, verdict.basis, verdict.kept) == (status, "answers", False)
    assert judge_answers(differ, PERCENT, agreement_floor=0.98, varies=False).status in ("unverified", "refused")
    dense = judge_answers(np.tile(differ, (6, 1)), PERCENT, agreement_floor=0.98)
    assert (dense.status, dense.samples, dense.flips) == (status, 6, 6)


def test_a_float_model_that_is_never_right_leaves_no_budget():
    verdict = judge_hits(np.zeros(500, bool), np.zeros(500, bool), PERCENT)
    assert (verdict.status, verdict.budget, verdict.needed, verdict.helps) == ("undecided", 0.0, 0, "")
    assert verdict.reason.endswith("More samples would not decide it")


def test_all_flips_and_no_samples():
    assert judge_hits(np.ones(10, bool), np.zeros(10, bool), PERCENT).status == "refused"
    with pytest.raises(InputError, match="same samples"):
        judge_hits([], [], PERCENT)
    with pytest.raises(InputError, match="no answers"):
        judge_answers([], PERCENT, agreement_floor=0.9)
    with pytest.raises(UsageError, match="--max-drop"):
        Budget(max_drop=float("nan"))


def test_the_reason_is_one_sentence_with_its_numbers():
    verdict = judge_hits(*hits(359, lost=1), PERCENT)
    assert verdict.reason == (
        "accuracy lost 0.28 points, a loss of at most 1.31 points: 359 samples do not decide the budget of 1.00 "
        "points. About 390 samples without true answers, or about 590 with them, would, if answers change no more often"
    )
    better = judge_hits(*hits(1000, won=40, wrong=10), PERCENT)
    assert better.reason.startswith("accuracy gained 4.00 points, a gain of at least 3.0")


def found_somewhere(pictures, spread, seed=1):
    """What two models find of one box a picture, (N, 1, 6), and the truth."""
    draw = np.random.default_rng(seed)
    truth = np.zeros((pictures, 1, 6))
    truth[..., 2:4] = draw.integers(0, 20, (pictures, 1, 2))
    truth[..., 4:] = truth[..., 2:4] + 20
    found = truth + 0.0
    found[..., 1] = draw.random((pictures, 1))
    moved = found + 0.0
    moved[..., 2:] += spread * draw.standard_normal(moved[..., 2:].shape)
    return found, moved, truth


@pytest.mark.parametrize(("spread", "status"), [(0.05, "verified"), (3.0, "refused")])
def test_a_detector_is_held_to_its_average_precision(spread, status):
    before, after, truth = found_somewhere(150, spread)
    pair = {"float_outputs": {"scores": before[..., 1]}, "outputs": {"scores": after[..., 1]}, "targets": truth}
    verdict = judge(
        Compared(**pair, answers=(before, after)),
        task_name="detection",
        max_drop=0.1,
        agreement_floor=0.9,
        float_recipe=False,
        error=0.05,
    )
    assert (verdict.status, verdict.basis, verdict.metric) == (status, "bootstrap", "mean_average_precision")
    assert verdict.float_value == pytest.approx(1.0)
    assert verdict.loss == pytest.approx(verdict.float_value - verdict.value)
    assert (verdict.low <= verdict.loss <= verdict.high, verdict.samples) == (True, 150)


def test_a_detector_that_answers_nan_is_broken_and_one_that_always_says_the_same_proves_nothing():
    before, after, truth = found_somewhere(40, 0.1)
    after[3] = np.nan
    asked = {"task_name": "detection", "max_drop": 0.01, "agreement_floor": 0.9, "float_recipe": False, "error": 0.05}
    outputs = {"float_outputs": {"scores": before[..., 1]}, "outputs": {"scores": before[..., 1]}}
    broken = judge(Compared(**outputs, targets=truth, answers=(before, after)), **asked)
    assert (broken.status, broken.basis, broken.loss) == ("refused", "broken", NOT_FINITE)
    same = np.repeat(truth[:1], 40, axis=0)
    found = np.repeat(before[:1], 40, axis=0)
    nothing = judge(Compared(**outputs, targets=same, answers=(found, found)), **asked)
    assert (nothing.status, nothing.basis) == ("unverified", "nothing")
