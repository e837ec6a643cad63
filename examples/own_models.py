"""Models of others, with their published weights, on real pictures: what int8 leaves of their accuracy.

    python examples/own_models.py [NAME ...]     # writes results/own-models.json, one entry a model; takes an hour
    python examples/own_models.py --recipes w8a8_static w8a8_tuned mixed     # these anew, what is there of others stays

Where int8 misses a floor or the budget, w8a8_tuned follows, and then mixed, as `edgekit optimize` does it.
Accuracy and size only, no times: they do not depend on how busy the machine is. The weights and pictures are looked for
under EDGEKIT_DATA, as the data sets are; a model whose files are not there is left out and named.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.array_samples import Samples
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.picture_samples import read_labels
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import Source, open_source
from edgekit.optimize.verify import FloatReference
from edgekit.train.data import data_root, ranked
from edgekit.train.data.cifar import TEN_LABELS, ten_classes

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "own-models.json"
RECIPE_ORDER = ("fp32", "w8a8_static", "w8a8_tuned", "mixed")
PAIRS = [(exporter, recipe) for exporter in ("onnx", "executorch_xnnpack") for recipe in RECIPE_ORDER]
NOTES = ("calibration", "calibration_tried", "float_layers", "layers_tried")  # of the manifest, what was chosen
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
Ready = tuple[Source, Request, str]


@contextmanager
def cifar_resnet(depth: int, file: str) -> Iterator[Ready]:
    """On CIFAR-10: calibrated on 510 training pictures, measured on all 10,000 test pictures."""
    data = ten_classes()
    weights = data_root() / "weights" / "cifar10_resnet" / file
    source = open_source(f"{HERE / 'cifar_resnet.py'}:resnet{depth}", weights=weights)
    request = Request(
        model=source.what,
        name=f"resnet{depth}",
        calibration=Samples(arrays={"image": data.calibration.inputs}, words="510 training pictures of CIFAR-10"),
        validation=Samples(
            arrays={"image": data.validation.inputs},
            targets=data.validation.targets,
            words="the 10,000 test pictures of CIFAR-10",
        ),
        labels=TEN_LABELS,
        sample_shape=(1, 3, 32, 32),
        **IMAGENET,
        calibration_samples=510,
    )
    yield source, request, f"weights {file}"


@contextmanager
def imagenet(what: str, weights: Path, resize_to: int | None = None) -> Iterator[Ready]:
    """On ImageNet training pictures, one half to calibrate, the other to measure, so the accuracy is optimistic."""
    folder = data_root() / "imagenet_samples"
    labels = read_labels(data_root() / "weights" / "mobilenet_v2_tf2" / "imagenet_labels.txt")[1:]  # 0 is background
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [(folder / row["file"], labels[int(row["class_index"])]) for row in csv.DictReader(file)]
    rows = [(path, label) for path, label in rows if path.is_file() and labels.count(label) == 1]
    order = [rows[i] for i in ranked(range(len(rows)), seed=1)]
    half = len(order) // 2
    with tempfile.TemporaryDirectory() as place:
        halves = {}
        for name, part in (("calibration", order[:half]), ("validation", order[half:])):
            halves[name] = Path(place) / f"{name}.csv"
            with halves[name].open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(part)
        source = open_source(what, weights=weights)
        own_range = not what.startswith("torchvision:")  # the module in mobilenet_v2_tf2.py scales pixels itself
        request = Request(
            model=what,
            **halves,
            labels=labels,
            sample_shape=(1, 3, 224, 224),
            resize_to=resize_to,
            no_normalise=own_range,
        )
        yield source, request, f"weights {weights.name}; ImageNet training pictures, one a class, so optimistic"


def _mobilenet() -> contextmanager:
    weights = data_root() / "weights" / "mobilenet_v2_tf2" / "mobilenet_v2_tf2_torchvision_rot180.pth"
    return imagenet(f"{HERE / 'mobilenet_v2_tf2.py'}:build", weights, resize_to=256)


def _squeezenet() -> contextmanager:
    weights = data_root() / "weights" / "squeezenet1_0" / "squeezenet1_0_deepcompression.pth"
    return imagenet("torchvision:squeezenet1_0", weights)


MODELS: dict[str, Callable] = {
    "resnet20": lambda: cifar_resnet(20, "resnet20-12fca82f.th"),
    "resnet56": lambda: cifar_resnet(56, "resnet56-4bfd9763.th"),
    "mobilenet_v2_tf2": _mobilenet,
    "squeezenet1_0": _squeezenet,
}


def measured(name: str, kept: dict, recipes: Collection[str]) -> dict:
    """Every pair of PAIRS of one model, as what its manifest says; a pair that fails, as its reason.

    Of recipes other than `recipes`, the bundles of `kept` stay as an earlier run has measured them.
    """
    with MODELS[name]() as (source, request, words), tempfile.TemporaryDirectory() as out:
        own = own_model(source, request)
        reference = FloatReference.of(own.model)
        print(f"{name}: float {to_plain(reference.metric)}", flush=True)
        bundles = {key: row for key, row in kept.items() if key.partition("-")[2] not in recipes}
        for exporter, recipe in PAIRS:
            before = [bundles.get(f"{exporter}-{one}") for one in ("w8a8_static", "w8a8_tuned")]
            saved = RECIPES[recipe].after and any(row and row.get("status") == "verified" for row in before)
            if recipe not in recipes or saved:
                continue
            try:
                made = pack_bundle(
                    own.model, EXPORTERS[exporter], RECIPES[recipe], Path(out), reference=reference,
                    allow_unverified=True,
                )  # fmt: skip
            except EdgekitError as error:
                bundles[f"{exporter}-{recipe}"] = {"error": str(error)}
                continue
            manifest = made.manifest
            bundles[f"{exporter}-{recipe}"] = {
                "status": manifest.status,
                "bytes": manifest.artifact.bytes,
                "metric": to_plain(manifest.metrics[0]),
                "stages": to_plain(manifest.stages),
                "tools": manifest.tools,
                "notes": {key: manifest.provenance[key] for key in NOTES if key in manifest.provenance},
            }
            print(f"  {exporter}-{recipe}: {manifest.status}, {to_plain(manifest.metrics[0])}", flush=True)
        return {
            "source": own.model.notes["source"].replace(f"{HERE.parent}/", ""),
            "data": f"{own.model.origin}; {words}",
            "says": list(own.says),
            "float": to_plain(reference.metric),
            "bundles": {f"{e}-{r}": bundles[f"{e}-{r}"] for e, r in PAIRS if f"{e}-{r}" in bundles},
            "machine": machine(),
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--recipes", nargs="+", choices=RECIPE_ORDER, default=RECIPE_ORDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in options.names or MODELS:
        try:
            found[name] = measured(name, found.get(name, {}).get("bundles", {}), options.recipes)
        except EdgekitError as error:
            print(f"{name} left out: {error}")
            continue
        write_bytes(RESULTS, canonical_json(found))


if __name__ == "__main__":
    main()
