"""The tables of docs/NODULES.md, and what a bundle's answers on real data are compared by."""

import json

import numpy as np
import torch
from torch import nn

from edgekit.train.dataset import Split
from experiments.lung.compare_float import SLICES, compare_crops, compare_slices
from experiments.lung.table import luna_bundles_table, luna_crops_table, luna_pixels_table, nodules_table

ROW = {"model": "luna_unet", "exporter": "onnx", "bundle": "luna_unet-onnx-fp32", "form": "fp32", "recipe": "fp32",
       "status": "verified", "bytes": 1000, "sqnr_db": 112.6, "notes": {}, "note": "", "failed": {},
       "metric": {"name": "dice", "value": 0.5, "float": 0.6, "samples": 9}}  # fmt: skip
FAILED = {
    "model": "luna_unet",
    "exporter": "executorch_xnnpack",
    "form": "int8",
    "failed": {"mixed": "why"},
    "note": "",
}


def written(folder, **content):
    (folder / "found.json").write_text(json.dumps(content))
    return folder / "found.json"


def scan_of(share, common):
    compared = {"flagged_differ": 5, "flagged_share": share, "dice": 0.99, "findings_common": 9, "highest": 10,
                "highest_common": common, "highest_in_order": False}  # fmt: skip
    counts = {"flagged_voxels": 500, "groups": 30, "findings": 9, "seconds": {"read": 1.0, "segment": 60.4}}
    return counts | {"against_float": compared}


def test_a_bundle_has_its_row_and_a_failure_its_reason(tmp_path):
    lines = luna_bundles_table(written(tmp_path, rows=[ROW, FAILED])).splitlines()
    assert lines[2].startswith("| luna_unet | ExecuTorch | int8 | none was made |")
    assert lines[3] == "| luna_unet | onnxruntime | fp32 | fp32 | 1 kB | 113 dB | dice 50.00 % | 60.00 % |  |  |"
    assert [line.count("|") for line in lines[:4]] == [11] * 4
    assert lines[-1] == "- luna_unet, ExecuTorch, int8: mixed: why"


def test_times_that_are_not_valid_say_why(tmp_path):
    timed = ROW | {"latency_ms": {"p50": 2.0, "p95": 3.0, "invalid_because": ["it was busy"]}}
    found = luna_bundles_table(written(tmp_path, rows=[timed], machine={"cpu": "a processor", "cores": "2"}))
    assert "| 2 ms | 3 ms, not valid |" in found
    assert "a processor (2 cores). Not valid: it was busy." in found


def test_what_misses_the_aim_is_named(tmp_path):
    reference = {"flagged_voxels": 400, "groups": 20, "findings": 9}
    forms = {"onnx-fp32": scan_of(0.0001, 10), "onnx-int8": scan_of(0.02, 10), "other": scan_of(0.001, 9)}
    scan = {"origin": "a scan", "shape": [1, 2, 3]}
    found = nodules_table(written(tmp_path, reference=reference, forms=forms, scan=scan, note="So."))
    assert "| onnx-int8 | 500 | 5 | 2.00 % | 0.9900 | 30 | 9 | 9 | 10 of 10, in another order | 61 |" in found
    assert "Reached by: onnx-fp32. Missed by: onnx-int8, other." in found


def test_before_anything_is_measured_the_tables_say_how(tmp_path):
    for table in (luna_bundles_table, luna_pixels_table, luna_crops_table, nodules_table):
        assert table(tmp_path / "none.json").startswith("Not measured yet: `python -m ")


class Shifted(nn.Module):
    """Probabilities above one half where the middle slice is above `at` HU."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def forward(self, hu):
        return torch.sigmoid((hu[:, 3:4] - self.at) / 10)


def test_flagged_pixels_are_compared_on_whole_slices():
    hu = np.zeros((100, 8, 8), np.int16)
    hu[:, 0], hu[:, 1, :2] = 100, 50  # a row that both flag, and two pixels that only the lower threshold does
    found = compare_slices(Shifted(40), Shifted(59), hu)
    count = len(SLICES)
    assert (found["flagged_by_float"], found["differ"], found["share"]) == (8 * count, 2 * count, 0.25)
    assert found["float_logits_near_zero"] == {"0.1": 0.0, "0.5": 0.0, "1.0": 0.25}  # 50 HU lie 0.9 below


def test_crops_taken_otherwise_are_counted():
    class Logits(nn.Module):
        def forward(self, hu):
            return torch.stack([torch.zeros(len(hu)), hu.mean((1, 2, 3, 4))], 1)

    inputs = np.array([-1.0, 0.1, 2.0], np.float32)[:, None, None, None, None] * np.ones((1, 1, 2, 2, 2), np.float32)
    shown = {"some": Split(inputs=inputs, targets=np.ones(3, np.int64))}
    found = compare_crops(lambda hu: Logits()(hu - 0.2), nn.Sequential(Logits(), nn.Softmax(1)), shown)["some"]
    assert (found["crops"], found["nodules"], found["nodules_by_float"], found["otherwise"]) == (3, 1, 2, 1)
    assert 0.04 < found["largest_change"] < 0.06
