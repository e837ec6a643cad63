"""A model with two inputs and two outputs, whole numbers among them, and bundles of it that nobody checked."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import torch
from tiny_bundle import ORIGIN, one_program
from torch import nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import FORMAT_VERSION, Floor, Manifest, OutputSpec, TensorSpec
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES


class Pair(nn.Module):
    """features (N, 6) float32 and tokens (N, 5) int64 to probabilities (N, 4) float32 and odd (N, 5) int64."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.linear, self.head = nn.Embedding(16, 4), nn.Linear(6, 8), nn.Linear(12, 4)

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.cat([torch.relu(self.linear(features)), self.embed(tokens).mean(1)], 1)
        return torch.softmax(self.head(both), 1), tokens * 2 + 1


def pair_arrays(rows: int, seed: int = 0) -> Arrays:
    draw = np.random.default_rng(seed)
    return {
        "features": draw.normal(size=(rows, 6)).astype(np.float32),
        "tokens": draw.integers(0, 16, (rows, 5), np.int64),
    }


def pair_model(max_batch: int = 1, module: nn.Module | None = None) -> DeployModel:
    torch.manual_seed(0)
    module = (module or Pair()).eval().requires_grad_(False)
    validation = pair_arrays(12, seed=1)
    with torch.inference_mode():
        rows = zip(*(torch.from_numpy(array).split(1) for array in validation.values()), strict=True)
        found = torch.cat([module(*row)[0] for row in rows])
    return DeployModel(
        name="pair",
        task="classification",
        module=module,
        inputs=(
            TensorSpec(name="features", dtype="float32", shape=(1, 6)),
            TensorSpec(name="tokens", dtype="int64", shape=(1, 5)),
        ),
        outputs=(
            TensorSpec(name="probabilities", dtype="float32", shape=(1, 4)),
            TensorSpec(name="odd", dtype="int64", shape=(1, 5)),
        ),
        preprocessing=None,
        labels=("a", "b", "c", "d"),
        calibration=pair_arrays(8, seed=2),
        validation=validation,
        targets=found.argmax(1).numpy(),
        weights_sha256="0" * 64,
        origin="made by the test",
    ).with_max_batch(max_batch)


def answers(model: DeployModel, arrays: Arrays) -> Arrays:
    """What the module itself answers to all rows at once."""
    with torch.inference_mode():
        found = model.module(*(torch.from_numpy(arrays[spec.name]) for spec in model.inputs))
    return {spec.name: tensor.numpy() for spec, tensor in zip(model.outputs, found, strict=True)}


def unproven_bundle(model: DeployModel, exporter: str, folder: Path) -> Path:
    """Exports `model` as it is and writes a bundle around the file: nothing is compared, no process is started."""
    made = EXPORTERS[exporter]
    folder.mkdir(parents=True)
    path, notes = folder / f"model{made.suffix}", {}
    for stage in made.export(model, RECIPES["fp32"], path):
        notes |= stage.notes
    outputs = run_module(model, model.module, model.validation)
    golden = GoldenSet(inputs=model.validation, outputs=outputs, packed={}, targets=model.targets)
    save_golden(folder / "golden.npz", golden)
    holds = zip(model.outputs, ("probabilities", "values"), strict=True)
    outputs_said = [OutputSpec.of(spec, kind) for spec, kind in holds]
    exact = {"floor": Floor(sqnr_db=60.0, agreement=1.0, max_abs=None), "engines": ()}
    file = {"file": path.name, "format": made.format}
    program = one_program(folder, model.inputs, outputs_said, golden.samples, **file, **exact)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=f"pair-{exporter}-fp32",
        model=model.name,
        task=model.task,
        recipe="fp32",
        exporter=exporter,
        status="unverified",
        verdict=None,
        programs=(program,),
        preprocessing=None,
        labels=model.labels,
        metrics=(),
        stages=(),
        origin=ORIGIN,
        tools={package: importlib.metadata.version(package) for package in made.tools},
        provenance=notes,
    )
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return folder
