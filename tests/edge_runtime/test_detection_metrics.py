"""Precision, recall, F1 and the ROC curve, against what a pencil gives."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.tasks.detection_metrics import ConfusionCounts, auc, count_confusion, roc


def test_counts_and_shares():
    counts = count_confusion([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0])
    assert counts == ConfusionCounts(true_positives=2, false_positives=1, false_negatives=2, true_negatives=2)
    assert (counts.precision, counts.recall, counts.f1) == (pytest.approx(2 / 3), 0.5, pytest.approx(4 / 7))
    assert (counts + counts).true_positives == 4


def test_the_books_first_balanced_epoch():
    """Chapter 12: 108 of 136 nodules, 54,099 of 54,971 others: precision .1102, recall .7941, F1 .1935."""
    counts = ConfusionCounts(
        true_positives=108, false_positives=54971 - 54099, false_negatives=28, true_negatives=54099
    )
    assert [round(value, 4) for value in (counts.precision, counts.recall, counts.f1)] == [0.1102, 0.7941, 0.1935]


def test_shares_of_nothing_are_0():
    nothing = count_confusion([0, 0], [0, 0])
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)


def test_the_area_is_the_rank_statistic_ties_and_all():
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 200)
    scores = (truth + random.normal(0, 1, 200)).round(1)
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert roc(scores, truth).area == pytest.approx(auc(scores, truth), abs=1e-12)


def test_rates_at_given_thresholds():
    curve = roc([1, 2, 3, 4], [0, 1, 0, 1], thresholds=[5, 4, 2.5, 1])
    assert curve.false_positive_rate.tolist() == [0, 0, 0.5, 1]
    assert curve.true_positive_rate.tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([1, 2], [1, 1], "2 of 2 samples are positive. A ROC curve needs positives and negatives"),
        ([1, np.nan], [0, 1], "takes scores"),
        ([[1]], [1], "takes scores"),
    ],
)
def test_what_has_no_curve_is_refused(scores, truth, message):
    with pytest.raises(InputError, match=message):
        auc(scores, truth)


def test_detections_and_truth_need_one_shape():
    with pytest.raises(InputError, match=r"should have the same shape; found \(2,\) and \(1,\)"):
        count_confusion([1, 0], [1])
