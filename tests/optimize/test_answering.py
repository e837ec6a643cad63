"""Which task outputs and true answers make together, what stands behind the outputs, and how the truth is written."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.optimize.user_model.answering import answering, checked_metric, shown_metric


def found(shape, targets=None, *, asked="", known=False, labels=0, probe=None):
    first = torch.linspace(-2, 2, int(np.prod(shape))).reshape(shape)
    return answering(first, targets, asked=asked, classes_known=known, labels=labels, probe=probe, name="output")


N = np.arange(6)


@pytest.mark.parametrize(
    ("shape", "targets", "task", "holds", "name"),
    [
        ((1, 3), N % 3, "classification", None, "probabilities"),
        ((1, 7, 5), np.zeros((6, 7), np.int64), "classification", "token_probabilities", "probabilities"),
        ((1, 5, 4, 4), np.full((6, 4, 4), -100), "classification", None, "probabilities"),
        ((1, 3), np.eye(3)[N % 3], "classification", None, "probabilities"),
        ((1, 3), np.tile([1, 1, 0], (6, 1)), "multi_label", None, "probabilities"),
        ((1, 1), N % 2, "multi_label", None, "probabilities"),
        ((1,), N % 2 == 0, "multi_label", None, "probabilities"),
        ((1, 1), N / 7, "regression", None, "prediction"),
        ((1,), N / 7, "regression", None, "prediction"),
        ((1, 2), np.stack([N / 3, N], 1), "regression", None, "prediction"),
        ((1, 1, 4, 4), np.ones((6, 4, 4), np.uint8), "segmentation", None, "mask"),
        ((1, 1, 4, 4), np.full((6, 1, 4, 4), 0.3), "none", None, "output"),
        ((1, 9, 2), np.full((6, 9, 2), 0.3), "none", None, "output"),
    ],
)
def test_the_task_follows_from_outputs_and_truth(shape, targets, task, holds, name):
    one = found(shape, targets)
    assert (one.task, one.holds, one.output) == (task, holds, name)
    places = one.targets.shape[1:] if task == "classification" else one.shape[1:]
    assert (one.targets.shape, one.targets.dtype.kind) == ((6, *places), "i" if task == "classification" else "f")


def test_without_truth_only_known_classes_make_a_classification():
    assert found((1, 3), known=True).task == "classification"
    assert found((1, 3)).task == "none"
    assert found((1, 3, 4, 4), known=True).task == "none"


def test_classes_lie_along_axis_1_of_pixels_and_the_last_one_of_tokens():
    tokens, pixels = found((1, 5, 5), np.zeros((6, 5), np.int64)), found((1, 3, 4, 4), np.zeros((6, 4, 4), np.int64))
    assert (tokens.head.dim, tokens.count) == (-1, 5)
    assert (pixels.head.dim, pixels.count) == (1, 3)
    assert found((1, 4, 6), asked="classification", labels=4).head.dim == 1


def test_a_head_is_put_behind_logits_alone():
    rows = torch.softmax(torch.randn(8, 3), -1)
    assert isinstance(found((1, 3), N % 3, probe=rows).head, nn.Identity)
    assert isinstance(found((1, 3), N % 3, probe=rows * 2).head, nn.Softmax)
    assert isinstance(found((1, 1), N % 2, probe=torch.rand(8, 1)).head, nn.Identity)
    assert isinstance(found((1, 1), N % 2, probe=torch.randn(32, 1)).head, nn.Sigmoid)


def test_a_single_number_without_an_axis_gets_one():
    one = found((1,), N % 2, probe=torch.tensor([-3.0, 2.0]))
    assert one.head(torch.tensor([0.0])).tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("shape", "targets", "asked", "message"),
    [
        ((1, 3), np.zeros((6, 2)), "", r"fit no task. Give class indices \(N,\) from 0 to 2, or numbers \(N, 3\)"),
        ((1, 3), np.full(6, 3), "classification", "no score of each class"),
        ((1, 1), None, "classification", "needs 2 or more outputs"),
        ((1, 3), np.tile([1, 1, 0], (6, 1)), "classification", "Use --task multi_label"),
        ((1, 3), np.full((6, 3), 2), "multi_label", "targets of 0 and 1"),
        ((1, 2, 4, 4), None, "segmentation", "needs one mask"),
        ((1, 3), np.zeros((6, 2)), "regression", "needs 3 true numbers a sample"),
        ((1, 3), np.zeros((6, 2)), "none", "compared number by number"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(shape, targets, asked, message):
    with pytest.raises(EdgekitError, match=message):
        found(shape, targets, asked=asked)


def test_a_metric_is_one_of_the_task():
    masks = found((1, 1, 4, 4), np.ones((6, 4, 4), np.uint8))
    assert (checked_metric("iou", masks), shown_metric("iou")) == ("iou", "iou")
    with pytest.raises(
        EdgekitError, match="--metric auc does not fit this model, whose task is classification. Known: acc"
    ):
        checked_metric("auc", found((1, 3), N % 3))
    assert checked_metric("auc", found((1, 2), N % 2)) == "auc"
