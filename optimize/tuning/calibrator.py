"""Which calibration serves a model best: each way is tried on one part of the calibration samples, judged on another.

First the methods of `ranges.py`; then, where the exporter quantizes the captured program, the best of them with
cross-layer equalization, with bias correction, and with both. Judged by the SQNR of the answers against float's. The
validation split is never looked at, so the gate at the end stays an honest one. What won is then done on all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.format import db_text
from edgekit.edge_runtime.tasks.metrics import sqnr_db

from ..deploy import DeployModel, run_module
from ..exporters.layerwise import TorchLayers
from ..recipes import Recipe
from ..recipes.bias_correction import correct_bias, float_means
from ..recipes.ranges import METHODS
from ..recipes.recipe import FloatLayers, LayerChoice, LayerQuantizer
from ..recipes.w8a8_static import quantize_onnx, quantize_pt2e
from ..rewrites import rewrite
from ..rewrites.equalize import EQUALIZE
from ..verify import joined

FITTED_ON = 32  # calibration samples, at most, while the ways are compared
JUDGED_ON = 32  # further ones
CORRECTED_ON = 16  # all of which pass a layer at once


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to calibrate: a method of `ranges.METHODS`, and what is done to the weights besides."""

    method: str
    equalized: bool = False
    corrected: bool = False

    @property
    def text(self) -> str:
        """Like "mse + equalization"."""
        added = (("equalization", self.equalized), ("bias correction", self.corrected))
        return " + ".join([self.method, *(name for name, on in added if on)])


class Calibrator:
    """Tries the ways on one model; `recipe` is what an exporter is to be given, and carries out the one that won."""

    def __init__(self, recipe: Recipe, model: DeployModel, *, say: Callable[[str], None] = lambda line: None):
        self._model, self._say = model, say
        self._way, self._fit = Way(method=METHODS[0]), 0  # 0: all samples
        self.found: dict[Way, float] = {}
        self.recipe = replace(recipe, choose_layers=self._choose, pt2e=self._pt2e, onnx=self._onnx)

    def apply(self, way: Way) -> None:
        """From now on the recipe goes this way, on all calibration samples."""
        self._way, self._fit = way, 0

    def _choose(self, quantizer: LayerQuantizer) -> LayerChoice:
        count = len(next(iter(self._model.calibration.values())))
        fitted = min(FITTED_ON, max(1, count * 2 // 3))
        rows = slice(fitted, fitted + JUDGED_ON) if count > fitted else slice(0, fitted)
        judged = {name: values[rows] for name, values in self._model.calibration.items()}
        wanted = joined(run_module(self._model, self._model.module, judged))

        def best_of(ways: list[Way]) -> Way:
            for way in ways:
                self._way, self._fit = way, fitted
                self.found[way] = sqnr_db(wanted, joined(quantizer.quantized(frozenset())(judged)))
                self._say(f"calibration {way.text}: SQNR {db_text(self.found[way])} on held-out samples")
            return max(self.found, key=self.found.__getitem__)

        best = best_of([Way(method=method) for method in METHODS])
        if isinstance(quantizer, TorchLayers):
            ways = [(True, False), (False, True), (True, True)]
            best = best_of([replace(best, equalized=first, corrected=second) for first, second in ways])
        self.apply(best)
        self._say(f"calibration: {best.text} is taken")
        tried = ", ".join(f"{way.text} {db_text(found)}" for way, found in self.found.items())
        held_out = len(wanted) if count > fitted else 0
        where = f"{held_out} held-out calibration samples" if held_out else "the calibration samples, too few to divide"
        return LayerChoice(notes={"calibration": best.text, "calibration_tried": f"{tried} (SQNR on {where})"})

    def _pt2e(
        self,
        module: torch.fx.GraphModule,
        calibration: Iterator[tuple[torch.Tensor, ...]],
        float_layers: FloatLayers = frozenset(),
    ) -> torch.fx.GraphModule:
        batches = list(islice(calibration, self._fit or None))
        if self._way.equalized:
            rewrite(module, [EQUALIZE])
        some = batches[:CORRECTED_ON]
        wanted = float_means(module, some) if self._way.corrected else {}
        quantized = quantize_pt2e(module, iter(batches), float_layers, method=self._way.method)
        if wanted:
            correct_bias(quantized, some, wanted)
        return quantized

    def _onnx(self, source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset()) -> None:
        samples = {name: rows[: self._fit or None] for name, rows in calibration.items()}
        quantize_onnx(source, target, samples, float_layers, method=self._way.method)
