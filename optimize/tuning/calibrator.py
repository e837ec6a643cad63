"""Which calibration serves a model best: each way is tried on one part of the calibration samples, judged on another.

First `w8a8_static`'s own calibration and the methods of `ranges.py`; then, where the exporter quantizes the captured
program, the best of them with cross-layer equalization, with bias correction, and with both. Judged by the SQNR of the
answers against float's, of the output that has the least. The validation split is never looked at, so the gate at the
end stays an honest one.

What won is then done on all samples, which can turn out otherwise than on a part. So it is measured once more, against
`w8a8_static`'s own calibration on all samples. What does worse is not delivered; the next best is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from edgekit.edge_runtime.arrays import Arrays

from ..deploy import DeployModel, run_module
from ..exporters.layerwise import TorchLayers
from ..recipes import Recipe
from ..recipes.bias_correction import correct_bias, float_means
from ..recipes.ranges import METHODS
from ..recipes.recipe import FloatLayers, LayerChoice, LayerQuantizer
from ..recipes.w8a8_static import quantize_onnx, quantize_pt2e
from ..rewrites import rewrite
from ..rewrites.equalize import EQUALIZE
from .samples import some_rows, worst_sqnr_db

FITTED_ON = 32  # calibration samples, at most, while the ways are compared
JUDGED_ON = 32  # further ones
CORRECTED_ON = 16  # all of which pass a layer at once
COMPARED_ON = 128  # evenly spaced, at most, when what is to be delivered is compared with `w8a8_static`


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to calibrate: a method of `ranges.METHODS`, and what is done to the weights besides.

    Without a method it is torchao's own search, as in `w8a8_static`.
    """

    method: str
    equalized: bool = False
    corrected: bool = False

    @property
    def text(self) -> str:
        """Like "mse + equalization"."""
        added = (("equalization", self.equalized), ("bias correction", self.corrected))
        return " + ".join([self.method or "static", *(name for name, on in added if on)])


def _plain(method: str) -> Way:
    return Way(method=method)


class Calibrator:
    """Tries the ways on one model; `recipe` is what an exporter is to be given, and carries out the one that won."""

    def __init__(self, recipe: Recipe, model: DeployModel, *, say: Callable[[str], None] = lambda line: None):
        self._model, self._say = model, say
        # What the recipe does now: this way, on so many samples; 0 stands for all.
        self.way, self.fit = Way(method=METHODS[0]), 0
        self.found: dict[Way, float] = {}
        self.delivered: dict[Way, float] = {}  # the same of all samples, in the order of measuring
        self.recipe = replace(recipe, choose_layers=self._choose, pt2e=self._pt2e, onnx=self._onnx)

    def apply(self, way: Way) -> None:
        """From now on the recipe goes this way, on all calibration samples."""
        self.way, self.fit = way, 0

    def _choose(self, quantizer: LayerQuantizer) -> LayerChoice:
        on_program = isinstance(quantizer, TorchLayers)
        # What `w8a8_static` does by itself; on the ONNX side that is one of the methods.
        static = Way(method="" if on_program else METHODS[0])
        count = len(next(iter(self._model.calibration.values())))
        fitted = min(FITTED_ON, max(1, count * 2 // 3))
        rows = slice(fitted, fitted + JUDGED_ON) if count > fitted else slice(0, fitted)
        judged = {name: values[rows] for name, values in self._model.calibration.items()}
        wanted = run_module(self._model, self._model.module, judged)

        def best_of(ways: list[Way]) -> Way:
            for way in ways:
                self.way, self.fit = way, fitted
                self.found[way] = worst_sqnr_db(wanted, quantizer.quantized(frozenset())(judged))
                self._say(f"calibration {way.text}: SQNR {self.found[way]:.1f} dB on held-out samples")
            return max(self.found, key=self.found.__getitem__)

        best = best_of([static, *(way for way in map(_plain, METHODS) if way != static)])
        if on_program:
            ways = [(True, False), (False, True), (True, True)]
            best_of([replace(best, equalized=first, corrected=second) for first, second in ways])
        taken = self._not_worse_than(static, quantizer)
        self.apply(taken)
        self._say(f"calibration: {taken.text} is taken")
        tried = ", ".join(f"{way.text} {found:.1f} dB" for way, found in self.found.items())
        held_out = len(judged[self._model.inputs[0].name]) if count > fitted else 0
        where = f"{held_out} held-out calibration samples" if held_out else "the calibration samples, too few to divide"
        compared = ", ".join(f"{way.text} {found:.1f} dB" for way, found in self.delivered.items())
        notes = {
            "calibration": taken.text,
            "calibration_tried": f"{tried} (SQNR on {where})",
            "calibration_compared": f"{compared} (SQNR on {min(count, COMPARED_ON):,} calibration samples, fitted on "
            f"all {count:,}; w8a8_static is {static.text})",
        }
        return LayerChoice(notes=notes)

    def _not_worse_than(self, static: Way, quantizer: LayerQuantizer) -> Way:
        """The best way on held-out samples that, fitted on all, does no worse than `static` fitted on all."""
        samples = some_rows(self._model.calibration, COMPARED_ON)
        wanted = run_module(self._model, self._model.module, samples)

        def measure(way: Way) -> float:
            self.apply(way)
            self.delivered[way] = worst_sqnr_db(wanted, quantizer.quantized(frozenset())(samples))
            return self.delivered[way]

        floor = measure(static)
        for way in sorted(self.found, key=self.found.__getitem__, reverse=True):
            if way == static or measure(way) >= floor:
                return way
            self._say(
                f"calibration {way.text}: fitted on all samples SQNR {self.delivered[way]:.1f} dB, less than the "
                f"{floor:.1f} dB of w8a8_static; not taken"
            )
        return static

    def _pt2e(
        self,
        module: torch.fx.GraphModule,
        calibration: Iterator[tuple[torch.Tensor, ...]],
        float_layers: FloatLayers = frozenset(),
    ) -> torch.fx.GraphModule:
        batches = list(islice(calibration, self.fit or None))
        if self.way.equalized:
            rewrite(module, [EQUALIZE])
        some = batches[:CORRECTED_ON]
        wanted = float_means(module, some) if self.way.corrected else {}
        quantized = quantize_pt2e(module, iter(batches), float_layers, method=self.way.method)
        if wanted:
            correct_bias(quantized, some, wanted)
        return quantized

    def _onnx(self, source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset()) -> None:
        samples = {name: rows[: self.fit or None] for name, rows in calibration.items()}
        quantize_onnx(source, target, samples, float_layers, method=self.way.method)
