"""Which way of calibration keeps the accuracy of published weights: every figure of results/calibration.json.

    python examples/calibration_ways.py [MODEL ...]

An interrupted run goes on where it was. Models and pictures are those of own_models.py.
"""

import json
import sys
from pathlib import Path

import torch
from own_models import MODELS

from edgekit.edge_runtime.files import write_bytes
from edgekit.optimize.user_model.model import own_model
from experiments.calibration.measure import measure_ways

OUT = Path(__file__).resolve().parent.parent / "results" / "calibration.json"
MEASURED = ("mobilenet_v2_tf2", "squeezenet1_0")


def _kept() -> dict:
    return json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}


def main(names: list[str]) -> None:
    """Measures what is not in `OUT` yet, and keeps each figure as it is found."""
    for name in names or MEASURED:
        rows = _kept().get(name, {})

        def keep(rows: dict, name: str = name) -> None:
            # Read again each time: another model may be measured at the same time.
            write_bytes(OUT, (json.dumps(_kept() | {name: rows}, indent=2, sort_keys=True) + "\n").encode())
            key, row = list(rows.items())[-1]
            value = (row.get("metric") or {}).get("value")
            print(f"{name} {key}: {row.get('error') or (row['sqnr_db'], value, row['within_budget'])}", flush=True)

        with MODELS[name]() as (source, request, _):
            measure_ways(own_model(source, request).model, rows, keep)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
