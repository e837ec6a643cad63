"""`python -m train.luna_lessons`: what chapters 11 to 14 teach, shown on SYNTHETIC scans, small enough for a CPU.

Makes scans, cuts them, trains six short runs and writes results, curves and a page. Whatever is finished already is
not done again, and an interrupted run goes on from its last epoch, so the same command goes on after Ctrl-C. Nothing
here holds for patients. `luna_lessons_report.py` writes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.benchmark import machine
from edge_runtime.decode import canonical_json
from edge_runtime.detection_metrics import auc
from edge_runtime.errors import EdgekitError
from edge_runtime.files import write_bytes
from train import luna_commands, luna_lessons_report, provenance
from train.book_model import BookModel, FitConfig
from train.checkpoint import EpochRecord, RunRecord, load_weights, read_tensors
from train.data import luna_sets, luna_store
from train.dataset import Dataset
from train.device import threads
from train.epoch import on_device
from train.fit import RunResult, fit
from train.models import luna_classifier, luna_malignancy, luna_unet
from train.models.luna_classifier import LunaClassifier
from train.models.luna_malignancy import FineTuned
from train.resume import RESUME_FILE

SCANS, SLICES, OTHERS = 100, 72, 40
FEWER = 8  # of the nodules to train on every eighth stays: one candidate of 90 or so is one then, in LUNA16 one of 400
RESAMPLES = 2000
# Adam and few crops, to see on a CPU within minutes what the book's SGD shows in days.
_SHORT = FitConfig(
    epochs=6, batch_size=16, learning_rate=1e-3, optimizer="adam", cpu_threads=1, epoch_samples=480, best_by=""
)
_FINE = replace(_SHORT, epochs=5, batch_size=24, balance="malignancy", augment="affine", best_by="")


def few_nodules(store: Path) -> Dataset:
    """`luna_sets.nodules` with every eighth of the nodules to train on; validation has all of its own."""
    whole = luna_sets.nodules(store)
    nodules = np.flatnonzero(whole.train.targets == 1)
    rows = np.sort(np.concatenate([np.flatnonzero(whole.train.targets == 0), nodules[::FEWER]]))
    train = replace(whole.train, inputs=whole.train.inputs[rows], targets=whole.train.targets[rows], kinds=None)
    return replace(whole, train=train, fingerprint=f"{whole.fingerprint}, every {FEWER}th nodule")


def lessons(place: Path) -> dict[str, BookModel]:
    """The runs by name, in an order in which none needs a later one."""
    store = place / "store"
    classifier = replace(luna_classifier.MODEL, build=_classifier, data=partial(few_nodules, store))
    balanced = replace(_SHORT, balance="nodules")
    fine = replace(luna_malignancy.MODEL, data=partial(luna_sets.malignancy, store), fit=_FINE)
    start = partial(_start_from, place / "runs" / "augmented" / "weights.safetensors")
    return {
        "unbalanced": replace(classifier, fit=_SHORT),
        "balanced": replace(classifier, fit=balanced),
        "augmented": replace(classifier, fit=replace(balanced, augment="affine")),
        "segmentation": replace(
            luna_unet.MODEL,
            data=partial(luna_sets.segments, store),
            # After 3,200 crops this net still flags everything: the loss weighs misses eight times.
            fit=replace(_SHORT, epochs=20, epoch_samples=1200, augment="affine"),
        ),
        "head": replace(fine, build=partial(_fine, 1), prepare=start, fit=replace(_FINE, learning_rate=3e-3)),
        "head-and-block": replace(fine, build=partial(_fine, 2), prepare=start),
    }


def _classifier() -> nn.Module:
    # A layout that 3-D convolutions compute twice as fast in.
    return LunaClassifier().to(memory_format=torch.channels_last_3d)


def _fine(depth: int) -> nn.Module:
    return FineTuned(depth).to(memory_format=torch.channels_last_3d)


def _start_from(weights: Path, module: nn.Module, inputs: Tensor) -> None:
    """All but the head from the augmented run; the inputs are not looked at."""
    if not weights.is_file():
        raise EdgekitError(f"{weights} is not there: fine-tuning begins with the run augmented. Train that first")
    state = {key: value for key, value in read_tensors(weights).items() if "head_linear" not in key}
    module.load_state_dict(state, strict=False)


def prepare(place: Path, *, scans: int = SCANS) -> None:
    """Synthetic scans and their store under `place`, where they are not there; raises as `luna_store.prepare`."""
    if not (place / "scans" / luna_store.CANDIDATES).is_file():  # the lists are written last
        luna_commands.synthesize(place / "scans", count=scans, slices=SLICES, others=OTHERS)
    try:
        luna_store.read_index(place / "store")
    except EdgekitError:
        luna_commands.prepare(place / "scans", store=place / "store")


def train(name: str, place: Path, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> RunResult:
    """One run, from where it is; raises as `fit`."""
    folder = place / "runs" / name
    go_on = (folder / RESUME_FILE).is_file()
    return fit(lessons(place)[name], folder, device="cpu", go_on=go_on, on_epoch=on_epoch)


def measure(place: Path, records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """What the page says, from finished runs: curves, the gap between training and validation, and areas."""
    found = lessons(place)
    index = luna_store.read_index(place / "store")
    with threads(1):
        gaps = {name: _gap(found[name], place / "runs" / name) for name in ("balanced", "augmented")}
        rows = luna_store.rows(place / "store", luna_store.VALIDATION, "label", index=index) > 0
        diameters = luna_store.rows(place / "store", luna_store.VALIDATION, "diameter_mm", index=index)[rows]
        margins = {"diameter": np.asarray(diameters, np.float64)}
        for name in ("head", "head-and-block"):
            logits, truth = _logits(found[name], place / "runs" / name)
            margins[name] = (logits[:, 1] - logits[:, 0]).double().numpy()
    return {
        "what": "the lessons of chapters 11 to 14 on SYNTHETIC scans, which show no patient",
        "scans": len(index.scans),
        "runs": {
            name: {
                "parameters": record.parameters,
                "train_samples": record.train_samples,
                "validation_samples": record.validation_samples,
                "config": asdict(record.config),
                "loss": [epoch.loss for epoch in record.curve],
                "validation": [dict(epoch.validation) for epoch in record.curve],
            }
            for name, record in records.items()
        },
        "gaps": gaps,
        "malignancy": _areas(margins, truth.numpy() == 1),
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def _logits(model: BookModel, folder: Path, *, training: bool = False) -> tuple[Tensor, Tensor]:
    """Of the validation split, or of the training split as it lies there; (N, 2) and targets (N,)."""
    data = model.data()
    inputs, targets = on_device(model, data.train if training else data.validation, "cpu")
    module = model.build()
    load_weights(module, folder / "weights.safetensors")
    module.eval()
    with torch.no_grad():
        return torch.cat([module(piece.float()) for piece in inputs.split(32)]), targets


def _gap(model: BookModel, folder: Path) -> dict[str, float]:
    """Mean cross entropy and recall on nodules it was trained on, without augmentation, and on those held out."""
    data = model.data()
    nodules = data.train.targets == 1
    seen = replace(
        data, train=replace(data.train, inputs=data.train.inputs[nodules], targets=data.train.targets[nodules])
    )
    held_logits, held = _logits(model, folder)
    seen_logits, truth = _logits(replace(model, data=lambda: seen), folder, training=True)
    sides = {"train": (seen_logits, truth), "validation": (held_logits[held == 1], held[held == 1])}
    found: dict[str, float] = {}
    for side, (logits, targets) in sides.items():
        found[f"{side}_nodules"] = len(targets)
        found[f"{side}_loss"] = float(F.cross_entropy(logits, targets))
        found[f"{side}_recall"] = float((logits.argmax(1) == 1).float().mean())
    return found


def _areas(margins: Mapping[str, np.ndarray], malignant: np.ndarray) -> dict[str, Any]:
    """Each score's area under the ROC curve with intervals, and its lead on the diameter; nodules are drawn again."""
    random = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in margins}
    while len(drawn["diameter"]) < RESAMPLES:
        rows = random.integers(0, len(malignant), len(malignant))
        if 0 < malignant[rows].sum() < len(rows):
            for name, scores in margins.items():
                drawn[name].append(auc(scores[rows], malignant[rows]))
    ends = (2.5, 97.5)
    return {
        "malignant": int(malignant.sum()),
        "benign": int((~malignant).sum()),
        "scores": {
            name: {
                "auc": auc(scores, malignant),
                "interval": np.percentile(drawn[name], ends).tolist(),
                "lead_interval": np.percentile(np.subtract(drawn[name], drawn["diameter"]), ends).tolist(),
            }
            for name, scores in margins.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.luna_lessons", description=__doc__)
    parser.add_argument("--place", type=Path, default=Path("runs/luna-lessons"), help="scans, store and runs")
    parser.add_argument("--only", choices=list(lessons(Path())), help="train this run alone, and write nothing")
    parser.add_argument("--out", type=Path, default=Path("results/luna-synthetic-cpu.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    asked = parser.parse_args()
    try:
        prepare(asked.place)
        records = {}
        for name in [asked.only] if asked.only else lessons(asked.place):
            print(f"{name}:", file=sys.stderr)
            records[name] = train(name, asked.place, on_epoch=_say).record
        if not asked.only:
            result = measure(asked.place, records)
            write_bytes(asked.out, canonical_json(result))
            for file in [asked.out, *luna_lessons_report.write(result, asked.docs)]:
                print(f"wrote {file}")
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _say(epoch: EpochRecord) -> None:
    figures = ", ".join(f"{name} {value:.3f}" for name, value in epoch.validation.items())
    print(f"  epoch {epoch.epoch}: loss {epoch.loss:.4f}, {figures}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
