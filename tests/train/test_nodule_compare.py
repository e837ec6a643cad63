"""Two results of `edgekit nodules` on one scan compared: counted by hand, and as a user types it."""

import json

import numpy as np
import pytest
import SimpleITK
from small_nodules import LUNG_HU, always, ball, thresholding
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime.errors import InputError, MissingData, UsageError
from edgekit.train.checkpoint import save_weights
from edgekit.train.nodules.compare import Results, compare, read_results
from edgekit.train.nodules.report import save_mask


def finding(x, nodule):
    return {"center_mm": [x, 0.0, 0.0], "nodule": nodule}


def written(flagged, *findings, uid="1.2"):
    mask = np.zeros((2, 3, 5), bool)
    mask.flat[list(flagged)] = True
    answer = {"findings": list(findings), "provenance": {"series_uid": uid, "groups": len(flagged)}}
    return Results(answer=answer, mask=mask)


def test_voxels_and_findings_counted_by_hand():
    reference = written([1, 2, 3, 4], finding(0, 0.9), finding(20, 0.8), finding(40, 0.7))
    found = written([2, 3, 4, 9, 10], finding(21, 0.95), finding(2, 0.85), finding(90, 0.6))
    seen = compare(found, reference)
    assert (seen.flagged_voxels, seen.flagged_differ, seen.flagged_share) == (5, 3, 0.75)
    assert seen.dice == pytest.approx(2 * 3 / 9, abs=1e-6)
    assert (seen.groups, seen.groups_reference) == (5, 4)
    assert (seen.findings_common, seen.highest, seen.highest_common, seen.highest_in_order) == (2, 3, 2, False)
    assert seen.largest_probability_change == pytest.approx(0.15)
    assert "3 flagged voxels differ (75.00 %)" in seen.text
    assert "2 of the 3 most probable findings are the same" in seen.text


def test_each_finding_is_matched_once_the_nearest_first():
    reference = written([1], finding(0, 0.9), finding(4, 0.8))
    assert compare(written([1], finding(3, 0.9)), reference).findings_common == 1
    both = compare(written([1], finding(3, 0.9), finding(1, 0.8)), reference)
    assert (both.findings_common, both.highest_common, both.highest_in_order) == (2, 2, False)
    assert "the same 2 most probable findings, in another order" in both.text


def test_the_eleventh_finding_is_not_among_the_highest():
    findings = [finding(20 * i, 0.99 - i / 100) for i in range(12)]
    swapped = [*findings[:9], findings[11], *findings[9:11]]
    seen = compare(written([1], *swapped), written([1], *findings))
    assert (seen.findings_common, seen.highest, seen.highest_common) == (12, 10, 9)


def test_a_mask_comes_back_as_it_was_and_damage_is_named(tmp_path):
    wanted = written([0, 7, 29])
    (tmp_path / "nodules.json").write_text(json.dumps(wanted.answer))
    with pytest.raises(MissingData, match=r"has no mask\.npz"):
        read_results(tmp_path)
    save_mask(tmp_path / "mask.npz", wanted.mask)
    assert np.array_equal(read_results(tmp_path).mask, wanted.mask)
    (tmp_path / "mask.npz").write_bytes(b"no zip")
    with pytest.raises(InputError, match="are damaged"):
        read_results(tmp_path)


def test_two_scans_are_not_compared():
    with pytest.raises(UsageError, match=r"series 1\.2 cannot be compared with results of 1\.3"):
        compare(written([1]), written([1], uid="1.3"))


def test_against_an_earlier_run_as_a_user_types_it(tmp_path):
    """The second run has the same U-Net, and a classifier that calls nothing a nodule."""
    shape = (32, 100, 100)
    dense = ball(shape, (16, 50, 50), 5)
    for name in ("scan", "other"):
        image = SimpleITK.GetImageFromArray(np.where(dense, 0, LUNG_HU).astype(np.int16))
        SimpleITK.WriteImage(image, str(tmp_path / f"{name}.mhd"))
    save_weights(thresholding(), tmp_path / "unet.safetensors")

    def run(logit, out, *words, scan="scan"):
        save_weights(always(logit), tmp_path / "classifier.safetensors")
        nets = [
            "--segmenter",
            str(tmp_path / "unet.safetensors"),
            "--classifier",
            str(tmp_path / "classifier.safetensors"),
        ]
        line = ["nodules", str(tmp_path / f"{scan}.mhd"), "--out", str(tmp_path / out), "--top", "0", *nets, *words]
        return CliRunner().invoke(app, line)

    assert run(3, "first").exit_code == 0
    same = run(3, "second", "--against", str(tmp_path / "first"))
    assert same.exit_code == 0
    assert "0 flagged voxels differ (0 %)" in same.output
    assert "the same 1 most probable findings, in the same order" in same.output
    fewer = run(-3, "third", "--against", str(tmp_path / "first"), "--json")
    assert json.loads(fewer.stdout)["against"]["findings_common"] == 0
    wrong = run(3, "fourth", "--against", str(tmp_path / "first"), scan="other")
    assert isinstance(wrong.exception, UsageError)
    assert not (tmp_path / "fourth").exists()
