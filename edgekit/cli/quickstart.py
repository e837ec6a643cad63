"""`edgekit quickstart`: the whole way once, on data that ships with scikit-learn. Trains, packs, proves, measures."""

from __future__ import annotations

import time
from pathlib import Path

from edgekit.cli.terminal import out as console
from edgekit.cli.train import train_model
from edgekit.optimize import Request

from .optimize import optimize_and_print

MODEL = "digits_cnn"
# What most users want to see first; `edgekit optimize digits_cnn` does the rest.
RECIPES = ("fp32", "w8_dynamic", "w8a8_static")
EXPORTERS = ("torchscript_traced", "torchscript_scripted", "onnx", "executorch_xnnpack")


def quickstart(*, out: Path, runs: Path) -> bool:
    """Returns whether every bundle was verified."""
    start = time.monotonic()
    console.print(f"[bold]1/2[/bold] Training {MODEL} on the UCI handwritten digits")
    train_model(MODEL, out=runs)
    console.print("[bold]2/2[/bold] Bundles: exported, quantized, verified stage by stage, measured against each other")
    passed = optimize_and_print(Request(model=MODEL, out=out, runs=runs, recipes=RECIPES, exporters=EXPORTERS))
    console.print(f"[dim]{time.monotonic() - start:.0f} s in all[/dim]")
    return passed
