"""`python -m experiments.lidc.search`: settings of `lidc_malignancy` by cross-validation in its training series.

The validation nodules are not looked at: each setting is trained on four fifths of the training series and judged on
the rest, five times, with each seed. `lidc_measure.py` then trains with the best. Nets are small, so that several
processes share a GPU. Each finished training is kept in the results at once: the same command goes on, and further
settings can be compared with those before.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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
from edgekit.train.models.lidc_malignancy import SETTINGS, model_of
from edgekit.train.test_time_augmentation import EightViews

FOLDS, SEEDS = 5, (1, 2)
DIGITS = 4  # that are kept of a margin
RESULTS = Path("results/lidc-malignancy-search.json")
Job = tuple[str, int, int]  # setting, fold, seed


def folds(series: np.ndarray) -> np.ndarray:
    """(N,) int: the fold of each nodule; all of a series are in the same, drawn once and for all."""
    names, number = np.unique(series, return_inverse=True)
    return np.random.default_rng(0).permutation(len(names))[number] % FOLDS


def inner(fold: int, softness: str) -> Dataset:
    """The training nodules alone, of which those of `fold` judge. Raises as `read_nodules`."""
    found, inputs = _read()
    number = np.full(len(found.rating), -1)
    number[~found.validation] = folds(found.series[~found.validation])
    held = number == fold
    data = split_at(found, inputs, held, softness, train=(number >= 0) & ~held)
    return replace(data, fingerprint=f"fold {fold} of {FOLDS}, {softness}, of {len(number)} nodules")


@lru_cache(maxsize=1)
def _read() -> tuple[Nodules, np.ndarray]:
    found = read_nodules()
    return found, inputs_of(found)


def trained(runs: Path, device: str, epochs: int, job: Job) -> np.ndarray:
    """Trains what `job` names, and returns the margins of what it held out, (N,): malignant's logit less benign's."""
    name, fold, seed = job
    setting = SETTINGS[name]
    model = model_of(setting)
    config = replace(model.fit, seed=seed, epochs=epochs or model.fit.epochs)
    model = replace(model, data=partial(inner, fold, setting.softness))
    folder = runs / f"{list(SETTINGS).index(name)}-{fold}-{seed}"
    go_on = (folder / RESUME_FILE).is_file()
    weights = fit(model, folder, config=config, device=device, go_on=go_on).weights
    return margins(model, [weights], model.data().validation, device)


def margins(model: BookModel, weights: Sequence[Path], split: Split, device: str) -> np.ndarray:
    """Of the nets with these weights together, over eight views: (N,) float64."""
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
    runs: Path,
    names: Sequence[str],
    device: str,
    *,
    seeds: Sequence[int] = SEEDS,
    jobs: int = 1,
    epochs: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Trains and judges all.

    Args:
        epochs: instead of the settings' own, to try it out; takes no `out`.
        out: the results, written after each training; those in it are not trained again, if settings and nodules are
            the same.

    Raises:
        EdgekitError: `out` cannot be read or written; and as `fit`.
    """
    found = kept(out) if out else {}
    todo = [(name, fold, seed) for name in names for fold in range(FOLDS) for seed in seeds]
    left = [job for job in todo if job not in found]
    for count, (job, scores) in enumerate(run_scans(partial(trained, runs, device, epochs), left, processes=jobs), 1):
        assert not isinstance(scores, Lost)  # only Ray loses workers
        found[job] = scores.round(DIGITS)
        done = len(todo) - len(left) + count
        print(f"{done}/{len(todo)} {job[0]}, fold {job[1]}, seed {job[2]}", file=sys.stderr, flush=True)
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(out, canonical_json(_result(found, names, seeds, device)))
    return _result(found, names, seeds, device)


def kept(out: Path) -> dict[Job, np.ndarray]:
    """The trainings in `out` that are still of the same settings and nodules; none where it is not there."""
    try:
        before = json.loads(out.read_bytes())
        if (before["data_sha256"], before["folds"]) != (_data_sha256(), FOLDS):
            return {}
        same = {name for name, setting in before["settings"].items() if _plain(name) == setting}
        return {
            (row["setting"], row["fold"], row["seed"]): np.array(row["margins"], np.float64)
            for row in before["trainings"]
            if row["setting"] in same
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EdgekitError(f"{out} holds no results of this search ({error}). Move it away, or give --out") from None


def _result(found: Mapping[Job, np.ndarray], names: Sequence[str], seeds: Sequence[int], device: str) -> dict[str, Any]:
    """What is found so far; the best is None until all of `names` are whole. Settings from before count too."""
    nodules, _ = _read()
    seen = ~nodules.validation
    number, rating, diameter = folds(nodules.series[seen]), nodules.rating[seen], nodules.diameter_mm[seen]
    rows = {"diameter": _areas([diameter[number == fold] for fold in range(FOLDS)], rating, number)}
    whole = [name for name in SETTINGS if all((name, fold, seed) in found for fold in range(FOLDS) for seed in seeds)]
    for name in whole:
        together = [np.mean([found[name, fold, seed] for seed in seeds], axis=0) for fold in range(FOLDS)]
        rows[name] = _areas(together, rating, number)
    return {
        "what": "settings of lidc_malignancy, by cross-validation by series within its training nodules",
        "folds": FOLDS,
        "seeds": list(seeds),
        "settings": {name: _plain(name) for name in SETTINGS if any(job[0] == name for job in found)},
        "areas": rows,
        "best": max(whole, key=lambda name: rows[name]["auc"]) if set(names) <= set(whole) else None,
        "trainings": [
            {"setting": name, "fold": fold, "seed": seed, "margins": found[name, fold, seed].tolist()}
            for name, fold, seed in sorted(found)
        ],
        "nodules": int(seen.sum()),
        "data_sha256": _data_sha256(),
        "device": provenance.device_name(torch.device(device)),
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def _plain(name: str) -> dict[str, Any] | None:
    return asdict(SETTINGS[name]) if name in SETTINGS else None


@lru_cache(maxsize=1)
def _data_sha256() -> str:
    return sha256_file(data_root() / FILE)


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
    parser.add_argument("--epochs", type=int, default=0, help="instead of the settings' own; writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    names = asked.only or list(SETTINGS)
    out = None if asked.epochs else asked.out
    result = search(asked.runs, names, asked.device, seeds=asked.seeds, jobs=asked.jobs, epochs=asked.epochs, out=out)
    print("\n".join(table(result)))
    if out:
        write_bytes(out, canonical_json(result))
        print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
