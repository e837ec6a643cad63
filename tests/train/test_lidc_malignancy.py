"""Real nodules in 2-D: how they are read, split and brought to one scale; the net learns; areas and their intervals."""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.edge_runtime.errors import EdgekitError, MissingData
from edgekit.edge_runtime.tasks.detection_metrics import auc
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import deploy_book_model, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.train.data.lidc_malignancy import FILE, SIDE, draw_discs, malignancy, read_nodules, resample
from edgekit.train.loop.fit import fit
from edgekit.train.models.lidc_malignancy import CHOSEN, MODEL, SETTINGS, SliceNet, measurements, model_of
from experiments.lidc import measure as lidc_measure
from experiments.lidc import search as lidc_search
from experiments.lidc.eight_views import EightViews
from experiments.lidc.search import Plan


def write_nodules(root, count=40):
    """A file in LIDC's form: bright squares on lung, the malignant ones larger; two nodules a series."""
    random = np.random.default_rng(0)
    raw = random.normal(150, 20, (count, 71, 71)).astype(np.int16)
    rating = np.arange(count) % 5 + 1
    for picture, value in zip(raw, rating, strict=True):
        half = 4 if value < 4 else 12
        picture[35 - half : 36 + half, 35 - half : 36 + half] += 900
    path = root / FILE
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        raw=raw,
        rescale_intercept=np.full(count, -1024, np.int16),
        series_uid=np.array([f"1.2.{i // 2}" for i in range(count)]),
        malignancy=rating.astype(np.int8),
        pixel_spacing_mm=np.full(count, 0.7, np.float32),
        equiv_diameter_mm=random.uniform(3, 30, count).astype(np.float32),
    )
    return path


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    return write_nodules(tmp_path)


def test_no_series_is_on_both_sides_of_the_split(file):
    found = read_nodules()
    held, seen = set(found.series[found.validation]), set(found.series[~found.validation])
    assert not held & seen
    assert len(held) + len(seen) == 20
    data = malignancy()
    assert (len(data.train), len(data.validation)) == (int((~found.validation).sum()), int(found.validation.sum()))
    assert data.validation.targets.tolist() == (found.rating[found.validation] >= 4).astype(int).tolist()


def test_a_nodule_is_as_large_whatever_the_scanners_pixels():
    """A disc of 10 mm, in pixels of 0.5 and of 0.9 mm, covers the same number of pixels afterwards."""
    spacing = np.array([0.5, 0.9])
    away = np.hypot(*np.meshgrid(np.arange(71) - 35, np.arange(71) - 35))
    hu = np.where(away * spacing[:, None, None] < 5, 0, -1000).astype(np.int16)
    areas = (resample(hu, spacing) > -500).sum(axis=(1, 2)) * 0.7**2
    assert areas == pytest.approx(np.pi * 25, rel=0.05)


def test_at_its_own_scale_a_square_stays_as_it_is():
    hu = np.random.default_rng(0).integers(-1000, 1000, (1, 71, 71)).astype(np.int16)
    made = resample(hu, np.array([0.7]))
    middle = hu[0, 3:68, 3:68].astype(np.float32)  # 64 pixels round the middle of 71: each between four
    between = (middle[:-1, :-1] + middle[1:, :-1] + middle[:-1, 1:] + middle[1:, 1:]) / 4
    assert made.shape == (1, SIDE, SIDE)
    assert made[0] == pytest.approx(between, abs=0.01)


def test_the_disc_has_the_nodules_area():
    marked = draw_discs(np.array([6.0, 20.0]))
    assert marked.shape == (2, SIDE, SIDE)
    assert (marked > 0).sum(axis=(1, 2)) * 0.7**2 == pytest.approx(np.pi * np.array([9, 100]), rel=0.1)
    assert (marked.min(), marked.max()) == (-1000, 1000)


def test_the_net_learns_what_is_larger(file, tmp_path):
    config = replace(MODEL.fit, epochs=6, batch_size=8)
    record = fit(MODEL, tmp_path / "run", config=config, device="cpu").record
    assert record.curve[-1].validation["auc"] > 0.9
    weights = tmp_path / "run" / "weights.safetensors"
    data = MODEL.data().validation
    found = lidc_search.margins(MODEL, [weights], data, "cpu")
    assert auc(found, data.targets) > 0.9
    twice = lidc_search.margins(MODEL, [weights, weights], data, "cpu")
    assert twice == pytest.approx(found, abs=1e-5)


def test_a_measured_net_in_int8_is_lowered_and_answers_alike(file, tmp_path):
    """XNNPACK has no program of a quantized tensor that it pools and that an operator outside of it sums."""
    pytest.importorskip("executorch")
    measured = model_of(SETTINGS["soft, rigid, measured"])
    weights = fit(
        measured, tmp_path / "run", config=replace(measured.fit, epochs=2, batch_size=8), device="cpu"
    ).weights
    model = deploy_book_model(measured, weights)
    model = replace(model, calibration={name: rows[:16] for name, rows in model.calibration.items()})
    wanted = run_module(model, model.module, model.validation)["probabilities"]
    stages = EXPORTERS["executorch_xnnpack"].export(model, RECIPES["w8a8_static"], tmp_path / "model.pte")
    found = {stage.kind: sqnr_db(wanted, stage.run(model.validation)["probabilities"]) for stage in stages}
    assert found["lower"] > 20


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


def test_a_missing_and_a_damaged_file_are_named(file):
    file.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(MissingData, match=r"lidc_maxslice.* is damaged"):
        read_nodules()
    file.unlink()
    with pytest.raises(MissingData, match=r"lidc_maxslice.* is not there"):
        read_nodules()


def test_the_real_nodules(data_root):
    if not (data_root / FILE).is_file():
        pytest.skip(f"the nodules of LIDC-IDRI are not in {data_root}")
    found = read_nodules()
    held = found.validation
    assert (len(held), int(held.sum()), int((found.rating >= 4).sum())) == (1900, 582, 425)
    assert auc(found.diameter_mm[held], found.rating[held] >= 4) == pytest.approx(0.8989, abs=1e-4)
    assert -1100 < np.median(found.hu[:, 0, 0]) < 100


def test_the_net_has_as_many_parameters_as_it_says():
    counts = [sum(p.numel() for p in SliceNet(measured=measured).parameters()) for measured in (False, True)]
    assert counts == [23_630, 23_630 + 7 * 16 + 7 * 2 + 14]
    assert MODEL.build().eval()(torch.zeros(1, 2, SIDE, SIDE)).shape == (1, 2)


def test_the_model_is_the_best_that_the_search_found():
    results = Path(__file__).resolve().parents[2] / lidc_search.RESULTS
    found = json.loads(results.read_bytes())
    assert found["best"] == CHOSEN
    assert found["settings"][CHOSEN] == asdict(SETTINGS[CHOSEN])


def test_chances_to_learn_from_follow_the_rating(file):
    found, data = read_nodules(), malignancy("linear")
    expected = (found.rating[~found.validation] - 1) / 4
    assert data.train.targets[:, 1] == pytest.approx(expected)
    assert data.train.targets.sum(axis=1) == pytest.approx(np.ones(len(expected)))
    assert data.validation.targets.tolist() == (found.rating[found.validation] >= 4).astype(int).tolist()


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


def test_every_setting_makes_a_net_that_answers():
    forms = {(setting.width, setting.measured) for setting in SETTINGS.values()}
    assert forms == {(32, False), (32, True), (64, True)}
    for setting in SETTINGS.values():
        module = model_of(setting).build().eval()
        assert module(torch.zeros(2, 2, SIDE, SIDE)).shape == (2, 2)
        torch.jit.script(module)


def test_what_is_measured_of_a_ball_of_water_in_air():
    slices = torch.from_numpy(
        np.stack([np.where(draw_discs(np.array([14.0]))[0] > 0, 0, -1000), draw_discs(np.array([14.0]))[0]])
    )
    area, mean, spread, ring, solid, solid_around, chalk = measurements(slices[None].float())[0].tolist()
    assert np.exp(area) * 0.49 == pytest.approx(np.pi * 49, rel=0.05)
    assert (mean, ring) == (pytest.approx(0, abs=0.1), pytest.approx(-1, abs=0.1))
    assert spread < 0.3
    assert solid > 0.9 > 0.1 > solid_around
    assert chalk < 0.05


def test_measured_nets_know_the_same_of_a_turned_slice():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(1, 1, SIDE, SIDE) * 300, torch.from_numpy(draw_discs(np.array([20.0])))[None]], dim=1)
    assert torch.allclose(measurements(x), measurements(torch.rot90(x, 1, (2, 3)).flip(3)), atol=1e-4)
    together = EightViews(SliceNet(measured=True), SliceNet(measured=True)).eval()
    assert torch.allclose(together(x), together(torch.rot90(x, 3, (2, 3))), atol=1e-4)


def test_the_page_is_that_of_the_results():
    root = Path(__file__).resolve().parents[2]
    found = json.loads((root / "results/lidc-malignancy-cpu.json").read_bytes())
    assert (root / "docs" / lidc_measure.PAGE).read_text() == lidc_measure.page(found)
    searched = lidc_measure.read_search(root / lidc_search.RESULTS)
    assert found["search"] == {
        name: {key: row[key] for key in ("auc", "folds")} for name, row in searched["areas"].items()
    }
