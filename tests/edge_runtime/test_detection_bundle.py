"""A detector's bundle as a device has it: opened, replayed, asked for pictures, and refused where it lies."""

import io
import json

import numpy as np
import pytest
from corruptions import rewrite_manifest
from detector_bundle import make_detector_bundle
from PIL import Image
from small_detector import blocks
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime.benchmark.measure import bundle_candidate
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import Suppression
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.loading import load_engine
from edgekit.edge_runtime.worker.replay import replay


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_detector_bundle(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The first golden picture, at its own size and five times as wide, three times as high."""
    folder, (pixels, truth) = tmp_path_factory.mktemp("pictures"), blocks(1)
    small = Image.fromarray(pixels[0, :, :, 0])
    small.save(folder / "small.png")
    small.resize((80, 48), Image.Resampling.NEAREST).save(folder / "large.png")
    return [folder / "small.png", folder / "large.png"], truth[0][truth[0, :, 0] >= 0]


def test_it_is_opened_and_replayed(bundle):
    with Bundle.open(bundle) as opened:
        assert opened.manifest.suppression == Suppression()
        assert opened.manifest.holds == {"scores": "scores", "boxes": "boxes"}
    result = replay(bundle)
    assert result.passed
    assert [output.output for output in result.outputs] == ["scores", "boxes"]
    assert min(output.sqnr_db for output in result.outputs) > 100


def test_boxes_come_in_pixels_of_each_picture(bundle, pictures):
    files, truth = pictures
    done = CliRunner().invoke(app, ["predict", str(bundle), *map(str, files), "--json"])
    small, large = (answer["detections"] for answer in json.loads(done.stdout)["answers"])
    assert sorted(one["box"] for one in small) == sorted(truth[:, 2:].tolist())
    assert [one["label"] for one in small] == ["block"] * len(truth)
    assert all(one["score"] > 0.95 for one in small)
    wanted = [[5 * left, 3 * top, 5 * right, 3 * bottom] for left, top, right, bottom in truth[:, 2:].tolist()]
    np.testing.assert_allclose(sorted(one["box"] for one in large), sorted(wanted), atol=1e-9)


def test_a_person_reads_what_is_sure_and_how_much_is_not(pictures, tmp_path):
    files, truth = pictures
    sure = make_detector_bundle(tmp_path, name="sure-onnx-fp32", suppression=Suppression(score_threshold=0.9))
    done = CliRunner().invoke(app, ["predict", str(sure), str(files[0])])
    left, top, right, bottom = (int(edge) for edge in truth[0, 2:])
    assert f"at {left},{top} to {right},{bottom}" in done.stdout
    assert done.stdout.count("block ") == len(truth)
    assert "below" not in done.stdout
    faint = make_detector_bundle(tmp_path, name="faint-onnx-fp32", bias=-18.0)
    done = CliRunner().invoke(app, ["predict", str(faint), str(files[0])])
    assert done.stdout.strip().endswith(f"{len(truth)} below 50 %")
    off = make_detector_bundle(tmp_path, name="off-onnx-fp32", bias=-40.0)
    done = CliRunner().invoke(app, ["predict", str(off), str(files[0])])
    assert done.stdout.strip().endswith("small.png: nothing found")


def test_inspect_says_what_the_task_is_and_which_boxes_count(bundle):
    done = CliRunner().invoke(app, ["inspect", str(bundle)])
    assert "blocks: detection, 2 labels" in done.stdout
    assert "where things are, and what each is" in done.stdout
    assert "from a score of 0.05; of one label, a box that overlaps a surer one by more than 0.5" in done.stdout
    data = json.loads(CliRunner().invoke(app, ["inspect", str(bundle), "--json"]).stdout)
    assert data["suppression"] == {"iou_threshold": 0.5, "max_detections": 100, "score_threshold": 0.05}


def test_the_documented_way_from_python(bundle):
    pixels, truth = blocks(8)
    with Bundle.open(bundle) as opened, load_engine(opened) as engine:
        outputs = engine.run({"image": pixels[:1]})
    assert outputs["scores"].shape == (1, 16, 2)
    at = outputs["boxes"][0, outputs["scores"][0, :, 0] > 0.5]
    assert sorted(at.tolist()) == sorted(truth[0, truth[0, :, 0] >= 0, 2:].tolist())


def test_it_is_measured_without_its_answers(bundle):
    """Boxes have no fixed place, so they are not kept beside the times."""
    candidate = bundle_candidate(bundle)
    pixels, _ = blocks(8)
    with Bundle.open(bundle) as opened, load_engine(opened) as engine:
        runs = [engine.run({"image": pixels[i : i + 1]}) for i in range(8)]
    outputs = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    assert candidate.keep_answers(outputs) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("suppression"), "suppression belongs to the task 'detection' and to no other"),
        (
            lambda data: data.update(task="none"),
            "suppression belongs to the task 'detection' and to no other, found 'none'",
        ),
        (lambda data: data["suppression"].update(max_detections=10_001), "max_detections goes from 1 to 10,000"),
        (lambda data: data["suppression"].update(iou_threshold=1.5), "iou_threshold go from 0 to 1"),
        (lambda data: data["suppression"].pop("score_threshold"), "suppression.score_threshold is missing"),
        (lambda data: data["suppression"].update(per_label=True), "suppression.per_label is not a known field"),
        (lambda data: data["suppression"].update(max_detections=5.0), "max_detections should be a whole number"),
    ],
)
def test_a_manifest_that_lies_about_it_is_refused(change, message, tmp_path):
    copy = make_detector_bundle(tmp_path)
    rewrite_manifest(copy, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(copy)


def test_without_scores_its_answers_cannot_be_read(tmp_path):
    copy = make_detector_bundle(tmp_path)
    rewrite_manifest(copy, lambda data: data["programs"][0]["outputs"][0].update(holds="values"))
    with pytest.raises(BundleError, match="which takes scores and boxes, but its outputs hold values, boxes"):
        replay(copy)


def test_a_picture_that_is_turned_by_its_exif_block_has_its_boxes_upright(bundle, pictures, tmp_path):
    files, truth = pictures
    turned = Image.open(files[0]).transpose(Image.Transpose.ROTATE_90)  # a camera held on its side
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(file.getvalue())
    done = CliRunner().invoke(app, ["predict", str(bundle), str(tmp_path / "turned.png"), "--json"])
    found = json.loads(done.stdout)["answers"][0]["detections"]
    assert sorted(one["box"] for one in found) == sorted(truth[:, 2:].tolist())
