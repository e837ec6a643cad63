"""The models of the survey: those of the registry, and backbones of torchvision and timm.

Each has real samples, and a word on where its weights come from: published, trained, or random with a fixed seed.
Nothing here exports or measures.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import MissingData, UsageError
from edgekit.optimize.deploy import DeployModel, deploy_book_model
from edgekit.optimize.user_model.array_samples import Samples
from edgekit.optimize.user_model.inputs import picture_inputs
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.picture_samples import calibration_pictures
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import open_source
from edgekit.train.book_model import BookModel, input_module
from edgekit.train.checkpoint import save_weights
from edgekit.train.data import data_root, lidc
from edgekit.train.data.book import book_file
from edgekit.train.loop.fit import fit
from edgekit.train.registry import BOOK_MODELS

CALIBRATION, VALIDATION = 128, 1000  # at most so many samples of a registry model; `edgekit optimize` uses all
PICTURES = 32  # to calibrate a backbone on, and as many others to compare on

_PUBLISHED = {
    "birds_cnn": "p1ch6/birds_vs_airplanes.pt",
    "mnist_net": "p1ch2/mnist.pth",
    "luna_classifier": "part2/models/cls_2020-02-06_14.16.55_final-nodule-nonnodule.best.state",
    "luna_unet": "part2/models/seg_2020-01-26_19.45.12_w4d3c1-bal_1_nodupe-label_pos-d1_fn8-adam.best.state",
}
# Epochs that take seconds on a CPU: enough for answers that differ, not for the accuracy of a full training.
_SHORT_TRAINING = {
    "digits_cnn": 10,
    "digits_features": 30,
    "digits_detector": 5,
    "wine_quality": 20,
    "bike_demand": 10,
    "thermometer": 5000,
    "thermometer_mlp": 5000,
    "thermometer_mlp_13": 5000,
    "thermometer_mlp_20": 5000,
    "birds_mlp": 3,
    "birds_mlp_deep": 3,
    "austen_text": 1,
}
# LUNA16 is 120 GB. Without it, real crops and slices of LIDC nodules stand in for the samples.
_STAND_INS = {
    "luna_classifier": lidc.crops,
    "luna_malignancy": lidc.crops,
    "luna_malignancy_head": lidc.crops,
    "luna_unet": lidc.slices,
}
BACKBONES = (
    "torchvision:alexnet",
    "torchvision:vgg11_bn",
    "torchvision:resnet18",
    "torchvision:resnext50_32x4d",
    "torchvision:densenet121",
    "torchvision:squeezenet1_0",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:mnasnet0_5",
    "torchvision:efficientnet_b0",
    "torchvision:regnet_y_400mf",
    "torchvision:googlenet",
    "torchvision:convnext_tiny",
    "torchvision:swin_t",
    "timm:deit_tiny_patch16_224",
    "timm:mobilevit_xxs",
    "timm:ghostnet_100",
    "timm:repvgg_a0",
    "timm:mixer_s32_224",
    "timm:edgenext_xx_small",
    "timm:fastvit_t8",
    "timm:efficientformer_l1",
    "timm:levit_128s",
    "timm:poolformer_s12",
    "timm:maxvit_nano_rw_256",
    "timm:resmlp_12_224",
    "timm:convmixer_768_32",
)
_WEIGHTS_ON_DISK = {"torchvision:squeezenet1_0": "weights/squeezenet1_0/squeezenet1_0_deepcompression.pth"}


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """One model, ready to be packed."""

    model: DeployModel
    """With weights and samples."""
    weights: str
    """Where the weights come from, in words."""
    mflop: float
    """Million floating-point operations of one run; a multiply-accumulate is two."""
    convolutional: bool
    """Whether convolutions do more than half of these."""


def known_models() -> tuple[str, ...]:
    """All names that can be surveyed: the registry's first, then torchvision:NAME and timm:NAME."""
    return (*BOOK_MODELS, *BACKBONES)


def is_backbone(name: str) -> bool:
    return ":" in name


def safe_name(name: str) -> str:
    """The name as a file may be called."""
    return name.replace(":", "_").replace("/", "_")


def prepare(name: str, runs: Path) -> Surveyed:
    """A model with weights and samples; if that is quick, it is trained for a few epochs, into `runs`/NAME.

    Raises:
        MissingData: its data are not on disk, or its library is not installed.
        UsageError: no such model.
    """
    model, weights = (_backbone if is_backbone(name) else partial(_registered, runs=runs))(name)
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it warns that triton is missing
    from torch.utils.flop_counter import FlopCounterMode

    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")
        model.module(*model.example)
    counts = {str(key): value for key, value in counter.get_flop_counts().get("Global", {}).items()}
    total = sum(counts.values())
    convolved = sum(value for key, value in counts.items() if "conv" in key)
    return Surveyed(model=model, weights=weights, mflop=total / 1e6, convolutional=2 * convolved > total)


def _registered(name: str, *, runs: Path) -> tuple[DeployModel, str]:
    if name not in BOOK_MODELS:
        raise UsageError(f"no model {name!r} to survey. Known: {', '.join(known_models())}")
    book = BOOK_MODELS[name]
    path, words = _weights(book, runs)
    try:
        model = deploy_book_model(book, path)
    except MissingData:
        if name not in _STAND_INS:
            raise
        model = replace(deploy_book_model(replace(book, data=_STAND_INS[name]), path), targets=None)
        words += "; samples: LIDC nodules in place of LUNA16, so no accuracy"
    targets = None if model.targets is None else model.targets[:VALIDATION]
    return replace(
        model,
        calibration=_first(model.calibration, CALIBRATION),
        validation=_first(model.validation, VALIDATION),
        targets=targets,
    ), words


def _weights(book: BookModel, runs: Path) -> tuple[Path, str]:
    """The best weight file there is for `book`, and where it comes from, in words."""
    published = data_root() / "book" / _PUBLISHED.get(book.name, "-")
    if published.is_file():
        return book_file(_PUBLISHED[book.name]), "published with the book"
    trained = Path("runs") / book.name / "weights.safetensors"
    if trained.is_file():
        return trained, "trained by edgekit"
    folder = runs / book.name
    if (epochs := _SHORT_TRAINING.get(book.name)) is not None:
        epochs = min(epochs, book.fit.epochs)
        words = f"trained for {epochs:,} of {book.fit.epochs:,} epochs"
        if not (folder / "run.json").is_file():
            fit(book, folder, config=replace(book.fit, epochs=epochs, cpu_threads=1), device="cpu")
        return folder / "weights.safetensors", words
    path = folder / "random.safetensors"
    if not path.is_file():
        torch.manual_seed(0)
        folder.mkdir(parents=True, exist_ok=True)
        module = book.build()
        rows = torch.from_numpy(_STAND_INS.get(book.name, book.data)().calibration.inputs[:PICTURES])
        with torch.inference_mode():
            fed = input_module(book)(rows)
        if book.prepare is not None:
            book.prepare(module, fed)
        with torch.inference_mode():
            settle(module, fed)
        save_weights(module, path)
    start = "as their training begins with" if book.prepare else "random"
    return path, f"{start} (seed 0), batch norms and last bias settled"


def _backbone(name: str) -> tuple[DeployModel, str]:
    on_disk = data_root() / _WEIGHTS_ON_DISK.get(name, "-")
    real = on_disk.is_file()
    source = open_source(name, weights=on_disk if real else None, random_weights=not real)
    folder = data_root() / "imagenet_samples"
    if not folder.is_dir():
        raise MissingData(f"the pictures that backbones are compared on are not in {folder}. Set EDGEKIT_DATA")
    inputs = picture_inputs(Request(model=source.what), source.taken)
    assert inputs.picture is not None
    rows = calibration_pictures(folder, inputs.picture, name="image", most=2 * PICTURES).arrays["image"]
    if not real:
        with torch.inference_mode():
            settle(source.module, inputs.module(torch.from_numpy(rows[:PICTURES])))
    request = Request(
        model=source.what,
        calibration=Samples(arrays={"image": rows[:PICTURES]}, words=f"{PICTURES} ImageNet pictures"),
        validation=Samples(arrays={"image": rows[PICTURES:]}, words=f"{PICTURES} other ImageNet pictures"),
        task="none",  # logits: probabilities of random weights are all but equal, and hide every error
        name=safe_name(name),
    )
    model = own_model(source, request).model
    return model, f"published ({on_disk.name})" if real else "random (seed 0), batch norms and last bias settled"


def settle(module: nn.Module, pictures: torch.Tensor) -> None:
    """Makes random weights behave like trained ones, in place, on pictures (N, C, H, W) as the model takes them.

    Batch norms get the pictures' own statistics, and the last layer's bias is set so that no class leads for all
    pictures. Otherwise every top answer would be the same, and agree whatever quantization does.
    """
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    for batch in pictures.split(16) if norms else ():
        module(batch)
    module.eval()
    layers = [part for part in module.modules() if isinstance(part, nn.Linear) and part.bias is not None]
    if layers and not layers[-1].weight.any():  # some of timm's heads begin at zero: all answers would be the same
        nn.init.trunc_normal_(layers[-1].weight, std=0.02, generator=torch.Generator().manual_seed(0))
    answers = _first_tensor(torch.cat([_first_tensor(module(batch)) for batch in pictures.split(16)]))
    if layers and layers[-1].out_features == answers.shape[-1]:
        with torch.no_grad():
            layers[-1].bias.sub_(answers.mean(0))


def _first_tensor(answer: object) -> torch.Tensor:
    return answer if isinstance(answer, torch.Tensor) else answer[0]  # type: ignore[index]


def _first(arrays: Arrays, most: int) -> Arrays:
    return {name: rows[:most] for name, rows in arrays.items()}
