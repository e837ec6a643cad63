"""Models of others, with their published weights, on real pictures: what int8 leaves of their accuracy.

    python examples/own_models.py [NAME ...]     # writes results/own-models.json, one entry a model; takes an hour

Accuracy and size only, no times: they do not depend on how busy the machine is. The weights and pictures are looked for
under EDGEKIT_DATA, as the data sets are; a model whose files are not there is left out and named.
"""

from __future__ import annotations

import csv
import datetime
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from edge_runtime.benchmark import machine
from edge_runtime.bundle import Bundle
from edge_runtime.decode import canonical_json, to_plain
from edge_runtime.errors import EdgekitError
from edge_runtime.files import write_bytes
from optimize.exporters import EXPORTERS
from optimize.own_inputs import PictureWishes, Shape
from optimize.own_model import own_model
from optimize.own_samples import Wishes
from optimize.pack import pack_bundle
from optimize.picture_samples import read_labels
from optimize.recipes import RECIPES
from optimize.samples import Samples
from optimize.sources import Source, open_source
from optimize.verify import FloatReference
from train.data import data_root, ranked
from train.data.cifar import TEN_LABELS, ten_classes

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "own-models.json"
PAIRS = [
    ("onnx", "fp32"),
    ("onnx", "w8a8_static"),
    ("executorch_xnnpack", "fp32"),
    ("executorch_xnnpack", "w8a8_static"),
]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
Ready = tuple[Source, Wishes, str]


@contextmanager
def cifar_resnet(depth: int, file: str) -> Iterator[Ready]:
    """On CIFAR-10: calibrated on 510 training pictures, measured on all 10,000 test pictures."""
    data = ten_classes()
    weights = data_root() / "weights" / "cifar10_resnet" / file
    source = open_source(f"{HERE / 'cifar_resnet.py'}:resnet{depth}", weights=weights)
    wishes = Wishes(
        name=f"resnet{depth}",
        calibration=Samples(arrays={"image": data.calibration.inputs}, words="510 training pictures of CIFAR-10"),
        validation=Samples(
            arrays={"image": data.validation.inputs},
            targets=data.validation.targets,
            words="the 10,000 test pictures of CIFAR-10",
        ),
        labels=TEN_LABELS,
        shapes=(Shape(sides=(1, 3, 32, 32)),),
        picture=PictureWishes(**IMAGENET),
        most=510,
    )
    yield source, wishes, f"weights {file}"


@contextmanager
def imagenet(what: str, weights: Path, picture: PictureWishes) -> Iterator[Ready]:
    """On ImageNet training pictures, one half to calibrate, the other to measure, so the accuracy is optimistic."""
    folder = data_root() / "imagenet_samples"
    labels = read_labels(data_root() / "weights" / "mobilenet_v2_tf2" / "imagenet_labels.txt")[1:]  # 0 is background
    with (folder / "labels.csv").open(newline="") as file:
        rows = [(folder / row["file"], labels[int(row["class_index"])]) for row in csv.DictReader(file)]
    rows = [(path, label) for path, label in rows if path.is_file() and labels.count(label) == 1]
    order = [rows[i] for i in ranked(range(len(rows)), seed=1)]
    half = len(order) // 2
    with tempfile.TemporaryDirectory() as place:
        halves = {}
        for name, part in (("calibration", order[:half]), ("validation", order[half:])):
            halves[name] = Path(place) / f"{name}.csv"
            with halves[name].open("w", newline="") as file:
                csv.writer(file).writerows(part)
        source = open_source(what, weights=weights)
        shapes = (Shape(sides=(1, 3, 224, 224)),)
        wishes = Wishes(**halves, labels=labels, shapes=shapes, picture=picture)  # type: ignore[arg-type]
        yield source, wishes, f"weights {weights.name}; ImageNet training pictures, one a class, so optimistic"


def _mobilenet() -> contextmanager:
    weights = data_root() / "weights" / "mobilenet_v2_tf2" / "mobilenet_v2_tf2_torchvision_rot180.pth"
    return imagenet(f"{HERE / 'mobilenet_v2_tf2.py'}:build", weights, PictureWishes(resize_to=256))


def _squeezenet() -> contextmanager:
    weights = data_root() / "weights" / "squeezenet1_0" / "squeezenet1_0_deepcompression.pth"
    return imagenet("torchvision:squeezenet1_0", weights, PictureWishes())


MODELS: dict[str, Callable] = {
    "resnet20": lambda: cifar_resnet(20, "resnet20-12fca82f.th"),
    "resnet56": lambda: cifar_resnet(56, "resnet56-4bfd9763.th"),
    "mobilenet_v2_tf2": _mobilenet,
    "squeezenet1_0": _squeezenet,
}


def measured(name: str) -> dict:
    """Every pair of PAIRS of one model, as what its manifest says; a pair that fails, as its reason."""
    with MODELS[name]() as (source, wishes, words), tempfile.TemporaryDirectory() as out:
        own = own_model(source, wishes)
        reference = FloatReference.of(own.model)
        print(f"{name}: float {to_plain(reference.metric)}", flush=True)
        bundles = {}
        for exporter, recipe in PAIRS:
            try:
                path = pack_bundle(
                    own.model, EXPORTERS[exporter], RECIPES[recipe], Path(out), reference=reference,
                    allow_unverified=True,
                )  # fmt: skip
            except EdgekitError as error:
                bundles[f"{exporter}-{recipe}"] = {"error": str(error)}
                continue
            manifest = Bundle.open(path).manifest
            bundles[f"{exporter}-{recipe}"] = {
                "status": manifest.status,
                "bytes": manifest.artifact.bytes,
                "metric": to_plain(manifest.metrics[0]),
                "stages": to_plain(manifest.stages),
                "tools": manifest.tools,
            }
            print(f"  {exporter}-{recipe}: {manifest.status}, {to_plain(manifest.metrics[0])}", flush=True)
        return {
            "source": own.model.notes["source"].replace(f"{HERE.parent}/", ""),
            "data": f"{own.model.origin}; {words}",
            "says": list(own.says),
            "float": to_plain(reference.metric),
            "bundles": bundles,
            "machine": machine(),
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def main() -> None:
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or MODELS:
        try:
            found[name] = measured(name)
        except EdgekitError as error:
            print(f"{name} left out: {error}")
            continue
        write_bytes(RESULTS, canonical_json(found))


if __name__ == "__main__":
    main()
