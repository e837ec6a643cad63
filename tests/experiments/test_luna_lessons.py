"""The lessons on synthetic scans: what each run sees, areas with intervals, and a page whose verdicts can be no."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from small_luna import make_store

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.train.data import luna_sets
from experiments.luna_lessons import report as luna_lessons_report
from experiments.luna_lessons import run as luna_lessons
from experiments.luna_lessons import runs as luna_lessons_runs
from experiments.luna_lessons.runs import RUNS, SIZES, lessons


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("lessons")
    make_store(root).rename(root / "store")
    return root


def test_every_eighth_nodule_stays_and_no_other_candidate_goes(place):
    whole, few = luna_sets.nodules(place / "store"), luna_lessons_runs.few_nodules(place / "store", 8)
    nodules = int((whole.train.targets == 1).sum())
    assert int((few.train.targets == 1).sum()) == -(-nodules // 8)
    assert int((few.train.targets == 0).sum()) == int((whole.train.targets == 0).sum())
    assert few.sha256() != whole.sha256()
    assert len(few.validation) == len(whole.validation)


def test_the_runs_differ_in_what_their_lesson_is_about(place):
    fits = {name: model.fit for name, model in lessons(place, SIZES["cpu"], 5).items()}
    assert [fits[name].balance for name in ("unbalanced", "balanced", "augmented")] == ["none", "nodules", "nodules"]
    assert [fits[name].augment for name in ("unbalanced", "balanced", "augmented")] == ["none", "none", "affine"]
    assert tuple(fits) == RUNS
    assert {fit.seed for fit in fits.values()} == {5}
    assert {fit.best_by for fit in fits.values()} == {""}  # every figure is the last epoch's


def test_fine_tuning_without_the_run_it_begins_with_says_so(place):
    with pytest.raises(EdgekitError, match="fine-tuning begins with the run all-nodules"):
        lessons(place, SIZES["cpu"], 5)["head"].prepare(torch.nn.Identity(), torch.zeros(0))


def test_areas_lead_on_the_diameter():
    malignant = np.arange(60) % 3 == 0
    diameter = np.random.default_rng(0).normal(malignant, 1)
    found = luna_lessons._areas({"diameter": diameter, "head": malignant.astype(float)}, malignant)
    assert (found["malignant"], found["benign"]) == (20, 40)
    assert found["scores"]["head"]["auc"] == 1
    assert found["scores"]["diameter"]["lead_interval"] == [0, 0]
    assert found["scores"]["head"]["lead_interval"][0] > 0


def result(*, recall, dice, gap, lead):
    """Results as `measure` makes them, of one epoch a run."""
    config = {"epochs": 1, "epoch_samples": 10}
    detections = {"accuracy": 0.9, "precision": 0.5, "recall": recall, "f1": 0.5}

    def run(validation):
        return {"config": config, "train_samples": 100, "validation": [validation]}

    sides = {
        "train_nodules": 4,
        "train_loss": 0.1,
        "train_recall": 1,
        "validation_nodules": 5,
        "validation_recall": 0.5,
    }
    score = {"auc": 0.9, "interval": [0.8, 1.0], "lead_interval": [lead, 0.3]}
    found = {
        "runs": {
            "unbalanced": run(detections | {"recall": 0.0}),
            "balanced": run(detections),
            "augmented": run(detections),
            "all-nodules": run(detections),
            "segmentation": run({"dice": dice, "precision": 0.5, "recall": 0.95, "f1": dice}),
            "head": run({"accuracy": 0.9, "auc": 0.9}),
            "head-and-block": run({"accuracy": 0.9, "auc": 0.9}),
        },
        "gaps": {
            "balanced": sides | {"validation_loss": 0.5},
            "augmented": sides | {"validation_loss": 0.5 + gap},
        },
        "malignancy": {
            "malignant": 2,
            "benign": 3,
            "scores": {"diameter": score | {"auc": 0.7}, "head": score, "head-and-block": score | {"auc": 0.6}},
        },
    }
    return {"scans": 3, "device": "a CPU", "seeds": {"123": found}}


SOURCE = Path("luna-synthetic-cpu.json")


def verdicts(found):
    rows = [line for line in luna_lessons_report.page(found, SOURCE).splitlines() if re.match(r"\| 1[1-4] ", line)]
    return [row.split("|")[4].strip() for row in rows]


def test_what_was_shown_is_said(tmp_path):
    good = result(recall=0.8, dice=0.7, gap=-0.2, lead=0.01)
    assert verdicts(good) == ["yes"] * 6
    files = luna_lessons_report.write(good, tmp_path, source=SOURCE)
    assert [file.name for file in files] == ["LUNA_LESSONS.md", "luna-lessons.svg"]
    assert "SYNTHETIC" in files[0].read_text()
    assert files[1].read_bytes() == luna_lessons_report.curves(good)


def test_what_was_not_shown_is_said_too():
    """A U-Net that flags everything has recall, and no Dice; a lead within the noise is none."""
    found = result(recall=0.0, dice=0.07, gap=0.2, lead=-0.1)
    assert verdicts(found) == [
        "yes",
        "**no**",
        "**no**",
        "**no**",
        "higher, within the noise of so few nodules",
        "**no**",
    ]


def test_a_lesson_is_shown_where_it_is_with_every_seed():
    good, bad = result(recall=0.8, dice=0.7, gap=-0.2, lead=0.01), result(recall=0.0, dice=0.7, gap=-0.2, lead=-0.1)
    both = good | {"seeds": {"1": good["seeds"]["123"], "2": bad["seeds"]["123"]}}
    assert verdicts(both)[:4] == ["yes", "**no**", "yes", "yes"]
    page = luna_lessons_report.page(both, SOURCE)
    assert "recall 0.800 / 0.000" in page
    assert "python -m experiments.luna_lessons.run --seeds 1 2\n" in page


def test_the_page_is_that_of_the_results():
    source = ROOT / "results/luna-synthetic-cuda.json"
    found = json.loads(source.read_bytes())
    assert (ROOT / "docs" / luna_lessons_report.PAGE).read_text() == luna_lessons_report.page(found, source)
    assert verdicts(found) == ["yes"] * 6


def test_a_run_is_measured(place):
    """All seven runs, tiny: what is measured of them is what the page needs."""
    size = replace(
        SIZES["cpu"], batch_size=4, fewer=1, classified=(1, 8), segmented=(1, 4), all_nodules=(1, 4), fine_tuned=(1, 4)
    )
    found = lessons(place, size, 7)
    records = {}
    for name in RUNS:
        folder = luna_lessons_runs.run_folder(place, 7, name)
        records[name] = luna_lessons.train(found[name], folder).record
    measured = luna_lessons.measure(place, found, records)
    assert set(measured["malignancy"]["scores"]) == {"diameter", "all-nodules", "head", "head-and-block"}
    outcome = {"scans": 3, "device": "a CPU", "seeds": {"7": measured}}
    assert len(verdicts(outcome)) == 6
