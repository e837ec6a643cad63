"""Chapter 1's point as a measurement: hand-made features against learned ones, on the same pictures.

`digits_features` and `digits_cnn` both end in one linear layer; they differ in where its inputs come from. This reads
two finished runs, measures their weights again, and draws the comparison; it trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import MissingDependency, UsageError
from edgekit.edge_runtime.files import write_atomically
from edgekit.edge_runtime.format import percent_text
from edgekit.edge_runtime.tasks.metrics import Accuracy
from edgekit.train.book_model import BookModel
from edgekit.train.checkpoint import WEIGHTS_FILE, load_weights, read_run
from edgekit.train.data.digit_features import FEATURES, edges, hole_labels, holes
from edgekit.train.loop.epoch import on_device
from edgekit.train.models import digits_cnn, digits_features

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = (0, 4, 8, 9)  # the first picture of each; at 8 x 8 pixels a hole is easily lost, as the plot shows
_HAND, _LEARNED, _INK = "#b4541a", "#1f6f8b", "#3a3a3a"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two models."""

    model: str
    """Its name."""
    seed: int
    """Of the run."""
    features: int
    """Inputs of its last layer."""
    parameters: int
    """Of the whole model."""
    accuracy: float
    """On the validation split."""
    low: float
    """The lower end of its 95 % interval."""
    high: float
    """The upper end."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on the same pictures."""

    samples: int
    """How many pictures."""
    hand_made: Side
    """The model on hand-made features."""
    learned: Side
    """The model on learned features."""
    both_right: int
    """Pictures that both get right."""
    only_hand_made: int
    """Pictures that only the model on hand-made features gets right."""
    only_learned: int
    """Pictures that only the model on learned features gets right."""
    neither: int
    """Pictures that neither gets right."""


def compare(hand_made: Path, learned: Path) -> Comparison:
    """Measures a finished run of `digits_features` and one of `digits_cnn`.

    Raises:
        UsageError: a run is of another model.
        EdgekitError: a run is unfinished or damaged.
    """
    by_hand, by_hand_right = _measured(digits_features.MODEL, hand_made, features=len(FEATURES))
    by_net, by_net_right = _measured(digits_cnn.MODEL, learned, features=digits_cnn.DigitsCNN().fc2.in_features)
    return Comparison(
        samples=len(by_net_right),
        hand_made=by_hand,
        learned=by_net,
        both_right=int((by_hand_right & by_net_right).sum()),
        only_hand_made=int((by_hand_right & ~by_net_right).sum()),
        only_learned=int((~by_hand_right & by_net_right).sum()),
        neither=int((~by_hand_right & ~by_net_right).sum()),
    )


def _measured(model: BookModel, folder: Path, *, features: int) -> tuple[Side, np.ndarray]:
    """The model's side, and (N,) bool: which validation pictures, in the data set's order, it gets right."""
    record = read_run(folder)
    if record.model != model.name:
        raise UsageError(f"{folder} is a run of {record.model}, not of {model.name}")
    module = model.build().eval()
    load_weights(module, folder / WEIGHTS_FILE)
    inputs, targets = on_device(model, model.data().validation, "cpu")
    with torch.inference_mode():
        answers = module(inputs).numpy()
    metric = Accuracy()
    metric.update(answers, targets.numpy())
    side = Side(
        model=model.name,
        seed=record.config.seed,
        features=features,
        parameters=record.parameters,
        accuracy=metric.value,
        low=metric.low,
        high=metric.high,
    )
    return side, answers.argmax(axis=1) == targets.numpy()


def draw(path: Path, comparison: Comparison) -> None:
    """Draws what the hand-made features see in four digits, and both accuracies with their intervals; PNG or SVG.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingDependency(f"drawing needs matplotlib, which is not installed. Run: {install('train')}") from None
    page = Figure(figsize=(9, 3.4), dpi=150, layout="constrained")
    pictures, accuracies = page.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.1))[0]
    pictures.suptitle("what the features see: edge directions and holes", fontsize=10)
    split = digits_cnn.MODEL.data().validation
    shown = [split.inputs[split.targets == digit][0, :, :, 0] / 255 for digit in EXAMPLES]
    for axes, digit, gray in zip(pictures.subplots(2, 2).flat, EXAMPLES, shown, strict=True):
        count = int(holes(gray[np.newaxis])[0][0])
        axes.set_title(f"{digit}: {count} hole{'' if count == 1 else 's'}", fontsize=9, color=_INK)
        _draw_features(axes, gray)
    _draw_accuracies(accuracies.subplots(), comparison)
    with write_atomically(path) as part:
        svg = path.suffix == ".svg"  # without a date, so that the same comparison gives the same file
        page.savefig(part, format=path.suffix[1:], metadata={"Date": None} if svg else None)


def _draw_features(axes: Axes, gray: np.ndarray) -> None:
    """One picture (H, W) in 0..1: its strongest edges as arrows towards the brighter side, its holes filled."""
    height, width = gray.shape
    around = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(gray, cmap="gray_r", vmax=2, extent=around)
    filled = hole_labels(gray[np.newaxis])[0] > 0
    axes.imshow(np.where(filled, 1.0, np.nan), cmap="autumn", alpha=0.75, extent=around, interpolation="nearest")
    strength, direction = (part[0] for part in edges(gray[np.newaxis]))
    rows, columns = np.nonzero(strength > 0.4 * strength.max())
    angle = direction[rows, columns] * (np.pi / 4)
    axes.quiver(
        columns, rows, np.cos(angle), np.sin(angle), angles="xy", color=_LEARNED, pivot="mid", scale=14, width=0.012
    )
    axes.set_axis_off()


def _draw_accuracies(axes: Axes, comparison: Comparison) -> None:
    sides = ((comparison.learned, "learned", _LEARNED), (comparison.hand_made, "made by hand", _HAND))
    for y, (side, name, colour) in enumerate(sides):
        spread = [[side.accuracy - side.low], [side.high - side.accuracy]]
        axes.errorbar(side.accuracy, y, xerr=spread, fmt="o", color=colour, markersize=9, capsize=5, linewidth=2)
        accuracy = percent_text(side.accuracy)
        label = f"{side.features} features {name}, then linear\n{accuracy}, {side.parameters:,} parameters"
        axes.annotate(
            label, (side.accuracy, y), (0, 14), textcoords="offset points", ha="center", fontsize=9, color=_INK
        )
    axes.set_ylim(-0.6, 1.9)
    axes.set_yticks([])
    axes.spines[["left", "top", "right"]].set_visible(False)
    lowest = min(side.low for side, _, _ in sides)
    axes.set_xlim(lowest - 0.4 * (1 - lowest), 1 + 0.35 * (1 - lowest))
    axes.set_xticks([tick for tick in axes.get_xticks() if lowest - 0.4 * (1 - lowest) <= tick <= 1.001])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"accuracy on {comparison.samples} digits, 95 % interval", fontsize=9)
