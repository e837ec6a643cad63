"""Real nodules in 2-D: how they are read, split and brought to one scale; the net learns; areas and their intervals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_runtime.detection_metrics import auc
from edge_runtime.errors import MissingData
from train import lidc_measure
from train.data.lidc_malignancy import FILE, SIDE, disc, malignancy, read_nodules, resampled
from train.epoch import on_device
from train.fit import fit
from train.models.lidc_malignancy import MODEL


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
    areas = (resampled(hu, spacing) > -500).sum(axis=(1, 2)) * 0.7**2
    assert areas == pytest.approx(np.pi * 25, rel=0.05)


def test_at_its_own_scale_a_square_stays_as_it_is():
    hu = np.random.default_rng(0).integers(-1000, 1000, (1, 71, 71)).astype(np.int16)
    made = resampled(hu, np.array([0.7]))
    middle = hu[0, 3:68, 3:68].astype(np.float32)  # 64 pixels round the middle of 71: each between four
    between = (middle[:-1, :-1] + middle[1:, :-1] + middle[:-1, 1:] + middle[1:, 1:]) / 4
    assert made.shape == (1, SIDE, SIDE)
    assert made[0] == pytest.approx(between, abs=0.01)


def test_the_disc_has_the_nodules_area():
    marked = disc(np.array([6.0, 20.0]))
    assert marked.shape == (2, SIDE, SIDE)
    assert (marked > 0).sum(axis=(1, 2)) * 0.7**2 == pytest.approx(np.pi * np.array([9, 100]), rel=0.1)
    assert (marked.min(), marked.max()) == (-1000, 1000)


def test_the_net_learns_what_is_larger(file, tmp_path):
    config = replace(MODEL.fit, epochs=6, batch_size=8)
    record = fit(MODEL, tmp_path / "run", config=config, device="cpu").record
    assert record.curve[-1].validation["auc"] > 0.9
    found = lidc_measure.margins({123: tmp_path / "run" / "weights.safetensors"})["seed 123"]
    _, targets = on_device(MODEL, MODEL.data().validation, "cpu")
    assert auc(found, targets) == pytest.approx(record.curve[-1].validation["auc"])


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


def test_the_model_has_as_many_parameters_as_it_says():
    module = MODEL.build()
    assert sum(p.numel() for p in module.parameters()) == 23_630
    assert module.eval()(torch.zeros(1, 2, SIDE, SIDE)).shape == (1, 2)
