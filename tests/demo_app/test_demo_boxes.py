"""The demo of a detector: boxes over the picture on both sides, and the pictures in which the two differ."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from detector_bundle import make_detector_bundle
from small_detector import SIDE, blocks
from streamlit.testing.v1 import AppTest

import edgekit.demo_app.app
from edgekit.demo_app import boxes_html, cached
from edgekit.edge_runtime.tasks.detection import Detections, Found

APP = Path(edgekit.demo_app.app.__file__)
FIRST = [row for row in blocks(8)[1][0].tolist() if row[0] >= 0]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The full model, and one that is unsure of all but the brightest blocks."""
    folder, patch = tmp_path_factory.mktemp("detectors"), pytest.MonkeyPatch()
    make_detector_bundle(folder)
    make_detector_bundle(folder, name="blocks-onnx-w8a8_static", bias=-17.0)
    patch.setattr(sys, "argv", [str(APP), str(folder)])
    at = AppTest.from_file(APP, default_timeout=60).run()
    yield at
    patch.undo()
    cached._runner.clear()
    cached.open_bundle.clear()


def test_both_sides_show_their_boxes(page):
    assert [error.message for error in page.exception] == []
    sides = [element.body for element in page.html if 'data-testid="boxes"' in element.body]
    assert [re.search(r"ek-card ek-(\w+)", side)[1] for side in sides] == ["left", "right"]
    assert sides[0].count("ek-frame") == len(FIRST)
    x, y = FIRST[0][2] / SIDE * 100, FIRST[0][3] / SIDE * 100
    assert f"left:{x:.2f}%;top:{y:.2f}%;width:25.00%;height:25.00%" in sides[0]


def test_the_pictures_that_differ_are_counted_and_shown(page):
    figures = {metric.label: metric.value for metric in page.metric}
    agreed = int(figures["Agree"].split()[0])
    assert agreed < 8
    assert int(figures["Boxes, left"]) > int(figures["Boxes, right"])
    (gallery,) = [element.body for element in page.html if "ek-tile ek-pair" in element.body]
    assert gallery.count('data-testid="tile"') == min(5, 8 - agreed)


def test_labels_are_escaped_and_boxes_stay_in_the_picture():
    found = Found(label="<img src=x>", index=0, score=0.9, box=(-4.0, 2.0, 20.0, 6.0))
    faint = Found(label="b", index=1, score=0.4, box=(0.0, 0.0, 1.0, 1.0))
    drawn = boxes_html.drawn(np.zeros((1, 8, 8, 1), np.uint8), Detections(found=(found, faint)))
    assert "<img src=x>" not in drawn
    assert "&lt;img src=x&gt;" in drawn
    assert "left:0.00%;top:25.00%;width:100.00%;height:50.00%" in drawn
    assert "1 box below 50 %" in drawn
    assert drawn.count("ek-frame") == 1
    assert "nothing found" in boxes_html.drawn(None, Detections(found=()))
    assert "Both find nothing" in boxes_html.verdict(Detections(found=()), Detections(found=()), same=True)
    one = Detections(found=(found,))
    assert "They disagree: 1 box against 0 boxes" in boxes_html.verdict(one, Detections(found=()), same=False)
