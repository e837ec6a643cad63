"""The search for the malignancy net's settings, what is measured of the nets, and the page of the results."""

import json
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT
from small_lidc import write_nodules

from edgekit.edge_runtime.errors import EdgekitError, MissingData
from edgekit.edge_runtime.tasks.detection_metrics import auc
from edgekit.train.data.lidc_malignancy import SIDE, draw_discs, read_nodules
from edgekit.train.loop.fit import fit
from edgekit.train.models.lidc_malignancy import CHOSEN, MODEL, SETTINGS, SliceNet, measurements
from experiments.lidc import measure as lidc_measure
from experiments.lidc import search as lidc_search
from experiments.lidc.eight_views import EightViews
from experiments.lidc.search import Plan


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    return write_nodules(tmp_path)


def test_margins_are_large_for_what_is_malignant_and_a_mean_over_the_runs(file, tmp_path):
    fit(MODEL, tmp_path / "run", config=replace(MODEL.fit, epochs=6, batch_size=8), device="cpu")
    weights = tmp_path / "run" / "weights.safetensors"
    data = MODEL.data().validation
    found = lidc_search.margins(MODEL, [weights], data, "cpu")
    assert auc(found, data.targets) > 0.9
    twice = lidc_search.margins(MODEL, [weights, weights], data, "cpu")
    assert twice == pytest.approx(found, abs=1e-5)


def test_intervals_of_the_lead_draw_the_same_series_for_both():
    """The diameter against itself leads by exactly nothing; a perfect score leads by the whole difference."""
    random = np.random.default_rng(1)
    malignant = random.random(200) < 0.3
    diameter = malignant + random.normal(0, 1, 200)
    scores = {lidc_measure.DIAMETER: diameter, "perfect": malignant.astype(float)}
    series = np.array([str(i // 4) for i in range(200)])
    found = lidc_measure.areas(scores, malignant, series)
    assert (found["nodules"], found["series"]) == (200, 50)
    assert found["scores"][lidc_measure.DIAMETER]["lead_interval"] == [0, 0]
    low, high = found["scores"]["perfect"]["lead_interval"]
    assert 0 < low < 1 - auc(diameter, malignant) < high


def test_folds_are_of_training_series_and_never_share_one(file):
    found = read_nodules()
    seen = ~found.validation
    number = lidc_search.fold_numbers(found.series[seen], 5)
    for uid in set(found.series[seen]):
        assert len(set(number[found.series[seen] == uid])) == 1
    sizes = [len(lidc_search.fold_data(fold, 5, "hard").validation) for fold in range(5)]
    assert sizes == np.bincount(number).tolist()
    assert {len(lidc_search.fold_data(fold, 5, "soft").train) + sizes[fold] for fold in range(5)} == {int(seen.sum())}


def test_the_search_judges_every_training_nodule_and_measure_takes_its_best(file, tmp_path):
    name = "soft, rigid, measured"
    plan = Plan(names=(name,), folds=2, seeds=(1,))
    result = lidc_search.search(plan, partial(lidc_search.train_fold, plan, tmp_path / "search", 1))
    assert result["best"] == name
    assert set(result["areas"]) == {"diameter", name}
    assert sum(len(row["margins"]) for row in result["trainings"]) == result["nodules"]
    runs = {1: lidc_measure.train(tmp_path / "runs", "cpu", name, 1, epochs=1)}
    measured = lidc_measure.measure(runs, read_nodules(), result, resamples=20)
    assert list(measured["all"]["scores"]) == ["diameter", "seed 1", "all seeds together"]
    page = lidc_measure.page(measured)
    assert f"| **{name}** |" in page
    assert f'python -m experiments.lidc.search --only "{name}" --seeds 1\n' in page
    assert "python -m experiments.lidc.measure --seeds 1\n" in page


class Judged:
    """Answers for nets: perfect margins of one setting, the worst of all others. Interrupted after `most` jobs."""

    def __init__(self, perfect, most):
        self.perfect, self.most, self.jobs = perfect, most, []

    def __call__(self, job):
        if len(self.jobs) == self.most:
            raise KeyboardInterrupt
        self.jobs.append(job)
        held = lidc_search.fold_data(job[1], 2, "hard").validation
        return held.targets * (1.0 if job[0] == self.perfect else -1.0)


def test_an_interrupted_search_continues_and_trains_again_what_has_changed(file, tmp_path):
    plan, out = Plan(names=("hard, rigid", "soft, rigid"), folds=2, seeds=(1,)), tmp_path / "results" / "search.json"
    first = Judged("soft, rigid", most=3)
    with pytest.raises(KeyboardInterrupt):
        lidc_search.search(plan, first, out=out)
    assert first.jobs == plan.jobs[:3]
    with pytest.raises(MissingData, match="is unfinished"):
        lidc_measure.read_search(out)
    second = Judged("soft, rigid", most=9)
    result = lidc_search.search(plan, second, out=out)
    assert second.jobs == plan.jobs[3:]
    assert (result["best"], result["areas"]["soft, rigid"]["auc"]) == ("soft, rigid", 1)
    assert lidc_measure.read_search(out) == json.loads(json.dumps(result))
    changed = replace(plan, settings=SETTINGS | {"soft, rigid": replace(SETTINGS["soft, rigid"], epochs=3)})
    third = Judged("soft, rigid", most=9)
    assert lidc_search.search(changed, third, out=out)["best"] == "soft, rigid"
    assert third.jobs == plan.jobs[2:]
    out.write_text("[]")
    with pytest.raises(EdgekitError, match="holds no results of this search"):
        lidc_search.search(plan, third, out=out)


def test_the_model_is_the_best_that_the_search_found():
    results = ROOT / lidc_search.RESULTS
    found = json.loads(results.read_bytes())
    assert found["best"] == CHOSEN
    assert found["settings"][CHOSEN] == asdict(SETTINGS[CHOSEN])


def test_measured_nets_know_the_same_of_a_turned_slice():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(1, 1, SIDE, SIDE) * 300, torch.from_numpy(draw_discs(np.array([20.0])))[None]], dim=1)
    assert torch.allclose(measurements(x), measurements(torch.rot90(x, 1, (2, 3)).flip(3)), atol=1e-4)
    together = EightViews(SliceNet(measured=True), SliceNet(measured=True)).eval()
    assert torch.allclose(together(x), together(torch.rot90(x, 3, (2, 3))), atol=1e-4)


def test_the_page_is_that_of_the_results():
    found = json.loads((ROOT / "results/lidc-malignancy-cpu.json").read_bytes())
    assert (ROOT / "docs" / lidc_measure.PAGE).read_text() == lidc_measure.page(found)
    searched = lidc_measure.read_search(ROOT / lidc_search.RESULTS)
    assert found["search"] == {
        name: {key: row[key] for key in ("auc", "folds")} for name, row in searched["areas"].items()
    }
