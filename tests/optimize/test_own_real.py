"""Published weights of others on real pictures, in small; what all pictures give is kept in results/own-models.json."""

import csv
import json

import pytest
import torch
from conftest import ROOT

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.array_samples import Samples
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.picture_samples import read_labels
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import open_source
from edgekit.optimize.verify import FloatReference
from edgekit.train.data.cifar import TEN_LABELS, ten_classes
from experiments.own_models_table import own_models_table

EXAMPLES = ROOT / "examples"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MEASURED = json.loads((ROOT / "results" / "own-models.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "published"), [("resnet20", 0.9173), ("resnet56", 0.9339)])
def test_all_10000_pictures_gave_the_published_accuracy_and_int8_kept_it(name, published):
    found = MEASURED[name]
    int8 = [found["bundles"][f"{exporter}-w8a8_static"] for exporter in ("onnx", "executorch_xnnpack")]
    assert (found["float"]["value"], found["float"]["samples"]) == (published, 10_000)
    assert [row["status"] for row in int8] == ["verified"] * 2
    assert all(row["metric"]["value"] >= published - 0.005 for row in int8)


@pytest.mark.parametrize("name", ["mobilenet_v2_tf2", "squeezenet1_0"])
@pytest.mark.parametrize("exporter", ["onnx", "executorch_xnnpack"])
def test_int8_of_published_imagenet_weights_is_verified_in_both_formats(name, exporter):
    bundles = MEASURED[name]["bundles"]
    eight_bits = [bundles.get(f"{exporter}-{recipe}", {}) for recipe in ("w8a8_static", "w8a8_tuned", "mixed")]
    metrics = [row["metric"] for row in eight_bits if row.get("status") == "verified"]
    assert metrics
    assert all(metric["value"] >= 0.99 * metric["float_value"] for metric in metrics)


def test_the_table_says_what_was_chosen(tmp_path):
    found = json.loads((ROOT / "results" / "own-models.json").read_text())
    row = found["resnet20"]["bundles"]["onnx-w8a8_static"]
    tuned = {"notes": {"calibration": "mse", "calibration_tried": "minmax 19.0 dB, mse 21.0 dB"}}
    mixed = {"notes": {"float_layers": "conv1", "layers_tried": "0 back: 90.00%; 1 back: 91.70%"}}
    found["resnet20"]["bundles"] |= {"onnx-w8a8_tuned": row | tuned, "onnx-mixed": row | mixed}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(found))
    said = own_models_table(path)
    assert "- resnet20, onnx-w8a8_tuned: calibrated by mse; tried: minmax 19.0 dB, mse 21.0 dB." in said
    assert "- resnet20, onnx-mixed: left in float: conv1; tried: 0 back: 90.00%; 1 back: 91.70%." in said


def test_resnet20_on_200_pictures(data_root, tmp_path):
    weights = data_root / "weights" / "cifar10_resnet" / "resnet20-12fca82f.th"
    if not weights.exists() or not (data_root / "cifar-10-batches-py").exists():
        pytest.skip(f"CIFAR-10 and {weights.name} are not in {data_root}")
    data = ten_classes()
    source = open_source(f"{EXAMPLES / 'cifar_resnet.py'}:resnet20", weights=weights)
    request = Request(
        model="resnet20",
        calibration=Samples(arrays={"image": data.calibration.inputs}, words="of the training part"),
        validation=Samples(
            arrays={"image": data.validation.inputs[:200]}, targets=data.validation.targets[:200], words="200"
        ),
        labels=TEN_LABELS,
        sample_shape=(1, 3, 32, 32),
        **IMAGENET,
        calibration_samples=32,
    )
    own = own_model(source, request)
    assert "took the prefix 'module.' off every key of resnet20-12fca82f.th" in own.says
    reference = FloatReference.of(own.model)
    assert reference.metric.value == 0.91
    options = {"reference": reference, "max_drop": 0.03}
    folder = pack_bundle(own.model, EXPORTERS["onnx"], RECIPES["w8a8_static"], tmp_path, **options).path
    assert Bundle.open(folder).manifest.metrics[0].agreement >= 0.95


@pytest.mark.parametrize(
    ("what", "file", "least"),
    [
        (f"{EXAMPLES / 'mobilenet_v2_tf2.py'}:build", "mobilenet_v2_tf2/mobilenet_v2_tf2_torchvision_rot180.pth", 10),
        ("torchvision:squeezenet1_0", "squeezenet1_0/squeezenet1_0_deepcompression.pth", 5),
    ],
    ids=["mobilenet_v2", "squeezenet1_0"],
)
def test_imagenet_classifiers_know_pictures_of_a_csv(what, file, least, data_root, tmp_path):
    weights, pictures = data_root / "weights" / file, data_root / "imagenet_samples"
    if not weights.exists() or not pictures.is_dir():
        pytest.skip(f"{weights.name} and imagenet_samples are not in {data_root}")
    labels = read_labels(data_root / "weights" / "mobilenet_v2_tf2" / "imagenet_labels.txt")[1:]
    with (pictures / "labels.csv").open(newline="") as table:
        rows = [(pictures / row["file"], labels[int(row["class_index"])]) for row in csv.DictReader(table)]
    with (tmp_path / "few.csv").open("w", newline="") as table:
        csv.writer(table).writerows([row for row in rows if row[0].exists()][:14])
    own_range = not what.startswith("torchvision:")  # the module in mobilenet_v2_tf2.py scales pixels itself
    request = Request(
        model=what,
        validation=tmp_path / "few.csv",
        labels=labels,
        sample_shape=(1, 3, 224, 224),
        no_normalise=own_range,
    )
    own = own_model(open_source(what, weights=weights), request)
    metric = FloatReference.of(own.model).metric
    assert metric.samples == 14
    assert metric.value * 14 >= least
