"""The page and the curves of `luna_lessons.py`, from its results alone. Nothing here trains or reads scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from edge_runtime.files import write_bytes
from train.reproduction_plots import BOOK, LOOK, TRAIN, VALIDATION, svg

PAGE, CURVES = "LUNA_LESSONS.md", "images/luna-lessons.svg"
_COLORS = {"unbalanced": BOOK, "balanced": TRAIN, "augmented": VALIDATION, "segmentation": VALIDATION}
_NAMES = {"diameter": "diameter alone", "head": "head fine-tuned", "head-and-block": "head and last block fine-tuned"}


def write(result: dict[str, Any], docs: Path) -> list[Path]:
    """Writes page and curves into `docs` and returns their paths."""
    files = {docs / PAGE: page(result).encode(), docs / CURVES: curves(result)}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return list(files)


def page(result: dict[str, Any]) -> str:
    """Markdown; each verdict follows from the figures beside it."""
    runs, gaps, malignancy = result["runs"], result["gaps"], result["malignancy"]
    last = {name: run["validation"][-1] for name, run in runs.items()}
    plain, turned = gaps["balanced"], gaps["augmented"]
    gap = {name: sides["validation_loss"] - sides["train_loss"] for name, sides in gaps.items()}
    scores = malignancy["scores"]
    crops = runs["balanced"]["config"]["epoch_samples"] * runs["balanced"]["config"]["epochs"]
    lines = [
        "# What chapters 11 to 14 teach, on synthetic scans",
        "",
        f"Measured on {result['scans']} **SYNTHETIC** scans, which were computed and show no patient: that the code",
        "learns what it should is shown here, and nothing about patients. Written from",
        "`results/luna-synthetic-cpu.json`, like it by one command, which goes on where it was interrupted:",
        "",
        "```sh",
        "python -m train.luna_lessons",
        "```",
        "",
        "Small for a CPU: one seed, Adam, and a few thousand crops, where the book has SGD and millions. All figures",
        "are those of the last epoch on validation scans, none picked by looking at them.",
        "",
        "| chapter | lesson | measured | shown |",
        "| --- | --- | --- | --- |",
        "| 11 | trained on candidates as they come, a net calls nothing a nodule | "
        f"recall {last['unbalanced']['recall']:.3f}, "
        f"accuracy {last['unbalanced']['accuracy']:.3f} | {_shown(last['unbalanced']['recall'] == 0)} |",
        f"| 12 | balanced, it finds nodules | recall {last['balanced']['recall']:.3f}, precision "
        f"{last['balanced']['precision']:.3f}, F1 {last['balanced']['f1']:.3f} | "
        f"{_shown(last['balanced']['recall'] > 0)} |",
        f"| 12 | augmentation lowers overfitting | loss on nodules, held out less trained on: {gap['balanced']:.3f} "
        f"without, {gap['augmented']:.3f} with | {_shown(gap['augmented'] < gap['balanced'])} |",
        f"| 13 | the U-Net finds nodule pixels | recall {last['segmentation']['recall']:.3f}, precision "
        f"{last['segmentation']['precision']:.3f}, Dice {last['segmentation']['dice']:.3f} | "
        f"{_shown(last['segmentation']['recall'] > 0.9 and last['segmentation']['dice'] > 0.5)} |",
    ]
    for name in ("head", "head-and-block"):
        lines.append(
            f"| 14 | {_NAMES[name]}: better than the diameter | AUC {scores[name]['auc']:.3f} against "
            f"{scores['diameter']['auc']:.3f} | "
            f"{_lead(scores[name]['lead_interval'], scores[name], scores['diameter'])} |"
        )
    lines += [
        "",
        f"- The first three runs see the same {runs['balanced']['train_samples']:,} candidates, of which "
        f"{plain['train_nodules']} are nodules, and draw {crops:,} crops.",
        f"  {plain['validation_nodules']} nodules are held out.",
        f"- Loss and recall on nodules: without augmentation {plain['train_loss']:.3f} and {plain['train_recall']:.3f} "
        f"on those trained on, {plain['validation_loss']:.3f} and {plain['validation_recall']:.3f} on those held out; "
        f"with it {turned['train_loss']:.3f} and {turned['train_recall']:.3f}, {turned['validation_loss']:.3f} and "
        f"{turned['validation_recall']:.3f}.",
        "- The U-Net is validated on crops of 96 x 96 around nodules, as it is trained. It counts as shown where",
        "  recall is above 0.9 and Dice above 0.5: a net that flags every pixel has recall 1.",
        f"- Fine-tuning begins with the run augmented. Malignant nodules are larger and have a ragged surface; "
        f"{malignancy['malignant']} malignant and {malignancy['benign']} benign ones are held out.",
        "",
        "| score | AUC | 95 % interval | lead on the diameter, 95 % interval |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, found in scores.items():
        low, high = found["interval"]
        lead = "" if name == "diameter" else "{:+.3f} – {:+.3f}".format(*found["lead_interval"])
        lines.append(f"| {_NAMES[name]} | {found['auc']:.3f} | {low:.3f} – {high:.3f} | {lead} |")
    lines += ["", "Intervals: nodules drawn again 2,000 times, the same ones for both scores.", ""]
    lines += ["![Validation recall, precision and area over the epochs](" + CURVES + ")", ""]
    return "\n".join(lines)


def curves(result: dict[str, Any]) -> bytes:
    """Recall over the epochs of the classifiers, recall and precision of the U-Net, areas of the fine-tuned nets."""
    runs = result["runs"]
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
        area = result["malignancy"]["scores"]["diameter"]["auc"]
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


def _lead(interval: list[float], found: dict[str, Any], diameter: dict[str, Any]) -> str:
    if interval[0] > 0:
        return "yes"
    if found["auc"] > diameter["auc"]:
        return "higher, within the noise of so few nodules"
    return "**no**"
