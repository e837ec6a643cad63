"""The page and the curves of `run.py`, from its results alone. Nothing here trains or reads scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from edgekit.edge_runtime.files import write_bytes
from edgekit.train.reproduction.plots import BOOK, LOOK, TRAIN, VALIDATION, svg
from experiments.luna_lessons.runs import SIZES

PAGE, CURVES = "LUNA_LESSONS.md", "images/luna-lessons.svg"
_COLORS = {"unbalanced": BOOK, "balanced": TRAIN, "augmented": VALIDATION, "segmentation": VALIDATION}
_FIGURES = {"f1": "F1", "dice": "Dice"}
_NAMES = {
    "diameter": "diameter alone",
    "all-nodules": "nodule or not, before fine-tuning",
    "head": "head fine-tuned",
    "head-and-block": "head and last block fine-tuned",
}


def write(result: dict[str, Any], docs: Path, *, source: Path) -> list[Path]:
    """Writes page and curves into `docs` and returns their paths; `source` is the file with the results."""
    files = {docs / PAGE: page(result, source).encode(), docs / CURVES: curves(result)}
    for path, content in files.items():
        write_bytes(path, content)
    return list(files)


def page(result: dict[str, Any], source: Path) -> str:
    """Markdown. Each verdict follows from the figures beside it, and holds if it does with every seed."""
    seeds = list(result["seeds"].values())
    first = seeds[0]
    runs, malignancy = first["runs"], first["malignancy"]
    config = runs["balanced"]["config"]
    count = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    device = "cpu" if source.stem.endswith("cpu") else "cuda"
    on = "" if device == "cpu" else f" --device {device}"
    if tuple(map(int, result["seeds"])) != SIZES[device].seeds:
        on += " --seeds " + " ".join(result["seeds"])
    lines = [
        "# What chapters 11 to 14 teach, on synthetic scans",
        "",
        f"Measured on {result['scans']} **SYNTHETIC** scans, which were computed and show no patient: that the code",
        "learns what it should is shown here, and nothing about patients. Written from",
        f"`results/{source.name}`, like it by one command, which goes on where it was interrupted:",
        "",
        "```sh",
        f"python -m experiments.luna_lessons.run{on}",
        "```",
        "",
        f"With {count}, Adam, and some thousand crops, where the book has SGD and millions, on {result['device']}.",
        "All figures are those of the last epoch on validation scans, none picked by looking at them; where there are",
        "several, they are those of the seeds, in order, and a lesson is shown where it is with each.",
        "",
        "| chapter | lesson | measured | shown |",
        "| --- | --- | --- | --- |",
        *_rows(seeds),
        "",
        f"- The first three runs see the same {runs['balanced']['train_samples']:,} candidates, of which "
        f"{first['gaps']['balanced']['train_nodules']:,} are nodules, and draw "
        f"{config['epoch_samples'] * config['epochs']:,} crops.",
        f"  {first['gaps']['balanced']['validation_nodules']} nodules are held out.",
        f"- Recall on nodules trained on and on those held out: without augmentation {_sides(seeds, 'balanced')}; with",
        f"  it {_sides(seeds, 'augmented')}.",
        "- The U-Net is validated on crops of 96 x 96 around nodules, as it is trained. It counts as shown where",
        "  recall is above 0.9 and Dice above 0.5: a net that flags every pixel has recall 1.",
        f"- Fine-tuning begins with a classifier of all {runs['all-nodules']['train_samples']:,} candidates, balanced "
        "and augmented.",
        "  Malignant nodules have a ragged surface and are mottled inside, and are only somewhat larger. The table has",
        "  how that classifier's own margin, nodule or not, ranks them: below 0.5, a ragged nodule is less of a nodule",
        "  to it, and the head alone has that to unlearn. In the book it does not beat the diameter (0.888, 0.901).",
        f"  {malignancy['malignant']} malignant and {malignancy['benign']} benign ones are held out.",
        "",
        "| seed | score | AUC | 95 % interval | lead on the diameter, 95 % interval |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for seed, shown in result["seeds"].items():
        scores = shown["malignancy"]["scores"]
        for name, score in ((name, scores[name]) for name in _NAMES if name in scores):
            low, high = score["interval"]
            lead = "" if name == "diameter" else "{:+.3f} – {:+.3f}".format(*score["lead_interval"])
            lines.append(f"| {seed} | {_NAMES[name]} | {score['auc']:.3f} | {low:.3f} – {high:.3f} | {lead} |")
    lines += ["", "Intervals: nodules drawn again 2,000 times, the same ones for both scores.", ""]
    lines += [f"![Validation recall, precision and area over the epochs, first seed]({CURVES})", ""]
    return "\n".join(lines)


def _rows(seeds: list[dict[str, Any]]) -> list[str]:
    def last(run: str, figure: str) -> list[float]:
        return [seed["runs"][run]["validation"][-1][figure] for seed in seeds]

    def figures(run: str, *names: str) -> str:
        return ", ".join(f"{_FIGURES.get(name, name)} {_each(last(run, name))}" for name in names)

    plain, turned = (_gaps(seeds, name) for name in ("balanced", "augmented"))
    lowered = all(with_it < without for with_it, without in zip(turned, plain, strict=True))
    segmented = zip(last("segmentation", "recall"), last("segmentation", "dice"), strict=True)
    rows = [
        (
            "11",
            "trained on candidates as they come, a net calls nothing a nodule",
            figures("unbalanced", "recall", "accuracy"),
            _shown(not any(last("unbalanced", "recall"))),
        ),
        (
            "12",
            "balanced, it finds nodules",
            figures("balanced", "recall", "precision", "f1"),
            _shown(all(last("balanced", "recall"))),
        ),
        (
            "12",
            "augmentation lowers overfitting",
            f"loss on nodules, held out less trained on: {_each(plain)} without, {_each(turned)} with",
            _shown(lowered),
        ),
        (
            "13",
            "the U-Net finds nodule pixels",
            figures("segmentation", "recall", "precision", "dice"),
            _shown(all(recall > 0.9 and dice > 0.5 for recall, dice in segmented)),
        ),
    ]
    for name in ("head", "head-and-block"):
        scores = [seed["malignancy"]["scores"] for seed in seeds]
        measured = f"AUC {_each([one[name]['auc'] for one in scores])} against {scores[0]['diameter']['auc']:.3f}"
        rows.append(("14", f"{_NAMES[name]}: better than the diameter", measured, _lead(scores, name)))
    return [f"| {' | '.join(row)} |" for row in rows]


def _gaps(seeds: list[dict[str, Any]], name: str) -> list[float]:
    return [seed["gaps"][name]["validation_loss"] - seed["gaps"][name]["train_loss"] for seed in seeds]


def _sides(seeds: list[dict[str, Any]], name: str) -> str:
    return " and ".join(
        _each([seed["gaps"][name][f"{side}_recall"] for seed in seeds]) for side in ("train", "validation")
    )


def _each(values: list[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in values)


def curves(result: dict[str, Any]) -> bytes:
    """Of the first seed, over the epochs: recall of the classifiers, recall and precision of the U-Net, AUCs."""
    first = next(iter(result["seeds"].values()))
    runs = first["runs"]
    with mpl.rc_context(LOOK):
        drawn = Figure(figsize=(8.4, 2.8), layout="constrained")
        left, middle, right = drawn.subplots(1, 3)
        for name in ("unbalanced", "balanced", "augmented"):
            left.plot(*_curve(runs[name], "recall"), color=_COLORS[name], marker=".", label=name)
        left.set_title("nodules found", fontsize=9)
        for figure, color in (("recall", VALIDATION), ("precision", TRAIN)):
            middle.plot(*_curve(runs["segmentation"], figure), color=color, marker=".", label=figure)
        middle.set_title("nodule pixels found", fontsize=9)
        for name, color in (("head", TRAIN), ("head-and-block", VALIDATION)):
            right.plot(*_curve(runs[name], "auc"), color=color, marker=".", label=_NAMES[name])
        area = first["malignancy"]["scores"]["diameter"]["auc"]
        right.axhline(area, color=BOOK, linestyle="--", linewidth=1, label=_NAMES["diameter"])
        right.set_title("malignant or not: AUC", fontsize=9)
        for axes in (left, middle):
            axes.set_ylim(-0.03, 1.03)
        for axes in (left, middle, right):
            axes.set_xlabel("epoch")
            axes.legend(loc="lower right", frameon=False, fontsize=7)
        return svg(drawn)


def _curve(run: dict[str, Any], figure: str) -> tuple[list[int], list[float]]:
    values = [epoch[figure] for epoch in run["validation"]]
    return list(range(1, len(values) + 1)), values


def _shown(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _lead(scores: list[dict[str, Any]], name: str) -> str:
    if all(one[name]["lead_interval"][0] > 0 for one in scores):
        return "yes"
    if all(one[name]["auc"] > one["diameter"]["auc"] for one in scores):
        return "higher, within the noise of so few nodules"
    return "**no**"
