"""`edgekit nodules` from a scan and weight files to its folder: places in the patient, the page, and bad input."""

import json
import math
import re
import signal

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from small_nodules import LUNG_HU, Middle, Share, always, ball, thresholding, upright
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.cli.nodules import nodules
from edgekit.edge_runtime.errors import InputError, Interrupted, MissingData, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.checkpoint import save_weights
from edgekit.train.data.synthetic_ct import SPACING_MM, make_scan
from edgekit.train.nodules.analysis import Nets, analyse, choose_weights


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A synthetic scan with its nodules alone in the lung, and what is known of them."""
    made = make_scan(0, seed=9, slices=40, side=96, others=1)
    kept = np.full_like(made.hu, LUNG_HU)
    for nodule in made.nodules:
        voxel = (np.array(nodule.center_mm) - made.origin_mm)[::-1] / SPACING_MM
        grid = np.ogrid[tuple(map(slice, kept.shape))]
        far = sum(((axis - v) * s) ** 2 for axis, v, s in zip(grid, voxel, SPACING_MM, strict=True))
        near = far <= (0.75 * nodule.diameter_mm) ** 2
        kept[near] = made.hu[near]
    image = SimpleITK.GetImageFromArray(kept)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin(made.origin_mm)
    path = tmp_path_factory.mktemp("scan") / f"{made.uid}.mhd"
    SimpleITK.WriteImage(image, str(path))
    return path, made.nodules


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_weights(thresholding(), folder / "seg.safetensors")
    save_weights(always(3), folder / "cls.safetensors")
    save_weights(always(-1), folder / "mal.safetensors")
    return {name: folder / f"{name[:3]}.safetensors" for name in ("segmenter", "malignancy")} | {
        "classifier": folder / "cls.safetensors"
    }


@pytest.fixture(scope="module")
def analysed(scan, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "found"
    nodules(scan[0], out=out, top=2, **weights)
    return out, json.loads((out / "nodules.json").read_text())


def test_every_nodule_is_found_where_it_lies(scan, analysed):
    """By the book's rule a finding matches within 0.7 of the diameter; here within a voxel or two."""
    _, answer = analysed
    assert len(answer["findings"]) == len(scan[1]) >= 2
    for nodule in scan[1]:
        found = min(answer["findings"], key=lambda one: math.dist(one["center_mm"], nodule.center_mm))
        assert math.dist(found["center_mm"], nodule.center_mm) < 1.5
        assert found["diameter_mm"] == pytest.approx(nodule.diameter_mm, rel=0.3)


def test_a_voxel_and_its_millimetres_are_one_place(scan, analysed):
    header = SimpleITK.ReadImage(str(scan[0]))
    for one in analysed[1]["findings"]:
        x, y, z = header.TransformIndexToPhysicalPoint(one["voxel"][::-1])
        assert np.abs(np.subtract(one["center_mm"], (x, y, z))).tolist() <= [0.36, 0.36, 0.63]


def test_the_folder_says_what_came_from_where(analysed, weights):
    out, answer = analysed
    assert sorted(path.name for path in out.iterdir()) == [
        "finding-001.png",
        "finding-002.png",
        "index.html",
        "mask.npz",
        "nodules.json",
    ]
    said = answer["provenance"]
    assert {net: of["sha256"] for net, of in said["weights"].items()} == {n: sha256_file(p) for n, p in weights.items()}
    assert (said["shape"], said["groups"]) == ([40, 96, 96], len(answer["findings"]))
    assert said["flagged_voxels"] >= sum(one["voxels"] for one in answer["findings"])
    assert set(said["seconds"]) == {"read", "segment", "group", "classify"}
    first = answer["findings"][0]
    assert (first["nodule"], first["malignant"]) == pytest.approx((0.95257, 0.26894), abs=1e-4)


def test_the_page_shows_all_findings_and_fetches_nothing(analysed):
    out, answer = analysed
    page = (out / "index.html").read_text()
    assert "SYNTHETIC: this scan was computed" in page
    assert page.count("<tr>") == 1 + len(answer["findings"])
    assert re.findall(r'(?:src|href)="([^#][^"]*)"', page) == ["finding-001.png", "finding-002.png"]
    assert "<script" not in page


def test_a_scan_without_findings_is_an_answer(weights, tmp_path, capsys):
    save_weights(always(-2), tmp_path / "no.safetensors")
    hu = np.where(ball((32, 48, 48), (16, 20, 30), 4), 0, LUNG_HU).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(tmp_path / "ball.mhd"))
    nodules(
        tmp_path / "ball.mhd",
        out=tmp_path / "out",
        segmenter=weights["segmenter"],
        classifier=tmp_path / "no.safetensors",
    )
    assert "ball.mhd: 257 voxels flagged, 1 group, 0 taken for nodules, in" in capsys.readouterr().out
    assert "The most probable group has P(nodule) 0.119." in (tmp_path / "out" / "index.html").read_text()


def test_ctrl_c_leaves_nothing(scan, weights, tmp_path):
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted, match="nothing was written to .*out. The same command starts over"):
            nodules(scan[0], out=tmp_path / "out", **weights)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert list(tmp_path.iterdir()) == []


def test_bad_scans(weights, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (("no.mhd", "there is no scan at .*no.mhd"), ("empty", "empty holds no DICOM slices")):
        with pytest.raises(MissingData, match=message):
            nodules(tmp_path / name, out=tmp_path / "out", **weights)
    small = upright(np.zeros((20, 64, 64)), (1, 1, 1))
    with pytest.raises(InputError, match="scan any has 20 slices of 64 x 64, too few .* at least 32 slices of 48 x 48"):
        analyse(small, Nets(segmenter=Share(), classifier=Middle()))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_bad_weights(scan, weights, tmp_path, monkeypatch):
    swapped = {"segmenter": weights["classifier"], "classifier": weights["classifier"]}
    with pytest.raises(UsageError, match="cls.safetensors holds the weights of another model than LunaUNet"):
        nodules(scan[0], out=tmp_path / "out", **swapped)
    none = {"segmenter": None, "classifier": None, "malignancy": None}
    with pytest.raises(UsageError, match="--segmenter is only one of two nets. Add --classifier FILE"):
        choose_weights(None, **none | {"segmenter": weights["segmenter"]})
    with pytest.raises(UsageError, match="unknown weights 'best'. Known: book"):
        choose_weights("best", **none)
    with pytest.raises(UsageError, match="--weights book has no use beside"):
        choose_weights("book", **weights)
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(MissingData, match="seg_2020.* is not there. It comes with the book's code"):
        choose_weights("book", **none)


def test_a_folder_that_holds_something_is_left_alone(scan, weights, tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "mine.png")
    with pytest.raises(UsageError, match="exists already, and is not empty. Remove it, or give another --out"):
        nodules(scan[0], out=tmp_path, **weights)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_the_verb_passes_on_what_it_is_given(weights, tmp_path):
    hu = np.where(ball((32, 48, 48), (16, 20, 30), 4), 0, LUNG_HU).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(tmp_path / "ball.mhd"))
    files = [word for net, path in weights.items() for word in (f"--{net}", str(path))]
    words = ["nodules", str(tmp_path / "ball.mhd"), "--out", str(tmp_path / "out"), "--top", "0", "--json", *files]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["voxel"], found["center_mm"], found["voxels"]) == ([16, 20, 30], [30, 20, 16], 257)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "mask.npz", "nodules.json"]
