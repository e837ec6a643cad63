"""The models that `experiments/rewrites/benchmark.py` rewrites, each with real samples to calibrate and to compare on.

The two nets of the lung project have the book's published weights. The generator and the recurrent step have random
ones with a fixed seed: their speed does not depend on the weights, their accuracy does, so none is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.preprocess.pictures import open_picture
from edgekit.optimize.deploy import DeployModel, deploy_book_model
from edgekit.train.data import austen, lidc
from edgekit.train.data.book import book_file
from edgekit.train.registry import book_model

SAMPLES = 8  # to calibrate on, and as many others to compare on
_MODELS = "part2/models/"
_CLASSIFIER = f"{_MODELS}cls_2020-02-06_14.16.55_final-nodule-nonnodule.best.state"
_UNET = f"{_MODELS}seg_2020-01-26_19.45.12_w4d3c1-bal_1_nodupe-label_pos-d1_fn8-adam.best.state"


class ResidualBlock(nn.Module):
    """(N, C, H, W) to the same: two convolutions with reflected borders and instance norm, and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def generator(channels: int, blocks: int) -> nn.Sequential:
    """(N, 3, H, W) to (N, 3, H, W): the book's CycleGAN generator (chapter 2) of any size; the book's is (64, 9)."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, channels, 7)]
    layers += [nn.InstanceNorm2d(channels), nn.ReLU()]
    for c in (channels, 2 * channels):
        layers += [nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * c), nn.ReLU()]
    layers += [ResidualBlock(4 * channels) for _ in range(blocks)]
    for c in (4 * channels, 2 * channels):
        up = nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1)
        layers += [up, nn.InstanceNorm2d(c // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(channels, 3, 7), nn.Tanh())


class RecurrentStep(nn.Module):
    """A character (N, 128) and the state before it to scores (N, 128) and the state after it, as a captioner does."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(128, hidden)
        self.scores = nn.Linear(hidden, 128)

    def forward(self, character: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(character, (h, c))
        return self.scores(h), h, c


def luna_classifier() -> DeployModel:
    """The 3-D classifier of chapters 11 to 14 on real crops."""
    book = replace(book_model("luna_classifier"), data=lidc.crops)
    return _few(deploy_book_model(book, book_file(_CLASSIFIER)))


def luna_unet() -> DeployModel:
    """The U-Net of chapter 13 on real slices of 96 × 96."""
    book = replace(book_model("luna_unet"), data=lidc.slices)
    return _few(deploy_book_model(book, book_file(_UNET)))


def cyclegan() -> DeployModel:
    """A small generator on 64 × 64 parts of the book's two photographs."""
    torch.manual_seed(0)
    calibration, validation = ({"picture": _parts(name, 64)} for name in ("bobby", "horse"))
    return _plain("cyclegan_small", generator(16, 3), calibration, validation, {"painted": (1, 3, 64, 64)})


def lstm_step() -> DeployModel:
    """One step of an LSTM with 256 states, on the characters of a novel and the states before them."""
    torch.manual_seed(0)
    step, rows = RecurrentStep(256).eval(), []
    state = (torch.zeros(1, 256), torch.zeros(1, 256))
    text = austen.novel(austen.read_text())[10_000 : 10_000 + 2 * SAMPLES]
    with torch.inference_mode():
        for letter in text:
            character = nn.functional.one_hot(torch.tensor([min(ord(letter), 127)]), 128).float()
            rows.append([part.numpy() for part in (character, *state)])
            state = step(character, *state)[1:]
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    first, second = (
        dict(zip(("character", "h", "c"), [column[rows] for column in columns], strict=True))
        for rows in (slice(None, SAMPLES), slice(SAMPLES, None))
    )
    return _plain("lstm_step", step, first, second, {"scores": (1, 128), "h_next": (1, 256), "c_next": (1, 256)})


MODELS: dict[str, Callable[[], DeployModel]] = {
    "luna_classifier": luna_classifier,
    "cyclegan_small": cyclegan,
    "lstm_step": lstm_step,
    "luna_unet": luna_unet,
}


def _parts(name: str, side: int) -> np.ndarray:
    """(N, 3, side, side) float32 in 0..1: parts along the middle of one of the book's photographs."""
    image = np.asarray(open_picture(book_file(f"p1ch2/{name}.jpg")).convert("RGB").resize((side * SAMPLES, side * 5)))
    row = image[2 * side : 3 * side].astype(np.float32) / 255
    return np.stack([row[:, i * side : (i + 1) * side].transpose(2, 0, 1) for i in range(SAMPLES)])


def _few(model: DeployModel) -> DeployModel:
    """The model with the first samples only, and no gate: the comparison is with the float model's answers."""
    calibration, validation = (
        {name: rows[:SAMPLES] for name, rows in split.items()} for split in (model.calibration, model.validation)
    )
    return replace(model, targets=None, calibration=calibration, validation=validation)


def _plain(
    name: str, module: nn.Module, calibration: Arrays, validation: Arrays, outputs: dict[str, tuple[int, ...]]
) -> DeployModel:
    inputs = {key: (1, *rows.shape[1:]) for key, rows in calibration.items()}
    return DeployModel(
        name=name,
        task="none",
        module=module.eval().requires_grad_(False),
        inputs=tuple(TensorSpec(name=key, dtype="float32", shape=sizes) for key, sizes in inputs.items()),
        outputs=tuple(TensorSpec(name=key, dtype="float32", shape=sizes) for key, sizes in outputs.items()),
        preprocessing=None,
        labels=(),
        calibration=calibration,
        validation=validation,
        targets=None,
        weights_sha256="0" * 64,
        origin="parts of the book's own files",
    )
