"""The nets that tell malignant nodules on one slice: what they learn, their size, and their INT8 program."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_lidc import write_nodules

from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import deploy_book_model, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.train.data.lidc_malignancy import SIDE, draw_discs
from edgekit.train.loop.fit import fit
from edgekit.train.models.lidc_malignancy import MODEL, SETTINGS, SliceNet, measurements, model_of


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    return write_nodules(tmp_path)


def test_the_net_learns_what_is_larger(file, tmp_path):
    config = replace(MODEL.fit, epochs=6, batch_size=8)
    record = fit(MODEL, tmp_path / "run", config=config, device="cpu").record
    assert record.curve[-1].validation["auc"] > 0.9


@pytest.mark.slow
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


def test_the_net_has_as_many_parameters_as_it_says():
    counts = [sum(p.numel() for p in SliceNet(measured=measured).parameters()) for measured in (False, True)]
    assert counts == [23_630, 23_630 + 7 * 16 + 7 * 2 + 14]
    assert MODEL.build().eval()(torch.zeros(1, 2, SIDE, SIDE)).shape == (1, 2)


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
