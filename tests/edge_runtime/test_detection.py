"""A detector's answer: what is kept, in which order, when two agree, what is refused, and where in a picture it is."""

import json
import math
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from tiny_bundle import PICTURE

from edgekit.edge_runtime.bundle.contract import Suppression
from edgekit.edge_runtime.errors import BundleError, EngineError, InputError
from edgekit.edge_runtime.preprocess.image import seen_area
from edgekit.edge_runtime.tasks.detection import (
    Detections,
    Found,
    detections,
    found_differ,
    overlaps,
    read_found,
    same_found,
)
from edgekit.edge_runtime.tasks.registry import read_outputs, task

BOXES = np.float32([[0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30]])  # the second overlaps the first by 0.8


def kept(scores, boxes=BOXES, **settings):
    """(label, place among the boxes) of all that is kept of one picture."""
    found = detections(np.float32(scores)[np.newaxis], np.float32(boxes)[np.newaxis], Suppression(**settings))[0]
    places = {tuple(box): place for place, box in enumerate(np.float64(np.float32(boxes)).tolist())}
    return [(int(row[0]), places[tuple(row[2:])]) for row in found.tolist() if row[0] >= 0]


def test_the_surest_of_boxes_that_overlap_too_much_is_kept():
    assert kept([[0.9], [0.8], [0.3]]) == [(0, 0), (0, 2)]
    assert kept([[0.8], [0.9], [0.3]]) == [(0, 1), (0, 2)]


@pytest.mark.parametrize(("iou_threshold", "count"), [(0.8, 2), (0.79, 1)])
def test_a_box_is_dropped_only_above_the_threshold(iou_threshold, count):
    assert len(kept([[0.9], [0.8], [0.0]], iou_threshold=iou_threshold)) == count


@pytest.mark.parametrize(("score_threshold", "count"), [(0.25, 2), (0.26, 1)])
def test_a_score_counts_from_the_threshold_on(score_threshold, count):
    assert len(kept([[0.9], [0.0], [0.25]], score_threshold=score_threshold)) == count


def test_labels_do_not_suppress_each_other():
    assert kept([[0.9, 0.0], [0.0, 0.8], [0.0, 0.0]]) == [(0, 0), (1, 1)]
    assert kept([[0.9, 0.7], [0.0, 0.0], [0.0, 0.0]]) == [(0, 0), (1, 0)]  # one place may show two


def test_of_equal_scores_the_earlier_place_comes_first_then_the_earlier_label():
    assert kept([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]) == [(0, 0), (1, 0), (0, 2), (1, 2)]
    assert kept([[0.5, 0.5], [0.6, 0.5], [0.5, 0.6]]) == [(0, 1), (1, 2), (1, 0), (0, 2)]


def test_no_more_are_kept_than_asked_for_and_unused_rows_say_so():
    assert kept([[0.9], [0.1], [0.8]], max_detections=1) == [(0, 0)]
    found = detections(np.float32([[[0.9], [0.0], [0.8]]]), BOXES[np.newaxis], Suppression(max_detections=100))
    assert found.shape == (1, 3, 6)  # there are no more boxes than that
    assert found[0, :, 0].tolist() == [0, 0, -1]


def test_scores_without_an_axis_of_labels_are_those_of_one():
    scores = np.random.default_rng(0).random((2, 3)).astype(np.float32)
    boxes = np.stack([BOXES, BOXES])
    np.testing.assert_array_equal(
        detections(scores, boxes, Suppression()), detections(scores[..., None], boxes, Suppression())
    )


def test_boxes_without_area_overlap_nothing():
    box = np.array([0.0, 0, 10, 10])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [8, 8, 2, 2], [3, 3, 3, 9]])
    assert overlaps(box, others).tolist() == [1.0, pytest.approx(1 / 3), 0.0, 0.0, 0.0]
    assert overlaps(others[3], others[3:4]).tolist() == [0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_no_answer(bad):
    scores, boxes = np.zeros((2, 3, 1)), np.stack([BOXES, BOXES])
    scores[:, 0] = 0.9
    boxes[1, 0, 2] = bad
    found = detections(scores, boxes, Suppression())
    assert np.isnan(found).all(axis=(1, 2)).tolist() == [False, True]
    assert found_differ(found, found).tolist() == [False, True]
    with pytest.raises(EngineError, match="NaN or infinity in its scores or boxes"):
        read_found(found, ["a"])
    boxes[1, 0, 2], boxes[1, 1, 2] = 10, bad  # of a place that nobody asks for
    assert not np.isnan(detections(scores, boxes, Suppression())).any()
    scores[1, 2] = bad
    assert np.isnan(detections(scores, boxes, Suppression())[1]).all()


def rows(*found):
    """(1, 4, 6) of (label, score, left, top, right, bottom)."""
    one = np.zeros((1, 4, 6))
    one[0, :, 0] = -1
    one[0, : len(found)] = np.array(found).reshape(-1, 6)
    return one


ONE = (1, 0.9, 0, 0, 10, 10)


@pytest.mark.parametrize(
    ("other", "differ"),
    [
        ([(1, 0.5, 0, 0, 10, 5)], False),  # half of it, half as sure
        ([(1, 0.9, 0, 0, 10, 4.9)], True),
        ([(1, 0.49, 0, 0, 10, 10)], True),
        ([(0, 0.9, 0, 0, 10, 10)], True),
        ([ONE, (1, 0.49, 20, 20, 30, 30)], False),  # nobody is shown the second
        ([ONE, (1, 0.51, 20, 20, 30, 30)], True),
        ([], True),
    ],
)
def test_two_answers_are_the_same_where_each_certain_box_has_a_partner(other, differ):
    assert found_differ(rows(ONE), rows(*other)).tolist() == [differ]
    assert task("detection").agreement(rows(*other), rows(ONE)) == 1 - differ


def test_one_box_is_no_partner_of_two():
    twice = rows(ONE, (1, 0.8, 0, 0, 10, 9))
    apart = rows(ONE, (1, 0.8, 20, 20, 30, 30))
    assert found_differ(twice, apart).tolist() == [True]


def test_a_model_that_finds_the_same_in_all_finds_what_it_finds_in_any():
    found = np.concatenate([rows(ONE), rows((1, 0.8, 0, 0, 10, 9), (0, 0.7, 0, 0, 10, 10))])
    same = same_found(found)
    assert same.shape == found.shape
    assert same[1, :2].tolist() == [list(map(float, ONE)), [0, 0.7, 0, 0, 10, 10]]
    assert same[0, 2:, 0].tolist() == [-1, -1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        BundleError, match=r"scores \(N, A, C\) and boxes \(N, A, 4\); found \(1, 3, 2\) and \(1, 2, 4\)"
    ):
        detections(np.zeros((1, 3, 2)), np.zeros((1, 2, 4)), Suppression())
    with pytest.raises(BundleError, match="its manifest lists 1"):
        read_found(rows(ONE), ["a"])
    with pytest.raises(EngineError, match=r"a score of 1.2 where 0 to 1"):
        read_found(rows((0, 1.2, 0, 0, 1, 1)), ["a"])
    assert read_found(rows((0, 1.004, 0, 0, 1, 1)), ["a"])[0].found[0].score == 1.0
    with pytest.raises(InputError, match="answers to the same pictures"):
        found_differ(rows(ONE), np.zeros((2, 4, 6)))


def test_scores_and_boxes_are_found_by_what_they_hold_wherever_they_stand():
    outputs = {"features": np.zeros((1, 2)), "b": BOXES[np.newaxis], "s": np.float32([[[0.9], [0.0], [0.8]]])}
    holds = {"features": "features", "b": "boxes", "s": "scores"}
    found = read_outputs(outputs, holds, task=task("detection"), suppression=Suppression(max_detections=2))
    assert found[0, :, 1].tolist() == [float(np.float32(0.9)), float(np.float32(0.8))]
    with pytest.raises(BundleError, match="which takes scores and boxes, but its outputs hold features, boxes, values"):
        read_outputs(outputs, holds | {"s": "values"}, task=task("detection"))


@pytest.mark.parametrize("settings", [{"score_threshold": -0.01}, {"iou_threshold": 1.01}, {"max_detections": 0}])
def test_a_suppression_that_is_none_is_refused(settings):
    with pytest.raises(ValueError, match=r"go from 0 to 1, found|goes from 1 to 10,000, found 0"):
        Suppression(**settings)


WHOLE = Detections(found=(Found(label="a", index=0, score=0.9, box=(-1, 2, 8, 6)),))


@pytest.mark.parametrize(
    ("resize", "size", "box"),
    [
        ("stretch", (80, 16), (0, 4, 80, 12)),
        ("resize_crop", (80, 16), (30, 4, 48, 12)),  # the middle 16 of 80, each pixel of the input two of its
        ("resize_crop", (8, 8), (0, 2, 8, 6)),  # as it is
        ("resize_center_crop", (80, 16), (30, 4, 48, 12)),
    ],
)
def test_boxes_are_moved_to_the_picture_as_it_is(resize, size, box):
    contract = replace(PICTURE, resize=resize)
    placed = WHOLE.placed(seen_area(size, contract), (8, 8), size)
    assert placed.found[0].box == pytest.approx(box)


def test_a_reader_in_javascript_that_knows_the_page_alone_finds_the_same():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    draw = np.random.default_rng(0)
    corners = draw.integers(0, 40, (60, 2))
    boxes = np.concatenate([corners, corners + draw.integers(5, 20, (60, 2))], axis=1).astype(np.float32) * 1.1
    scores = (draw.integers(0, 20, (60, 3)) / 19).astype(np.float32)  # full of ties
    settings = {"score_threshold": 0.3, "iou_threshold": 0.4, "max_detections": 40}
    asked = {"scores": scores.astype(float).tolist(), "boxes": boxes.astype(float).tolist(), "suppression": settings}
    reader = [node, ROOT / "tests" / "readers" / "detections.mjs"]
    done = subprocess.run(reader, input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60)
    found = detections(scores[np.newaxis], boxes[np.newaxis], Suppression(**settings))[0]
    assert json.loads(done.stdout) == found[found[:, 0] >= 0].tolist()
    assert 30 < len(json.loads(done.stdout)) <= 40
