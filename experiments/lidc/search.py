"""`python -m experiments.lidc.search`: settings of `lidc_malignancy`, by cross-validation in its training series.

The validation nodules are not looked at: each setting is trained on four fifths of the training series and judged on
the rest, five times, with each seed. `measure.py` then trains with the best one. The nets are small, so several
processes can share a GPU. Each finished training is saved in the results at once: run the same command again to
continue, or with further settings to compare them with the earlier ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import sha256_file, write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.edge_runtime.tasks.detection_metrics import auc
from edgekit.train import provenance
from edgekit.train.book_model import BookModel
from edgekit.train.checkpoint import load_weights
from edgekit.train.data import data_root
from edgekit.train.data.lidc_malignancy import FILE, MALIGNANT, UNDECIDED, Nodules, inputs_of, read_nodules, split_at
from edgekit.train.data.scan_tasks import Lost, run_scans
from edgekit.train.dataset import Dataset, Split
from edgekit.train.loop.device import threads
from edgekit.train.loop.epoch import on_device
from edgekit.train.loop.fit import fit
from edgekit.train.loop.resume import RESUME_FILE
from edgekit.train.models.lidc_malignancy import SETTINGS, Setting, model_of

from .eight_views import EightViews

FOLDS, SEEDS = 5, (1, 2)
DIGITS = 4  # that are kept of a margin
RESULTS = Path("results/lidc-malignancy-search.json")
Job = tuple[str, int, int]  # setting, fold, seed


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared with what."""

    names: tuple[str, ...]
    """The settings to train, of `settings`."""
    device: str = "cpu"
    """Where they are trained."""
    folds: int = FOLDS
    """Parts that the training series are divided into; each is judged by nets trained on the others."""
    seeds: tuple[int, ...] = SEEDS
    """Each setting is trained with each of them, in every fold."""
    settings: Mapping[str, Setting] = field(default_factory=lambda: SETTINGS)
    """All that are known, by name; earlier results hold others than `names` too."""

    @property
    def jobs(self) -> list[Job]:
        return [(name, fold, seed) for name in self.names for fold in range(self.folds) for seed in self.seeds]


def fold_numbers(series: np.ndarray, folds: int) -> np.ndarray:
    """(N,) int: the fold of each nodule. A series is in one fold as a whole; the draw is always the same."""
    names, number = np.unique(series, return_inverse=True)
    return np.random.default_rng(0).permutation(len(names))[number] % folds


def fold_data(fold: int, folds: int, softness: str) -> Dataset:
    """The training nodules alone; those of `fold` are the validation split. Raises as `read_nodules`."""
    nodules, inputs = _read(data_root())
    number = np.full(len(nodules.rating), -1)
    number[~nodules.validation] = fold_numbers(nodules.series[~nodules.validation], folds)
    held = number == fold
    data = split_at(nodules, inputs, held, softness, train=(number >= 0) & ~held)
    return replace(data, fingerprint=f"fold {fold} of {folds}, {softness}, of {len(number)} nodules")


@lru_cache(maxsize=1)
def _read(_: Path) -> tuple[Nodules, np.ndarray]:
    """The nodules and what nets see of them, read once for each data folder."""
    nodules = read_nodules()
    return nodules, inputs_of(nodules)


def train_fold(plan: Plan, runs: Path, epochs: int, job: Job) -> np.ndarray:
    """Trains what `job` names; the margins of the fold it is judged on, (N,): malignant's logit less benign's.

    `epochs`: instead of the setting's own; 0 keeps these.
    """
    name, fold, seed = job
    setting = plan.settings[name]
    model = model_of(setting)
    config = replace(model.fit, seed=seed, epochs=epochs or model.fit.epochs)
    model = replace(model, data=partial(fold_data, fold, plan.folds, setting.softness))
    folder = runs / f"{list(plan.settings).index(name)}-{fold}-{seed}"
    go_on = (folder / RESUME_FILE).is_file()
    weights = fit(model, folder, config=config, device=plan.device, go_on=go_on).weights
    return margins(model, [weights], model.data().validation, plan.device)


def margins(model: BookModel, weights: Sequence[Path], split: Split, device: str) -> np.ndarray:
    """Malignant's logit less benign's, averaged over the nets with these weights and eight views: (N,) float64."""
    nets = []
    for path in weights:
        nets.append(model.build())
        load_weights(nets[-1], path)
    together = EightViews(*nets).eval().to(device)
    inputs, _ = on_device(model, split, device)
    with threads(1), torch.no_grad():
        logits = torch.cat([together(piece).cpu() for piece in inputs.split(256)]).double().numpy()
    return logits[:, 1] - logits[:, 0]


def search(
    plan: Plan, train: Callable[[Job], np.ndarray], *, processes: int = 1, out: Path | None = None
) -> dict[str, Any]:
    """Trains and judges every job of the plan.

    Args:
        train: gives a job's margins, as `train_fold` does.
        out: the results file, written after each training. Trainings in it are not repeated if settings and nodules
            are the same.

    Raises:
        EdgekitError: `out` cannot be read or written; and whatever `train` raises.
    """
    scores = kept_scores(out, plan) if out else {}
    todo = [job for job in plan.jobs if job not in scores]
    finished = len(plan.jobs) - len(todo)
    for count, (job, job_margins) in enumerate(run_scans(train, todo, processes=processes), finished + 1):
        assert not isinstance(job_margins, Lost)  # only Ray loses workers
        scores[job] = job_margins.round(DIGITS)
        print(f"{count}/{len(plan.jobs)} {job[0]}, fold {job[1]}, seed {job[2]}", file=sys.stderr, flush=True)
        if out:
            write_bytes(out, canonical_json(_result(scores, plan)))
    return _result(scores, plan)


def kept_scores(out: Path, plan: Plan) -> dict[Job, np.ndarray]:
    """The trainings in `out` that have the plan's settings and nodules; none where the file is missing."""
    try:
        before = json.loads(out.read_bytes())
        if (before["data_sha256"], before["folds"]) != (_data_sha256(data_root()), plan.folds):
            return {}
        same = {
            name
            for name, setting in before["settings"].items()
            if name in plan.settings and asdict(plan.settings[name]) == setting
        }
        return {
            (row["setting"], row["fold"], row["seed"]): np.array(row["margins"], np.float64)
            for row in before["trainings"]
            if row["setting"] in same
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EdgekitError(f"{out} holds no results of this search ({error}). Move it away, or give --out") from None


def _result(scores: Mapping[Job, np.ndarray], plan: Plan) -> dict[str, Any]:
    """The results so far. The best is None until all settings of the plan are complete; earlier settings count too."""
    nodules, _ = _read(data_root())
    seen = ~nodules.validation
    number = fold_numbers(nodules.series[seen], plan.folds)
    rating, diameter = nodules.rating[seen], nodules.diameter_mm[seen]
    folds = range(plan.folds)
    areas = {"diameter": _areas([diameter[number == fold] for fold in folds], rating, number)}
    complete = [
        name for name in plan.settings if all((name, fold, seed) in scores for fold in folds for seed in plan.seeds)
    ]
    for name in complete:
        together = [np.mean([scores[name, fold, seed] for seed in plan.seeds], axis=0) for fold in folds]
        areas[name] = _areas(together, rating, number)
    all_there = set(plan.names) <= set(complete)
    return {
        "what": "settings of lidc_malignancy, by cross-validation by series within its training nodules",
        "folds": plan.folds,
        "seeds": list(plan.seeds),
        "settings": {
            name: asdict(setting) for name, setting in plan.settings.items() if any(job[0] == name for job in scores)
        },
        "areas": areas,
        "best": max(complete, key=lambda name: areas[name]["auc"]) if all_there else None,
        "trainings": [
            {"setting": name, "fold": fold, "seed": seed, "margins": scores[name, fold, seed].tolist()}
            for name, fold, seed in sorted(scores)
        ],
        "nodules": int(seen.sum()),
        "data_sha256": _data_sha256(data_root()),
        "device": provenance.device_name(torch.device(plan.device)),
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


@lru_cache(maxsize=1)
def _data_sha256(root: Path) -> str:
    return sha256_file(root / FILE)


def _areas(scores: Sequence[np.ndarray], rating: np.ndarray, number: np.ndarray) -> dict[str, Any]:
    """The folds' areas and their mean, since scores of different nets are of different scales."""
    every, decided = [], []
    for fold, values in enumerate(scores):
        mine = rating[number == fold]
        every.append(auc(values, mine >= MALIGNANT))
        sure = mine != UNDECIDED
        decided.append(auc(values[sure], mine[sure] >= MALIGNANT))
    return {"auc": float(np.mean(every)), "folds": every, "auc_without_undecided": float(np.mean(decided))}


def table(result: Mapping[str, Any]) -> list[str]:
    """Markdown lines, best first."""
    ordered = sorted(result["areas"].items(), key=lambda row: -row[1]["auc"])
    lines = ["| setting | mean AUC of the folds | without rating 3 |", "| --- | ---: | ---: |"]
    return lines + [f"| {name} | {row['auc']:.4f} | {row['auc_without_undecided']:.4f} |" for name, row in ordered]


@program(interrupted=GOES_ON)
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.lidc.search", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/lidc-search"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="processes that train at the same time")
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), help="train these settings alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=0, help="override the settings' own, as a trial; writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    names = tuple(options.only or SETTINGS)
    plan = Plan(names=names, device=options.device, seeds=tuple(options.seeds))
    train = partial(train_fold, plan, options.runs, options.epochs)
    out = None if options.epochs else options.out
    result = search(plan, train, processes=options.jobs, out=out)
    print("\n".join(table(result)))
    if out:
        write_bytes(out, canonical_json(result))
        print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
