"""`python -m experiments.lidc.measure`: `lidc_malignancy` against the diameter alone, on real nodules, several seeds.

Trains what is not trained yet, from the last finished epoch, with the settings that `search.py` found best. Then it
writes results, ROC curves and a page. Intervals resample whole series, because nodules of one patient are alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import MissingData
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.edge_runtime.tasks.detection_metrics import auc, roc
from edgekit.train import provenance
from edgekit.train.checkpoint import EpochRecord
from edgekit.train.data.lidc_malignancy import UNDECIDED, Nodules, read_nodules
from edgekit.train.loop.fit import RunResult, fit
from edgekit.train.loop.resume import RESUME_FILE
from edgekit.train.models.lidc_malignancy import SETTINGS, model_of
from edgekit.train.reproduction.plots import BOOK, LOOK, TRAIN, VALIDATION, svg
from experiments.lidc.search import RESULTS, margins

SEEDS = tuple(range(123, 131))
RESAMPLES = 2000
DIAMETER, TOGETHER = "diameter", "all seeds together"
PAGE, CURVES = "LIDC_MALIGNANCY.md", "images/lidc-malignancy-roc.svg"
Scores = Mapping[str, np.ndarray]


def read_search(path: Path) -> dict[str, Any]:
    """What `search.py` wrote; raises MissingData where the file is missing or the search is unfinished."""
    try:
        searched = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise MissingData(f"{path} is not there. Run: python -m experiments.lidc.search") from None
    if searched["best"] is None:
        raise MissingData(f"the search in {path} is unfinished. Run the command that began it again: it continues")
    return searched


def train(runs: Path, device: str, name: str, seed: int, *, epochs: int | None = None) -> RunResult:
    """One run with the settings of that name, resumed where it was interrupted; raises as `fit`.

    `epochs`: instead of the settings' own.
    """
    model = model_of(SETTINGS[name])
    folder = runs / f"{list(SETTINGS).index(name)}-seed-{seed}" / model.name
    go_on = (folder / RESUME_FILE).is_file()
    config = replace(model.fit, seed=seed, epochs=epochs or model.fit.epochs)
    return fit(model, folder, config=config, device=device, go_on=go_on, on_epoch=_say)


def areas(scores: Scores, malignant: np.ndarray, series: np.ndarray, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Each score's AUC, with 95 % intervals of it and of its lead on the diameter, by resampling whole series.

    Scores (N,), `malignant` (N,) bool, `series` (N,) uids.
    """
    names, number = np.unique(series, return_inverse=True)
    members = [np.flatnonzero(number == i) for i in range(len(names))]
    random = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    while len(drawn[DIAMETER]) < resamples:
        rows = np.concatenate([members[i] for i in random.integers(0, len(names), len(names))])
        if 0 < malignant[rows].sum() < len(rows):
            for name, values in scores.items():
                drawn[name].append(auc(values[rows], malignant[rows]))
    ends = (2.5, 97.5)
    return {
        "nodules": len(malignant),
        "malignant": int(malignant.sum()),
        "series": len(names),
        "scores": {
            name: {
                "auc": auc(values, malignant),
                "interval": np.percentile(drawn[name], ends).tolist(),
                "lead_interval": np.percentile(np.subtract(drawn[name], drawn[DIAMETER]), ends).tolist(),
            }
            for name, values in scores.items()
        },
    }


def measure(
    runs: Mapping[int, RunResult],
    nodules: Nodules,
    searched: Mapping[str, Any],
    device: str = "cpu",
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """All that the page says, from a finished run for each seed; `searched` is what `search.py` wrote."""
    model = model_of(SETTINGS[searched["best"]])
    validation = model.data().validation
    held = nodules.validation
    rating, series = nodules.rating[held], nodules.series[held]
    malignant = rating > UNDECIDED
    weights = {seed: run.weights for seed, run in runs.items()}
    nets = {f"seed {seed}": margins(model, [path], validation, device) for seed, path in weights.items()}
    together = margins(model, list(weights.values()), validation, device)
    scores = {DIAMETER: nodules.diameter_mm[held], **nets, TOGETHER: together}
    decided = rating != UNDECIDED
    record = next(iter(runs.values())).record
    curves = {name: roc(scores[name], malignant) for name in (DIAMETER, TOGETHER)}
    return {
        "what": "malignant or not: a 2-D net on real nodules of LIDC-IDRI against their diameter, split by series",
        "data_sha256": record.data_sha256,
        "setting": searched["best"],
        "search": {name: {"auc": row["auc"], "folds": row["folds"]} for name, row in searched["areas"].items()},
        "search_seeds": searched["seeds"],
        "folds": searched["folds"],
        "device": record.device,
        "train_samples": record.train_samples,
        "parameters": record.parameters,
        "config": {key: value for key, value in asdict(record.config).items() if key != "seed"},
        "loss": {str(seed): [epoch.loss for epoch in run.record.curve] for seed, run in runs.items()},
        "auc_by_epoch": {
            str(seed): [epoch.validation["auc"] for epoch in run.record.curve] for seed, run in runs.items()
        },
        "all": areas(scores, malignant, series, resamples=resamples),
        "without_undecided": areas(
            {name: values[decided] for name, values in scores.items()},
            malignant[decided],
            series[decided],
            resamples=resamples,
        ),
        "roc": {
            name: {
                "false_positive_rate": curve.false_positive_rate.round(5).tolist(),
                "true_positive_rate": curve.true_positive_rate.round(5).tolist(),
            }
            for name, curve in curves.items()
        },
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def page(result: dict[str, Any]) -> str:
    """Markdown, from the results alone."""
    every = result["all"]
    lines = [
        "# Malignant or not: real nodules, a net against the diameter",
        "",
        "`lidc_malignancy` looks at one slice of a nodule of LIDC-IDRI and at a disc as large as the nodule, which is",
        "all that the baseline, its diameter, knows. A nodule counts as malignant where its rating is above 3 of 5.",
        f"Trained on {result['train_samples']:,} nodules, judged on {every['nodules']:,} of "
        f"{every['series']:,} other series, of which {every['malignant']} are malignant.",
        "",
        f"All ratings: {_verdict(every)}",
        "",
        f"Without rating 3, which leaves open what a nodule is: {_verdict(result['without_undecided'])}",
        "",
        *_commands(result),
        "",
        f"The first compares {len(result['search']) - 1} settings by {result['folds']}-fold cross-validation by series "
        f"among the training",
        f"nodules, with {_count(len(result['search_seeds']), 'seed')} each; the second trains with the best on all of "
        f"them, and judges on the validation",
        "nodules. Nets answer for a slice in eight orientations, averaged.",
        "",
        "| setting | mean AUC of the folds | folds in which it is above the diameter's |",
        "| --- | ---: | ---: |",
        *_settings(result),
        "",
        "Targets are hard (malignant or not) or chances by the rating (soft, linear); crops are scaled at random",
        "(affine) or keep their size (rigid); `measured` nets are told area, densities and the like besides.",
        "",
        "The validation nodules were looked at before, with other settings: two nets without the disc had areas of",
        "0.892 and 0.889 there, and three nets with it (hard, affine; one view) 0.904 together. Of the runs below no",
        "epoch and no seed was picked.",
    ]
    for title, part in (("All ratings", every), ("Without the undecided rating 3", result["without_undecided"])):
        lines += [
            "",
            f"{title}: {part['nodules']:,} nodules, {part['malignant']} malignant.",
            "",
            "| score | AUC | 95 % interval | less the diameter's, 95 % interval |",
            "| --- | ---: | ---: | ---: |",
        ]
        for name in (DIAMETER, *(f"seed {seed}" for seed in result["loss"]), TOGETHER):
            score = part["scores"][name]
            ends = "{:.3f} – {:.3f}".format(*score["interval"])
            lead = "" if name == DIAMETER else "{:+.3f} – {:+.3f}".format(*score["lead_interval"])
            lines.append(f"| {name} | {score['auc']:.3f} | {ends} | {lead} |")
    lines += [
        "",
        "Intervals: series drawn again 2,000 times, the same ones for all scores. The diameter is that of a disc as",
        "large as what radiologists outlined, for the nets too: in use a segmentation has to give it.",
        "",
        f"![ROC curves of the nets together and of the diameter]({CURVES})",
        "",
    ]
    return "\n".join(lines)


def write_page(results: Path, docs: Path) -> list[Path]:
    """Writes the page and its curves into `docs`, from the results file alone; returns their paths."""
    result = json.loads(results.read_bytes())
    files = {docs / PAGE: page(result).encode(), docs / CURVES: curves(result)}
    for path, content in files.items():
        write_bytes(path, content)
    return list(files)


def _verdict(part: dict[str, Any]) -> str:
    low, high = part["scores"][TOGETHER]["lead_interval"]
    area, diameter = (part["scores"][name]["auc"] for name in (TOGETHER, DIAMETER))
    if low > 0:
        return "the nets are better than the diameter, beyond what other series would change."
    if high < 0:
        return "**the diameter alone is better than the nets, beyond what other series would change.**"
    word = "above" if area > diameter else "below"
    return f"**not decided: the nets' area is {word} the diameter's, but the interval of the difference holds 0.**"


def _commands(result: dict[str, Any]) -> list[str]:
    """Those that come to these results."""
    names = [name for name in result["search"] if name != DIAMETER]
    search = [] if set(names) == set(SETTINGS) else ["--only", *(f'"{name}"' for name in names)]
    search += ["--seeds", *map(str, result["search_seeds"])]
    cuda = "" if result["device"].startswith("cpu") else " --device cuda"
    return [
        "```sh",
        f"python -m experiments.lidc.search{cuda} {' '.join(search)}",
        f"python -m experiments.lidc.measure{cuda} --seeds {' '.join(result['loss'])}",
        "```",
    ]


def _settings(result: dict[str, Any]) -> list[str]:
    diameter, lines = result["search"][DIAMETER]["folds"], []
    for name, row in sorted(result["search"].items(), key=lambda item: -item[1]["auc"]):
        above = sum(mine > its for mine, its in zip(row["folds"], diameter, strict=True))
        shown = f"**{name}**" if name == result["setting"] else name
        lines.append(f"| {shown} | {row['auc']:.4f} | {'' if name == DIAMETER else f'{above} of {len(diameter)}'} |")
    return lines


def _count(number: int, word: str) -> str:
    return f"one {word}" if number == 1 else f"{number} {word}s"


def curves(result: dict[str, Any]) -> bytes:
    """ROC curves of the nets together and of the diameter, and the nets' area over the epochs, as SVG."""
    with mpl.rc_context(LOOK):
        drawn = Figure(figsize=(8, 3.6), layout="constrained")
        left, right = drawn.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--", label="by chance")
        for name, color in ((DIAMETER, BOOK), (TOGETHER, VALIDATION)):
            curve, area = result["roc"][name], result["all"]["scores"][name]["auc"]
            label = f"{name}: area {area:.3f}"
            left.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=color, label=label)
        left.set_xlabel("false positive rate: benign nodules called malignant")
        left.set_ylabel("true positive rate")
        for seed, values in result["auc_by_epoch"].items():
            right.plot(range(1, len(values) + 1), values, color=TRAIN, linewidth=0.9, label=f"seed {seed}")
        diameter = result["all"]["scores"][DIAMETER]["auc"]
        right.axhline(diameter, color=BOOK, linestyle="--", linewidth=1, label=DIAMETER)
        right.set_xlabel("epoch")
        right.set_ylabel("area under the ROC curve, validation")
        for axes in (left, right):
            axes.legend(loc="lower right", frameon=False, fontsize=8)
        return svg(drawn)


@program(interrupted=GOES_ON)
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.lidc.measure", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/lidc-malignancy"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--search", type=Path, default=RESULTS, help="what lidc_search wrote")
    parser.add_argument("--out", type=Path, help="by default results/lidc-malignancy-DEVICE.json")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    out = options.out or Path(f"results/lidc-malignancy-{options.device}.json")
    searched = read_search(options.search)
    nodules = read_nodules()
    runs = {}
    for seed in options.seeds:
        print(f"seed {seed}, {searched['best']}:", file=sys.stderr)
        runs[seed] = train(options.runs, options.device, searched["best"], seed)
    write_bytes(out, canonical_json(measure(runs, nodules, searched, options.device)))
    for path in [out, *write_page(out, options.docs)]:
        print(f"wrote {path}")


def _say(epoch: EpochRecord) -> None:
    print(f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, auc {epoch.validation['auc']:.4f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
