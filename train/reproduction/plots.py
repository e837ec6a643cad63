"""The plots of the reproduction report, as SVG: the designs of chapter 8 side by side, losses over the epochs.

The same results give the same bytes. Nothing here reads a file or knows the page.
"""

from __future__ import annotations

import io
import math
import statistics
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgekit.edge_runtime.decode import decode
from edgekit.edge_runtime.temporary import temporary_folder
from edgekit.train.reproduction import representation

Results = dict[str, Any]
# Okabe and Ito's colours, which colour-blind readers can tell apart, also in grey.
TRAIN, VALIDATION, BOOK = "#56b4e9", "#0072b2", "#d55e00"
LOOK: dict[Any, Any] = {
    "svg.hashsalt": "edgekit",  # without it the ids inside are random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_all(results: Results) -> dict[str, tuple[str, bytes]]:
    """All plots of one chapter's results: {name: (alternative text, SVG)}."""
    stem, device = f"reproduction-{results['chapter']}-{results['device']}", results["device"]
    drawn = {}
    with mpl.rc_context(LOOK):
        designs = results["models"] if any(entry["book"]["figure_8_13"] for entry in results["models"]) else []
        if designs:
            alt = f"Accuracy of chapter 8's designs on {device}, from 0.8 up: bars ours, marks the book's"
            drawn[f"{stem}-designs"] = (alt, svg(_designs(designs)))
        if curves := designs or [entry for entry in results["models"] if entry["training_loss"]]:
            alt = f"Training losses on {device}: lines ours, one a seed; points the book's"
            drawn[f"{stem}-losses"] = (alt, svg(_losses(curves)))
        if curve := results.get("roc"):
            alt = "ROC curve of malignancy by diameter alone: the line ours, points the book's"
            drawn[f"{stem}-roc"] = (alt, svg(_roc(curve)))
        if sides := results["representation"]:
            alt = "Hand-made features drawn over four digits, and the accuracy of either representation"
            drawn[f"{stem}-representation"] = (alt, _representation(sides))
    return drawn


def _designs(entries: list[Results]) -> Figure:
    """Figure 8.13 again: two bars a design, with whiskers for the spread over seeds, and the book's bars as marks.

    A design that the book did not train has only our bars.
    """
    page = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = page.subplots()
    for offset, split, color in ((-0.2, "train", TRAIN), (0.2, "validation", VALIDATION)):
        values = [[run[split] for run in entry["ours"]["runs"]] for entry in entries]
        axes.bar(
            [i + offset for i in range(len(entries))],
            [statistics.mean(runs) for runs in values],
            yerr=[statistics.stdev(runs) if len(runs) > 1 else math.nan for runs in values],
            width=0.38,
            color=color,
            capsize=3,
            error_kw={"linewidth": 1},
            label=f"ours, {split}",
        )
        drawn = [entry["book"]["figure_8_13"] or (math.nan, math.nan) for entry in entries]
        book = [bars[split == "validation"] for bars in drawn]
        axes.plot(
            [i + offset for i in range(len(entries))],
            book,
            linestyle="",
            marker="_",
            markersize=17,
            markeredgewidth=2,
            color=BOOK,
            label="the book's" if split == "train" else None,
        )
    axes.set_ylim(0.8, 1.005)
    axes.set_ylabel("accuracy")
    axes.set_xticks(range(len(entries)), [_short(entry["model"]).replace(" ", "\n") for entry in entries])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return page


def _losses(entries: list[Results]) -> Figure:
    """A small plot for each model: our loss over the epochs, a line a seed, and the points that the book prints."""
    columns = min(4, len(entries))
    rows = -(-len(entries) // columns)
    page = Figure(figsize=(1.9 * columns if columns > 1 else 4, 1.9 * rows + 0.3), layout="constrained")
    grid = page.subplots(rows, columns, squeeze=False)
    for axes, entry in zip(grid.flat, entries, strict=False):
        _loss(axes, entry)
    for axes in list(grid.flat)[len(entries) :]:
        axes.set_axis_off()
    page.supxlabel("epoch", fontsize=9)
    page.supylabel("training loss", fontsize=9)
    return page


def _loss(axes: Axes, entry: Results) -> None:
    for run in entry["ours"]["runs"]:
        axes.plot(entry["loss_epochs"], run["losses"], color=VALIDATION, linewidth=0.8)
    points = entry["training_loss"]
    axes.plot([p["epoch"] for p in points], [p["book"] for p in points], "o", color=BOOK, markersize=3)
    axes.set_title(_short(entry["model"]), fontsize=9)
    if max(losses := entry["ours"]["runs"][0]["losses"]) > 20 * min(losses):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _roc(curve: Results) -> Figure:
    """True against false positive rate, with the two points that the book prints."""
    page = Figure(figsize=(4, 3.8), layout="constrained")
    axes = page.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--", label="by chance")
    label = f"diameter, ours: area {curve['area']:.3f}"
    axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=VALIDATION, label=label)
    axes.plot(*zip(*curve["book_points"], strict=True), "o", color=BOOK, markersize=5, label="diameter, the book's")
    axes.set_xlabel("false positive rate: benign nodules called malignant")
    axes.set_ylabel("true positive rate")
    axes.legend(loc="lower right", frameon=False)
    return page


def _representation(sides: Results) -> bytes:
    with temporary_folder() as folder:
        path = folder / "representation.svg"
        representation.draw(path, decode(representation.Comparison, sides))
        return path.read_bytes()


def _short(name: str) -> str:
    """`birds_cnn_width` as "width"; chapter 8's first net is its baseline."""
    return name.removeprefix("birds_cnn").removeprefix("_").replace("_", " ") or "baseline"


def svg(page: Figure) -> bytes:
    buffer = io.BytesIO()
    page.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
