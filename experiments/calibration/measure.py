"""Every way to calibrate one model, measured on the finished file: SQNR, and the task metric on the validation split.

`examples/calibration_ways.py` runs it on published weights and keeps the results; `table.py` shows them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import DeployModel
from edgekit.optimize.exporters import EXPORTERS, Exporter
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.recipes.ranges import METHODS
from edgekit.optimize.recipes.recipe import LayerChoice
from edgekit.optimize.tuning.calibrator import Calibrator, Way
from edgekit.optimize.verify import FloatReference, joined, measure, verdict_on

EXPORTED_BY = ("executorch_xnnpack", "onnx")


def ways_of(exporter: str) -> list[Way]:
    """All that an exporter can do: the methods; on a captured program, also methods that change the weights."""
    plain = [Way(method=method) for method in METHODS]
    if exporter == "onnx":
        return plain
    return [
        *plain,
        *(Way(method=m, corrected=True) for m in ("mse", "percentile")),
        Way(method="mse", equalized=True),
    ]


def measure_way(
    model: DeployModel, reference: FloatReference, exporter: Exporter, way: Way, *, max_drop: float = 0.01
) -> dict[str, Any]:
    """Exports one way and runs the file on the validation split: plain data for JSON. A failure is a row too."""
    tuning = Calibrator(RECIPES["w8a8_tuned"], model)
    tuning.apply(way)
    recipe = replace(tuning.recipe, choose_layers=lambda quantizer: LayerChoice())
    row: dict[str, Any] = {"exporter": exporter.name, "way": way.text}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / f"model{exporter.suffix}"
        try:
            *_, last = exporter.export(model, recipe, path)
            answers = last.run(model.validation)
        except EdgekitError as error:
            return row | {"error": str(error)}
        metric, scores = measure(model, answers, lambda arrays: last.run(arrays), reference)
        verdict = verdict_on(model, recipe, reference, answers, scores, {}, max_drop=max_drop)
        return row | {
            "sqnr_db": round(sqnr_db(joined(reference.validation), joined(answers)), 2),
            "metric": to_plain(metric),
            "verdict": verdict.status,
            "bytes": path.stat().st_size,
        }


def measure_ways(
    model: DeployModel, done: dict[str, dict[str, Any]], keep: Callable[[dict[str, dict[str, Any]]], None]
) -> None:
    """Adds all ways of `EXPORTED_BY` to `done`, by "exporter: way", unless they are in it; calls `keep` after each."""
    reference = FloatReference.of(model)
    for name in EXPORTED_BY:
        for way in ways_of(name):
            key = f"{name}: {way.text}"
            if key not in done:
                done[key] = measure_way(model, reference, EXPORTERS[name], way)
                keep(done)
