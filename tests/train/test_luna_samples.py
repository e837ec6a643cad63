"""The few real samples of the lung project's nets, and that they step in where no store is."""

from dataclasses import replace

import numpy as np
import pytest

from edgekit.edge_runtime.errors import MissingData
from edgekit.optimize.deploy import deploy_book_model
from edgekit.train.checkpoint import save_weights
from edgekit.train.data import lidc, luna_samples
from edgekit.train.data.dicom import Volume
from edgekit.train.models.luna_unet import LunaUNet
from edgekit.train.registry import book_model


def volume(depth):
    hu = np.arange(depth, dtype=np.int16)[:, None, None] * np.ones((120, 130), np.int16) * 100
    return Volume(hu=hu, spacing_mm=(3, 1, 1), origin_mm=(0, 0, 0), orientation=np.eye(3), series_uid="any")


def test_tiles_are_seven_slices_around_the_calibrated_ones_cut_to_what_the_net_takes():
    tiles = luna_samples.calibration_tiles(volume(40))
    assert (tiles.shape, tiles.dtype) == ((24, 7, 96, 96), np.float32)  # six of the slices 5, 15, 25 and 35
    assert tiles[:, 3, 0, 0].tolist() == [500.0] * 6 + [1000.0] * 18
    assert tiles[0, :, 0, 0].tolist() == [200, 300, 400, 500, 600, 700, 800]


def test_crops_of_the_calibrated_slices_lie_anywhere_in_them():
    crops = luna_samples.calibration_crops(volume(60))
    assert (crops.shape, crops.dtype) == ((36, 1, 32, 48, 48), np.float32)  # six around 5, 15, 25, 35, 45 and 55
    # A crop begins half its depth before its slice, but not before the scan, and ends with it at the latest.
    assert crops[:, 0, 0, 0, 0].tolist() == [0.0] * 12 + [900.0] * 6 + [1900.0] * 6 + [2800.0] * 12


def test_no_held_out_slice_sees_a_slice_that_calibrated_nets():
    assert all(abs(held - middle) > 3 for held in luna_samples.HELD_OUT for middle in luna_samples.CALIBRATED)


def test_real_samples_step_in_for_a_store(tmp_path, data_root, monkeypatch):
    if not (data_root / "luna" / "lidc_3d_hu_100px").is_dir():
        pytest.skip(f"the real crops are not in {data_root}")
    for folder in ("book", *(f"luna/{path.name}" for path in (data_root / "luna").iterdir() if path.name != "store")):
        (tmp_path / "data" / folder).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / folder).symlink_to(data_root / folder)
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
    save_weights(LunaUNet(), tmp_path / "unet.safetensors")
    model = deploy_book_model(book_model("luna_unet"), tmp_path / "unet.safetensors")
    held = lidc.slices()
    assert np.array_equal(model.validation["hu"], held.validation.inputs)
    assert np.array_equal(model.calibration["hu"][: len(held.calibration)], held.calibration.inputs)
    assert "real crops of LIDC-IDRI" in model.origin
    if luna_samples.dicom_folder().is_dir():
        assert len(model.calibration["hu"]) == len(held.calibration) + 60
        assert "calibrated besides on slices of one CT of CPTAC" in model.origin


def test_the_classifier_calibrates_on_the_whole_scan_too(data_root):
    if not ((data_root / "luna" / "lidc_3d_hu_100px").is_dir() and luna_samples.dicom_folder().is_dir()):
        pytest.skip(f"the real crops or the whole CT are not in {data_root}")
    found, held = luna_samples.crops(), lidc.crops()
    assert len(found.calibration) == len(held.calibration) + 60
    assert np.array_equal(found.validation.inputs, held.validation.inputs)
    assert "calibrated besides on slices of one CT of CPTAC" in found.origin


def test_malignancy_is_judged_on_nodules_alone(data_root):
    if not (data_root / "luna" / "lidc_3d_hu_100px").is_dir():
        pytest.skip(f"the real crops are not in {data_root}")
    judged = luna_samples.malignancy().validation
    assert judged.targets.tolist() == [1, 0, 0, 1, 0, 0, 1]
    # Three nodules of one patient and one of another; two scans of LUNA16.
    assert judged.groups[:4].tolist() == ["LIDC-IDRI-0055"] * 3 + ["LIDC-IDRI-0001"]
    assert len(set(judged.groups.tolist())) == 4


def test_what_the_real_crops_show_is_known(data_root):
    if not (data_root / "luna" / "lidc_3d_hu_100px").is_dir():
        pytest.skip(f"the real crops are not in {data_root}")
    shown = lidc.crops_by_content()
    assert [(len(split), set(split.targets.tolist())) for split in shown.values()] == [
        (3, {1}),
        (2, {0}),
        (8, {1}),
        (32, {0}),
    ]
    nodule = lidc.nodule_hu(lidc.CALIBRATION[0])
    assert shown["LIDC nodules, in the middle of the crop"].inputs[0, 0, 16, 24, 24] == nodule[30, 50, 50]


def test_without_either_the_way_to_a_store_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    save_weights(LunaUNet(), tmp_path / "unet.safetensors")
    for book in (book_model("luna_unet"), replace(book_model("luna_unet"), samples=None)):
        with pytest.raises(MissingData, match="there are no prepared scans in"):
            deploy_book_model(book, tmp_path / "unet.safetensors")
