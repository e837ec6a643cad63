"""One float program quantized again and again but for chosen layers, as the search in `float_layers.py` asks."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.temporary import temporary_folder
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.recipes import Recipe
from edgekit.optimize.recipes.layers import torch_layers
from edgekit.optimize.recipes.onnx_prepare import choosable_layers
from edgekit.optimize.recipes.recipe import FloatLayers

Batches = Callable[[], Iterator[tuple[torch.Tensor, ...]]]
RunOnnx = Callable[[DeployModel, Path, Arrays], Arrays]

_ROUGHLY = 32  # samples: observing them is nearly all the time that PT2E takes, and a search ranks every layer


def calibration_batches(model: DeployModel) -> Iterator[tuple[torch.Tensor, ...]]:
    """The calibration samples for PT2E, one row at a time: a captured program may take no other batch."""
    count = len(next(iter(model.calibration.values())))
    for i in range(count):
        yield tuple(torch.from_numpy(model.calibration[spec.name][i : i + 1].copy()) for spec in model.inputs)


class TorchLayers:
    """A captured module, quantized by PT2E; `batches` gives the calibration samples anew each time."""

    def __init__(self, model: DeployModel, recipe: Recipe, captured: torch.fx.GraphModule, batches: Batches):
        self.layers = torch_layers(captured)
        self._model, self._recipe, self._captured, self._batches = model, recipe, captured, batches

    def quantized(self, float_layers: FloatLayers, *, roughly: bool = False) -> Callable[[Arrays], Arrays]:
        """A quantized copy, as a function of samples (N, …) by name."""
        assert self._recipe.pt2e is not None
        batches = itertools.islice(self._batches(), _ROUGHLY if roughly else None)
        module = self._recipe.pt2e(copy.deepcopy(self._captured), batches, float_layers)
        return lambda arrays: run_module(self._model, module, arrays)


class OnnxLayers:
    """A float `.onnx`, quantized by onnxruntime; `run` runs a file on samples."""

    def __init__(self, model: DeployModel, recipe: Recipe, path: Path, run: RunOnnx):
        self.layers = choosable_layers(path)
        self._model, self._recipe, self._path, self._run = model, recipe, path, run

    def quantized(self, float_layers: FloatLayers, *, roughly: bool = False) -> Callable[[Arrays], Arrays]:
        """A quantized copy, as a function of samples (N, …) by name; it makes and removes its file at each call.

        Never roughly: its quantizer calibrates once for all calls.
        """

        def run(arrays: Arrays) -> Arrays:
            assert self._recipe.onnx is not None
            with temporary_folder() as folder:
                target = folder / "quantized.onnx"
                self._recipe.onnx(self._path, target, self._model.calibration, float_layers)
                return self._run(self._model, target, arrays)

        return run
