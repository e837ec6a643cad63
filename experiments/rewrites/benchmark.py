"""`python -m experiments.rewrites.benchmark`: each model before and after its rewrites, in float and in 8 bits.

A file that cannot be exported, loaded or run is a row with the reason. Writes results/rewrites.json, from which
`experiments/docs.py` makes the tables of docs/REWRITES.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, BenchmarkResult, Settings
from edgekit.edge_runtime.benchmark.measure import bundle_candidate, measure
from edgekit.edge_runtime.benchmark.stats import paired_ratio
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError, unknown
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.optimize.deploy import DeployModel
from edgekit.optimize.exporters import EXPORTERS, Exporter
from edgekit.optimize.exporters import executorch as to_executorch
from edgekit.optimize.exporters import onnx as to_onnx
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.rewrites import FOR_ONNX, FOR_ONNX_INT8, FOR_XNNPACK, Rewrite
from edgekit.optimize.verify import FloatReference
from edgekit.train import provenance

from .models import MODELS

RECIPE_NAMES = ("fp32", "w8a8_static")
_EXPORT = {"onnx": to_onnx.export, "executorch_xnnpack": to_executorch.export}


def variant(exporter: Exporter, rewrites: Sequence[Rewrite]) -> Exporter:
    """The exporter with exactly these rewrites, whatever it would do by itself."""
    return replace(exporter, export=partial(_EXPORT[exporter.name], rewrites=rewrites))


def used_side(exporter: str, recipe: str, applied: str) -> str:
    """Which of the two an exporter makes by default; `applied` is the text of what the rewrites did."""
    if exporter == "executorch_xnnpack":
        return "after"
    used = FOR_ONNX_INT8 if RECIPES[recipe].needs_calibration else FOR_ONNX
    return "after" if any(f"{one.name}:" in applied for one in used) else "before"


def benchmark_model(model: DeployModel, settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """One row for each exporter, recipe, and side of the rewrites; all that run are measured in one session."""
    reference = FloatReference.of(model)
    rows: list[dict[str, Any]] = []
    packed: dict[int, Path] = {}
    for exporter in _EXPORT:
        for recipe in RECIPE_NAMES:
            for side, rewrites in (("before", ()), ("after", FOR_XNNPACK)):
                row: dict[str, Any] = {"exporter": exporter, "recipe": recipe, "side": side, "error": ""}
                rows.append(row)
                say(f"{model.name} {exporter} {recipe} {side}")
                try:
                    made = pack_bundle(
                        model,
                        variant(EXPORTERS[exporter], rewrites),
                        RECIPES[recipe],
                        folder / side,
                        reference=reference,
                        allow_unverified=True,
                    )
                except EdgekitError as error:
                    row["error"] = str(error)
                    continue
                named = made.path.rename(made.path.with_name(f"{made.name}-{side}"))
                row |= _facts(made.manifest)
                if side == "after" and not row["rewrites"]:
                    row["error"] = "nothing to rewrite"
                    continue
                packed[len(rows) - 1] = named
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        used = used_side(after["exporter"], after["recipe"], after.get("rewrites", ""))
        before["used"], after["used"] = used == "before", used == "after"
    candidates = [replace(bundle_candidate(path), name=path.name) for path in packed.values()]
    results = dict(zip(packed, measure(candidates, settings), strict=True))
    for i, result in results.items():
        rows[i] |= _figures(result)
        if rows[i]["side"] == "after" and i - 1 in results:
            ratio = paired_ratio(results[i - 1].rounds_p50_ms, result.rounds_p50_ms)
            rows[i]["times_faster"] = {"ratio": ratio.value, "low": ratio.low, "high": ratio.high}
    return rows


def _facts(manifest: Manifest) -> dict[str, Any]:
    notes, last = manifest.provenance, manifest.stages[-1]
    return {
        "model_bytes": manifest.artifact.bytes,
        "sqnr_db": last.sqnr_db,
        "rewrites": notes.get("rewrites", ""),
        "delegated_operators": notes.get("delegated_operators", ""),
        "outside_delegate": notes.get("outside_delegate", ""),
        "stages": {stage.stage: {"relative": stage.relative, "sqnr_db": stage.sqnr_db} for stage in manifest.stages},
    }


def _figures(result: BenchmarkResult) -> dict[str, Any]:
    return {
        "engine": result.engine,
        "p50_ms": result.percentile_ms(50),
        "p90_ms": result.percentile_ms(90),
        "samples": len(result.wall_ns),
        "rounds_p50_ms": [float(r) for r in result.rounds_p50_ms],
        "invalid_because": list(result.invalid_because),
    }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@program(interrupted="interrupted; the models measured so far are in --out")
def main() -> None:
    """Writes the comparison to --out."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.rewrites.benchmark", description=__doc__.split("\n")[0]
    )
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="few short rounds: shows that it works, not valid to quote"
    )
    parser.add_argument("--out", type=Path, default=Path("results/rewrites.json"))
    options = parser.parse_args()
    settings = QUICK if options.quick else Settings()
    for name in options.models:
        if name not in MODELS:
            raise unknown("model", name, MODELS)
    results: dict[str, Any] = {}
    for name in options.models or MODELS:
        with tempfile.TemporaryDirectory(prefix="edgekit-rewrites-") as folder:
            results[name] = benchmark_model(MODELS[name](), settings, Path(folder))
        measured = {
            "models": results,
            "settings": {"rounds": settings.rounds, "round_ms": settings.round_ms, "threads": settings.num_threads},
            "machine": machine(),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
        }
        write_bytes(
            options.out, canonical_json(measured)
        )  # after each model, so that a run that is stopped keeps the others
    print(f"wrote {options.out}")


if __name__ == "__main__":
    sys.exit(main())
