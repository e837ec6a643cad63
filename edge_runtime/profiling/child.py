"""The child's half of `profile`: runs a model plainly and timed by operator, in turns. Knows no library."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from ..arrays import Arrays
from ..bundle.bundle import Bundle
from ..engines import Engine
from ..errors import unknown
from .operators import Operator

# format in the manifest -> module with `open_profiler`
PROFILERS = {
    "onnx": "edgekit.edge_runtime.profiling.onnx",
    "executorch": "edgekit.edge_runtime.profiling.executorch",
    "torchscript": "edgekit.edge_runtime.profiling.torchscript",
}
WARM_UP = 5
MIN_RUNS, MAX_RUNS = 10, 200
_IN_A_ROW = 5  # runs of one kind before the other, so that each mostly has its own caches warm


class Profiler(Protocol):
    """A model that is timed by operator each time it runs: what `open_profiler` returns."""

    def run(self, inputs: Sequence[np.ndarray]) -> int:
        """Runs once and keeps the times. Returns the nanoseconds of this run, profiling included."""

    def operators(self) -> tuple[list[Operator], list[str]]:
        """Every operator with its time in each run, in the order of execution; and remarks."""


def run(engine: Engine, samples: Sequence[Arrays], settings: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Profiles the model of `engine` on `samples`.

    Args:
        settings: `bundle` (its folder), `num_threads`, and `seconds` (about how long).
    Returns:
        `plain_ns` of the engine's runs, `profiled_ns`, `operators` and `remarks`; and no arrays.
    Raises:
        UsageError: there is no profiler for this format.
    """
    with Bundle.open(settings["bundle"]) as bundle:
        manifest = bundle.manifest
        if manifest.artifact.format not in PROFILERS:
            raise unknown("format to profile", manifest.artifact.format, PROFILERS)
        module = importlib.import_module(PROFILERS[manifest.artifact.format])
        profiler: Profiler = module.open_profiler(bundle.model_path, manifest, settings["num_threads"])
    names = [spec.name for spec in manifest.inputs]
    positional = [[sample[name] for name in names] for sample in samples]
    plain: list[int] = []
    profiled: list[int] = []
    end = time.perf_counter() + settings["seconds"]
    while len(profiled) < WARM_UP + MIN_RUNS or (time.perf_counter() < end and len(profiled) < MAX_RUNS):
        for _ in range(_IN_A_ROW):
            start = time.perf_counter_ns()
            engine.run(samples[len(plain) % len(samples)])
            plain.append(time.perf_counter_ns() - start)
        for _ in range(_IN_A_ROW):
            profiled.append(profiler.run(positional[len(profiled) % len(samples)]))
    operators, remarks = profiler.operators()
    profile = {
        "plain_ns": plain[WARM_UP:],
        "profiled_ns": profiled[WARM_UP:],
        "operators": [asdict(operator) | {"ns": operator.ns[WARM_UP:]} for operator in operators],
        "remarks": remarks,
    }
    return profile, {}
