"""The report's colours and shapes: one of its own for each exporter and each recipe, told apart by the colour-blind."""

import re
from itertools import combinations

import numpy as np
import pytest
from conftest import ROOT
from test_report import EAGER, measured, row

from edgekit.edge_runtime.svg import SERIES
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.report.page import render
from edgekit.optimize.report.plots import Legend
from edgekit.optimize.report.svg import MARKERS, marker_polygon

# Linear RGB as it is seen without green or red cones: Machado, Oliveira & Fernandes (2009), severity 1.0.
SEEN = {
    "by most": np.eye(3),
    "without green": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "without red": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
}
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(color: str, seen: str) -> np.ndarray:
    """CIELAB (D65) of "#rrggbb"."""
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(SEEN[seen] @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def of_the_page() -> dict[str, list[str]]:
    text = (ROOT / "optimize" / "report" / "template.html").read_text("utf-8")
    found = re.findall(r"--series\d+: (#\w{6})", text)
    return {"light": found[: len(SERIES)], "dark": found[len(SERIES) :], "plots": list(SERIES)}


@pytest.mark.parametrize("where", ["light", "dark", "plots"])
@pytest.mark.parametrize("seen", SEEN)
def test_twelve_colours_are_told_apart(where, seen):
    colors = of_the_page()[where]
    assert len(colors) == len(SERIES) == 12
    nearest = min((np.linalg.norm(lab(a, seen) - lab(b, seen)), a, b) for a, b in combinations(colors, 2))
    assert nearest[0] > 10, nearest  # 2.3 is just noticeable side by side


def test_every_exporter_has_a_colour_and_every_recipe_a_shape_of_its_own():
    rows = [EAGER, *(row(f"{exporter}-{recipe}") for exporter in EXPORTERS for recipe in RECIPES)]
    legend = Legend.of(rows, {r.name: r.name for r in rows}, "")
    assert set(legend.colors) == set(EXPORTERS)
    assert len(set(legend.colors.values())) == len(EXPORTERS)
    assert len({legend.marker(r) for r in rows}) == len(RECIPES)


def test_shapes_are_drawn_and_explained():
    text = render(measured(EAGER, row("onnx-fp32"), row("aot-fp32", ms=0.2), row("onnx-w8a8_static", size=30_000)))
    for recipe, marker in zip(("fp32", "w8a8_static"), MARKERS, strict=False):
        assert f'style="clip-path: {marker_polygon(marker)}"></i>{recipe}</span>' in text
    assert len({marker_polygon(marker) for marker in MARKERS}) == len(MARKERS)
    assert marker_polygon("s").count("%") == 2 * 5  # four corners, and back to the first
    assert re.findall(r"(?:fill|stroke): #(?!fefefe)\w{6}", text.partition("<svg")[2]) == []
