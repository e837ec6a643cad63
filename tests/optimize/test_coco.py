"""A user's detector and pictures with boxes in COCO's format: what is read, what is refused, and how it is proven."""

import json
from dataclasses import replace

import numpy as np
import pytest
import small_detector
import torch
from small_detector import LABELS, blocks, write_coco
from tiny_bundle import PICTURE

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import Suppression
from edgekit.edge_runtime.errors import InputError, MissingData, UsageError
from edgekit.optimize import Request
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.coco import coco_samples, read_coco
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.sources import of_module
from edgekit.optimize.verify import FloatReference

CONTRACT = replace(PICTURE, height=16, width=16, resize_to=16, interpolation="nearest")
SEEN = {"sample_shape": (1, 1, 16, 16), "no_normalise": True}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """60 pictures of 32 x 32 pixels, twice the size of the input, in COCO's format."""
    folder = tmp_path_factory.mktemp("coco")
    return write_coco(folder, *blocks(60), scale=2), folder / "pictures"


def changed(written, tmp_path, change):
    """The same file with `change` made to its content."""
    data = json.loads(written[0].read_text())
    change(data)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(data))
    return path


def samples_of(path, images, contract=CONTRACT):
    return coco_samples(read_coco(path, images), contract, LABELS, name="image")


def test_boxes_are_in_pixels_of_the_input(written):
    pixels, truth = blocks(60)
    samples = samples_of(*written)
    np.testing.assert_array_equal(samples.arrays["image"], pixels)
    np.testing.assert_array_equal(samples.targets, truth)
    assert samples.words == f"60 pictures with {(truth[..., 0] >= 0).sum()} boxes"


def test_categories_are_sorted_by_id_and_matched_by_name(written):
    coco = read_coco(*written)
    assert coco.categories == LABELS
    turned = coco_samples(coco, CONTRACT, LABELS[::-1], name="image")
    assert set(np.unique(turned.targets[..., 0])) == {-1, 1}
    with pytest.raises(InputError, match="1 of its categories are not among the 2 labels: 'block'"):
        coco_samples(coco, CONTRACT, ("cat", "dog"), name="image")


def test_what_a_centre_crop_leaves_little_of_counts_neither_way(written, tmp_path):
    """Of 32 pixels the crop shows the middle 16, from 8 to 24."""
    boxes = [[0, 8, 8, 8], [4, 8, 8, 8], [5, 8, 8, 8], [8, 8, 8, 8], [3, 8, 8, 8]]

    def change(data):
        data["images"] = data["images"][:1]
        data["annotations"] = [{"id": i, "image_id": 100, "category_id": 3, "bbox": box} for i, box in enumerate(boxes)]

    cut = replace(CONTRACT, resize="resize_center_crop", resize_to=32)
    samples = samples_of(changed(written, tmp_path, change), written[1], cut)
    assert samples.targets[0, :, 1].tolist() == [0, 0, 0, 1]  # the first is gone; the last shows 3 of 8
    assert samples.targets[0, :, 2:].tolist() == [[0, 0, 4, 8], [0, 0, 5, 8], [0, 0, 8, 8], [0, 0, 3, 8]]


def test_boxes_over_the_edge_are_cut_crowds_are_kept_and_flat_ones_are_left_out(written, tmp_path):
    def change(data):
        data["images"] = data["images"][:2]
        data["annotations"] = [
            {"id": 1, "image_id": 100, "category_id": 3, "bbox": [-4, 20.5, 12, 40]},
            {"id": 2, "image_id": 100, "category_id": 3, "bbox": [2, 2, 0, 9]},
            {"id": 3, "image_id": 100, "category_id": 7, "bbox": [2, 2, 8, 8], "iscrowd": 1},
        ]

    path = changed(written, tmp_path, change)
    assert read_coco(path, written[1]).without_extent == 1
    samples = samples_of(path, written[1])
    assert samples.targets[0].tolist() == [[0, 0, 0, 10.25, 4, 16], [1, 1, 1, 1, 5, 5]]
    assert samples.targets[1, :, 0].tolist() == [-1, -1]  # a picture without boxes


def first(kind, **values):
    return lambda data: data[kind][0].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first("annotations", image_id=5), "annotation 1 is of the picture 5, which is not among the images"),
        (first("annotations", image_id=[5]), r"annotation 1 is of the picture \[5\], which is not among"),
        (first("annotations", category_id=4), "annotation 1 has the category 4, which is not among the categories"),
        (first("annotations", bbox=[1, 2, -3, 4]), "annotation 1 has a box of -3 x 4 pixels. Width and height"),
        (first("annotations", bbox=[32, 2, 3, 4]), "from 32, 2 to 35, 6, outside its picture, which is 32 x 32"),
        (first("annotations", bbox=[-3, 2, 3, 4]), "from -3, 2 to 0, 6, outside its picture"),
        (first("annotations", bbox=[1, 2, 3]), r"has the bbox \[1, 2, 3\]. It is \[x, y, width, height\] in pixels"),
        (first("annotations", bbox=[1, 2, 3, True]), "has the bbox"),
        (first("images", id="a"), "an entry of images has the id 'a'. It is a whole number"),
        (first("images", id=101), "two entries of images have the id 101"),
        (first("categories", name=""), "the entry 7 of categories has no name"),
        (first("images", width=-1), "the picture 100 is -1 x 32 pixels"),
        (lambda data: data.pop("images"), "is not in COCO's format: it has no list of images"),
        (lambda data: data["categories"].clear(), "has no categories. Give at least one"),
        (lambda data: data["annotations"].clear(), "has no boxes, so there is nothing to find"),
    ],
)
def test_what_cannot_be_is_refused_with_the_entry_s_id(change, message, written, tmp_path):
    with pytest.raises(InputError, match=message):
        read_coco(changed(written, tmp_path, change), written[1])


def test_a_picture_that_is_not_there_or_of_another_size_is_named(written, tmp_path):
    with pytest.raises(
        MissingData, match=r"changed.json names .*0.png and 59 more of 60 pictures, which are not there"
    ):
        read_coco(changed(written, tmp_path, lambda data: None), None)
    larger = changed(written, tmp_path, first("images", width=64, height=48))
    with pytest.raises(InputError, match="says that 0.png is 64 x 48 pixels, found 32 x 32. Boxes are in pixels"):
        samples_of(larger, written[1])
    unknown = changed(written, tmp_path, lambda data: [(one.pop("width"), one.pop("height")) for one in data["images"]])
    np.testing.assert_array_equal(samples_of(unknown, written[1]).targets, samples_of(*written).targets)

    def outside(data):
        for one in data["images"]:
            del one["width"], one["height"]
        data["annotations"][0]["bbox"] = [40, 2, 3, 4]

    with pytest.raises(InputError, match="a box at 40, 2 lies outside 0.png, which is 32 x 32"):
        samples_of(changed(written, tmp_path, outside), written[1])
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(InputError, match="no.json: not valid JSON"):
        read_coco(tmp_path / "no.json", None)


def own(model, **asked):
    return own_model(of_module(model), Request(model=model, **(SEEN | asked))).model


@pytest.mark.parametrize("build", [small_detector.build, small_detector.swapped])
def test_a_detector_finds_its_outputs_and_its_float_model_is_measured(build, written):
    model = own(build(), validation=written[0], images=written[1])
    assert (model.task, model.labels, model.suppression) == ("detection", LABELS, Suppression())
    assert [(spec.name, spec.shape) for spec in model.outputs[:2]] == [("scores", (1, 16, 2)), ("boxes", (1, 16, 4))]
    assert [model.output_holds(i) for i in range(len(model.outputs))][:3] in (
        ["scores", "boxes"],
        ["scores", "boxes", "values"],
    )
    reference = FloatReference.of(model)
    assert reference.metric.name == "mean_average_precision"
    assert reference.metric.value == pytest.approx(1.0)
    assert 0 <= reference.validation["scores"].min() <= reference.validation["scores"].max() <= 1


def test_arrays_with_their_boxes_do_the_same():
    pixels, truth = blocks(30)
    model = own(small_detector.build(), validation=pixels, targets=truth, task="detection", max_detections=2)
    assert model.suppression == Suppression(max_detections=2)
    assert model.answers(FloatReference.of(model).validation).shape == (30, 2, 6)
    with pytest.raises(InputError, match=r"needs true boxes \(N, M, 6\)"):
        own(small_detector.build(), validation=pixels, targets=np.zeros(30, np.int64), task="detection")
    truth[0, 0, 0] = 2
    with pytest.raises(InputError, match="label from 0 to 1, 1 for a crowd"):
        own(small_detector.build(), validation=pixels, targets=truth, task="detection")


def test_an_output_that_only_sounds_like_scores_gets_another_name(written):
    class Named(small_detector.Blocks):
        def forward(self, x):
            scores, boxes = super().forward(x)
            return {"scores": x.mean((1, 2, 3)), "logits": scores, "boxes": boxes}

    model = own(Named(), validation=written[0], images=written[1])
    shapes = {spec.name: spec.shape for spec in model.outputs}
    assert shapes == {"scores": (1, 16, 2), "boxes": (1, 16, 4), "scores_out": (1,)}


def test_another_metric_can_be_asked_for(written):
    model = own(small_detector.build(), validation=written[0], images=written[1], metric="average_precision_50")
    assert (model.gated, model.metric().name) == ("average_precision_50", "average_precision_50")
    assert FloatReference.of(model).metric.name == "average_precision_50"
    with pytest.raises(UsageError, match="Known: mean_average_precision, average_precision_50"):
        own(small_detector.build(), validation=written[0], images=written[1], metric="iou")


def test_what_is_no_detector_or_no_task_for_boxes_is_told(written):
    from own_net import Net

    coco = {"validation": written[0], "images": written[1]}
    with pytest.raises(
        UsageError, match=r"needs scores \(1, A, C\) .* the model gives output float32 \[1, 4\]; they are"
    ):
        own(Net(), **coco | {"sample_shape": (1, 3, 8, 8)})
    with pytest.raises(UsageError, match="with --task detection; found coco.json with --task regression"):
        own(small_detector.build(), task="regression", **coco)
    with pytest.raises(UsageError, match="with --task detection; found pictures with --task detection"):
        own(small_detector.build(), task="detection", validation=written[1])
    pixels, _ = blocks(8)
    with pytest.raises(UsageError, match="--max-detections are for --task detection; the task of this model is none"):
        own(small_detector.build(), validation=pixels, task="none", max_detections=5)
    with pytest.raises(UsageError, match="--iou-threshold: score_threshold and iou_threshold go from 0 to 1, found"):
        own(small_detector.build(), iou_threshold=2.0, **coco)
    with pytest.raises(InputError, match="has 2 categories and the model gives scores of 3 labels"):
        own(Three(), **coco)


class Shares(small_detector.Blocks):
    def forward(self, x):
        scores, boxes = super().forward(x)
        return scores, boxes / 16


class Centres(small_detector.Blocks):
    def forward(self, x):
        scores, boxes = super().forward(x)
        return scores, torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Shares, "as shares of a picture do"), (Centres, "end before they begin"), (small_detector.Blocks, "")],
)
def test_boxes_that_look_like_something_else_are_told(kind, said, written):
    torch.manual_seed(0)
    request = Request(model=kind(), validation=written[0], images=written[1], **SEEN)
    notes = " ".join(own_model(of_module(request.model), request).says)
    assert said in notes
    assert ("boxes are read as" in notes) is bool(said)


class Three(small_detector.Blocks):
    def forward(self, x):
        scores, boxes = super().forward(x)
        return scores[..., [0, 1, 1]], boxes


@pytest.mark.parametrize(("recipe", "basis"), [("fp32", "lossless"), ("w8a8_static", "bootstrap")])
def test_a_bundle_is_proven_by_its_mean_average_precision(recipe, basis, written, tmp_path):
    calibration = blocks(24, seed=9)[0]
    model = own(small_detector.build(), validation=written[0], images=written[1])
    model = replace(model, calibration={"image": calibration}, name="blocks")
    made = pack_bundle(
        model, EXPORTERS["onnx"], RECIPES[recipe], tmp_path, reference=FloatReference.of(model), max_drop=0.2
    )
    with Bundle.open(made.path) as bundle:
        manifest = bundle.manifest
        assert bundle.golden().targets.shape == (32, 3, 6)
    assert manifest.suppression == Suppression()
    assert manifest.holds == {"scores": "scores", "boxes": "boxes"}
    assert [metric.name for metric in manifest.metrics] == ["mean_average_precision", "average_precision_50"]
    assert manifest.metrics[0].value == pytest.approx(1.0, abs=0.02)
    assert (manifest.verdict.status, manifest.verdict.basis) == ("verified", basis)
    assert (manifest.verdict.metric, manifest.verdict.samples) == ("mean_average_precision", 60)
    held = {stage.output: stage.held_to for stage in manifest.stages if stage.stage == "reload"}
    decided = recipe != "fp32"
    assert {name: "the metric decides" in text for name, text in held.items()} == {"scores": decided, "boxes": decided}


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../0.png", "a/../../0.png", "C:\\0.png", "..\\0.png", "x" * 2000, "a\0b"]
)
def test_a_name_leads_to_no_picture_elsewhere(written, tmp_path, name):
    path = changed(written, tmp_path, lambda data: data["images"][0].update(file_name=name))
    with pytest.raises(InputError, match="Only pictures in .* are read"):
        read_coco(path, written[1])


def test_a_number_of_any_length_is_refused(written, tmp_path):
    path = changed(written, tmp_path, lambda data: data["annotations"][0].update(bbox=[1, 1, 10**400, 1]))
    with pytest.raises(InputError, match="has the bbox"):
        read_coco(path, written[1])
