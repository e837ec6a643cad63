"""Chapter 1's hand-made features: right on pictures drawn by hand, and measured against learned ones."""

import numpy as np
import pytest
import torch

from edgekit.edge_runtime.errors import UsageError
from edgekit.train.data.digit_features import (
    DIRECTIONS,
    FEATURES,
    digit_features,
    edge_shares,
    features,
    hole_labels,
    holes,
)
from edgekit.train.data.digits import digits
from edgekit.train.loop.epoch import on_device
from edgekit.train.loop.fit import fit
from edgekit.train.models import digits_cnn, digits_features
from edgekit.train.reproduction.representation import compare, draw


def drawn(*rows: str) -> np.ndarray:
    """A picture (1, H, W) in 0..1 from lines of '#' for ink."""
    return np.array([[[1.0 if c == "#" else 0.0 for c in row] for row in rows]])


ZERO = drawn("........", "..####..", ".##..##.", ".##..##.", ".##..##.", ".##..##.", "..####..", "........")
EIGHT = drawn("..####..", ".#....#.", ".#....#.", "..####..", ".#....#.", ".#....#.", ".#....#.", "..####..")
OPEN = drawn("..####..", ".##..##.", ".##..##.", ".##..##.", ".##..##.", ".##..##.", ".##..##.", ".##..##.")
BLANK = np.zeros((1, 8, 8))


@pytest.fixture(scope="module")
def data():
    return digit_features()


@pytest.mark.parametrize(("picture", "count"), [(ZERO, 1), (EIGHT, 2), (OPEN, 0), (BLANK, 0)])
def test_holes_are_counted(picture, count):
    assert holes(picture)[0].tolist() == [count]


def test_holes_of_neighbouring_pictures_are_not_one():
    count, area, height = holes(np.concatenate([ZERO, ZERO, EIGHT]))
    assert count.tolist() == [1, 1, 2]
    assert area[0] == area[1]
    assert height[:2].tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_height_of_a_hole_tells_nine_from_six():
    nine = drawn("..####..", ".#....#.", ".#....#.", "..#####.", "......#.", "......#.", "......#.", "......#.")
    heights = [holes(picture)[2][0] for picture in (nine, nine[:, ::-1])]
    assert heights[0] < 0.3
    assert heights[1] == pytest.approx(1 - heights[0])


def test_a_hole_that_touches_the_border_is_open():
    assert hole_labels(drawn("#.#.....", "#.#.....", "###.....", *["........"] * 5)).max() == 0


def test_edges_point_to_where_it_gets_brighter():
    step = np.zeros((1, 8, 8))
    step[:, :, 3:] = 1
    for turns, direction in ((0, "right"), (1, "up"), (2, "left"), (3, "down")):
        shares = edge_shares(np.rot90(step, turns, axes=(1, 2))).reshape(4, len(DIRECTIONS)).sum(axis=0)
        inner = DIRECTIONS.index(direction)
        assert shares.sum() == pytest.approx(1)
        assert shares[inner] == max(shares)


def test_a_blank_picture_has_no_edges():
    assert edge_shares(BLANK).tolist() == [[0.0] * 32]


def test_the_columns_are_the_named_features(data):
    assert len(FEATURES) == 36
    assert data.train.inputs.shape == (899, 36)
    assert data.train.inputs.dtype == np.float32
    assert FEATURES[8] == "edges right, top right"
    assert features((ZERO * 255).astype(np.uint8)[..., np.newaxis])[0, FEATURES.index("holes")] == 1


def test_the_split_is_that_of_the_pictures(data):
    pictures = digits()
    for part in ("train", "calibration", "validation"):
        assert np.array_equal(getattr(data, part).targets, getattr(pictures, part).targets)


def test_the_constants_are_those_of_the_training_split(data):
    inputs, _ = on_device(digits_features.MODEL, data.train, "cpu")
    assert float(inputs.mean(dim=0).abs().max()) < 0.01
    assert float((inputs.std(dim=0) - 1).abs().max()) < 0.01


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Both models trained as registered: four seconds together."""
    folder = tmp_path_factory.mktemp("runs")
    for model in (digits_features.MODEL, digits_cnn.MODEL):
        fit(model, folder / model.name, device="cpu")
    return folder / "digits_features", folder / "digits_cnn"


def test_the_learned_representation_is_better_on_the_same_pictures(runs, tmp_path):
    found = compare(*runs)
    by_hand, by_net = found.hand_made, found.learned
    assert (found.samples, by_hand.features, by_net.features) == (719, 36, 64)
    assert (by_hand.parameters, by_net.parameters) == (370, 23_114)
    assert by_hand.accuracy >= digits_features.MODEL.target.value
    assert by_hand.high < by_net.low  # the intervals do not even touch
    assert found.both_right + found.only_hand_made + found.only_learned + found.neither == 719
    assert found.both_right + found.only_learned == round(by_net.accuracy * 719)
    draw(tmp_path / "digits.png", found)
    assert (tmp_path / "digits.png").read_bytes()[1:4] == b"PNG"


def test_runs_of_other_models_are_not_compared(runs):
    with pytest.raises(UsageError, match="is a run of digits_cnn, not of digits_features"):
        compare(runs[1], runs[0])


def test_the_classifier_is_one_linear_layer():
    module = digits_features.MODEL.build()
    assert sum(p.numel() for p in module.parameters()) == 370
    assert torch.equal(module(torch.zeros(1, 36))[0], module.classify.bias)
