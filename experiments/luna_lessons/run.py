"""`python -m experiments.luna_lessons.run`: what chapters 11 to 14 teach, on SYNTHETIC scans; more of them on a GPU.

Makes scans and cuts them, trains seven short runs for each seed, and writes results; `report.py` writes a page with
curves. Finished parts are not repeated, and interrupted runs are resumed, so the same command continues after Ctrl-C.
Nothing here holds for patients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.edge_runtime.tasks.detection_metrics import auc
from edgekit.train import provenance
from edgekit.train.book_model import BookModel
from edgekit.train.checkpoint import EpochRecord, RunRecord, load_weights
from edgekit.train.data import luna_store
from edgekit.train.data.scan_rows import ScanEntry
from edgekit.train.loop.device import threads
from edgekit.train.loop.epoch import on_device
from edgekit.train.loop.fit import RunResult, fit
from edgekit.train.loop.resume import RESUME_FILE
from experiments.luna_lessons import report as luna_lessons_report
from experiments.luna_lessons.runs import RUNS, SIZES, Size, lessons, run_folder
from experiments.luna_lessons.synthetic_store import make_store

SLICES = 72
RESAMPLES = 2000


def prepare(place: Path, size: Size, *, jobs: int = 1) -> None:
    """Makes the store under `place`, unless it is finished; raises as `synthetic_store.make_store`."""
    try:
        luna_store.read_index(place / "store")
    except EdgekitError:
        make_store(place / "store", size.scans, slices=SLICES, others=size.others, jobs=jobs, on_scan=_say_scan)


def train(
    model: BookModel, folder: Path, *, device: str = "cpu", on_epoch: Callable[[EpochRecord], None] | None = None
) -> RunResult:
    """One run, resumed if it was interrupted; raises as `fit`."""
    return fit(model, folder, device=device, go_on=(folder / RESUME_FILE).is_file(), on_epoch=on_epoch)


def measure(
    place: Path, models: Mapping[str, BookModel], records: Mapping[str, RunRecord], device: str = "cpu"
) -> dict[str, Any]:
    """What the finished runs of one seed show: curves, the gap between training and validation, and AUCs."""
    index = luna_store.read_index(place / "store")
    seed = models["head"].fit.seed
    with threads(1):
        gaps = {name: _gap(models[name], run_folder(place, seed, name), device) for name in ("balanced", "augmented")}
        rows = luna_store.rows(place / "store", luna_store.VALIDATION, "label", index=index) > 0
        diameters = luna_store.rows(place / "store", luna_store.VALIDATION, "diameter_mm", index=index)[rows]
        margins = {"diameter": np.asarray(diameters, np.float64)}
        for name in ("all-nodules", "head", "head-and-block"):
            model = replace(models[name], data=models["head"].data)
            logits, truth = _logits(model, run_folder(place, seed, name), device)
            margins[name] = (logits[:, 1] - logits[:, 0]).double().numpy()
    return {
        "runs": {
            name: {
                "parameters": record.parameters,
                "train_samples": record.train_samples,
                "validation_samples": record.validation_samples,
                "config": asdict(record.config),
                "loss": [epoch.loss for epoch in record.curve],
                "validation": [dict(epoch.validation) for epoch in record.curve],
                "wall_s": round(record.wall_s, 1),
            }
            for name, record in records.items()
        },
        "gaps": gaps,
        "malignancy": _areas(margins, truth.numpy() == 1),
    }


def _logits(model: BookModel, folder: Path, device: str, *, training: bool = False) -> tuple[Tensor, Tensor]:
    """Logits (N, 2) and targets (N,) of the validation split, or of the training split without augmentation."""
    data = model.data()
    inputs, targets = on_device(model, data.train if training else data.validation, device)
    module = model.build()
    load_weights(module, folder / "weights.safetensors")
    module.eval().to(device)
    with torch.no_grad():
        return torch.cat([module(piece.float()).cpu() for piece in inputs.split(32)]), targets.cpu()


def _gap(model: BookModel, folder: Path, device: str) -> dict[str, float]:
    """Mean cross entropy and recall on the nodules it was trained on, without augmentation, and on held-out ones."""
    data = model.data()
    nodules = data.train.targets == 1
    seen = replace(
        data,
        train=replace(data.train, inputs=data.train.inputs[nodules], targets=data.train.targets[nodules], groups=None),
    )
    held_logits, held = _logits(model, folder, device)
    seen_logits, truth = _logits(replace(model, data=lambda: seen), folder, device, training=True)
    sides = {"train": (seen_logits, truth), "validation": (held_logits[held == 1], held[held == 1])}
    gap: dict[str, float] = {}
    for side, (logits, targets) in sides.items():
        gap[f"{side}_nodules"] = len(targets)
        gap[f"{side}_loss"] = float(F.cross_entropy(logits, targets))
        gap[f"{side}_recall"] = float((logits.argmax(1) == 1).float().mean())
    return gap


def _areas(margins: Mapping[str, np.ndarray], malignant: np.ndarray) -> dict[str, Any]:
    """Each score's AUC and its lead on the diameter, both with intervals by resampling nodules."""
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


@program(interrupted=GOES_ON)
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.luna_lessons.run", description=__doc__)
    parser.add_argument(
        "--device", choices=list(SIZES), default="cpu", help="on a GPU everything is larger, with three seeds"
    )
    parser.add_argument("--place", type=Path, help="folder of store and runs; default: runs/luna-lessons-DEVICE")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the device's own")
    parser.add_argument("--jobs", type=int, default=1, help="processes that make scans")
    parser.add_argument("--only", choices=RUNS, help="train only this run, and write nothing")
    parser.add_argument("--out", type=Path, help="default: results/luna-synthetic-DEVICE.json")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    size, device = SIZES[options.device], options.device
    place = options.place or Path(f"runs/luna-lessons-{device}")
    out = options.out or Path(f"results/luna-synthetic-{device}.json")
    prepare(place, size, jobs=options.jobs)
    by_seed, records = {}, {}
    for seed in options.seeds or size.seeds:
        models = lessons(place, size, seed, device)
        for name in [options.only] if options.only else RUNS:
            print(f"seed {seed}, {name}:", file=sys.stderr)
            folder = run_folder(place, seed, name)
            records[name] = train(models[name], folder, device=device, on_epoch=_say).record
        if options.only:
            continue
        by_seed[str(seed)] = measure(place, models, records, device)
        result = {  # after each seed, so that the results are complete if there is no time for the next one
            "what": "the lessons of chapters 11 to 14 on SYNTHETIC scans, which show no patient",
            "scans": size.scans,
            "seeds": by_seed,
            "device": records[RUNS[0]].device,
            "machine": machine(),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
        }
        write_bytes(out, canonical_json(result))
        for file in [out, *luna_lessons_report.write(result, options.docs, source=out)]:
            print(f"wrote {file}", flush=True)


def _say(epoch: EpochRecord) -> None:
    figures = ", ".join(f"{name} {value:.3f}" for name, value in epoch.validation.items())
    print(
        f"  epoch {epoch.epoch}: loss {epoch.loss:.4f}, {figures}, {epoch.seconds:.1f} s", file=sys.stderr, flush=True
    )


def _say_scan(entry: ScanEntry, scans: int) -> None:
    if int(entry.uid.rsplit(".", 1)[1]) % 20 == 0:
        print(f"{entry.uid} of {scans}: {entry.crops} crops", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
