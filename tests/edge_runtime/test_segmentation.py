"""Masks: the Dice score, agreement and the answer, on masks of four pixels."""

import numpy as np
import pytest

from edgekit.edge_runtime.errors import BundleError, EngineError, InputError
from edgekit.edge_runtime.tasks.segmentation import Dice, IoU, flagged_share, pixel_agreement


def masks(*rows):
    return np.array(rows, np.float64).reshape(len(rows), 1, 2, 2)


def test_dice_is_a_mean_over_samples():
    metric = Dice()
    metric.update(masks([0.9, 0.5, 0, 0], [0, 0, 0, 0.4]), masks([1, 0, 1, 0], [0, 0, 0, 0]))
    assert (metric.value, metric.samples, metric.high) == (0.75, 2, 1)  # a half, and both empty


def test_intersection_over_union_is_a_mean_over_samples():
    said, true = np.zeros((2, 1, 1, 4)), np.zeros((2, 1, 1, 4))
    said[0, ..., :2], true[0, ..., 1:4] = 1, 1  # one of four pixels in both
    metric = IoU()
    metric.update(said, true)
    assert (metric.value, metric.samples) == ((0.25 + 1) / 2, 2)  # both empty counts 1


def test_a_nan_scores_0_and_not_1():
    metric = Dice()
    metric.update(masks([np.nan, 0, 0, 0]), masks([0, 0, 0, 0]))
    assert (metric.value, metric.low, metric.high) == (0, 0, 1)


def test_agreement_counts_pixels():
    assert pixel_agreement(masks([0.9, 0.6, 0.1, 0.1]), masks([0.6, 0.4, 0.1, np.nan])) == 0.5


def test_the_answer_is_the_share_of_flagged_pixels():
    (answer,) = flagged_share(masks([0.9, 0.6, 0.5, 0.1]), ["nodule"])
    assert answer.values == (("nodule", 0.75),)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Dice().update(masks([0] * 4), np.zeros((1, 4))),
            InputError,
            r"masks are compared as two arrays \(N, 1",
        ),
        (lambda: Dice().value, InputError, "the Dice score of 0 samples"),
        (lambda: pixel_agreement(masks(), masks()), InputError, "masks without pixels"),
        (lambda: flagged_share(np.zeros((1, 4)), ["a"]), BundleError, "Pack the bundle again"),
        (lambda: flagged_share(masks([0, 0, 0, 3]), ["a"]), EngineError, "the model answered 3 where a probability"),
    ],
)
def test_what_is_no_mask_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
