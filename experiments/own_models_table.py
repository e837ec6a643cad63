"""`results/own-models.json` as a table for the documentation. Measures nothing."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.decode import decode
from edgekit.edge_runtime.format import bytes_text, metric_text, percent_text, value_text


def own_models_table(path: Path) -> str:
    """One row a bundle; below the table, where each model and its pictures come from."""
    lines = ["| model | bundle | accuracy [95 %] | float | n | agrees | size | status |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]  # fmt: skip
    notes, chosen = [], []
    for name, model in json.loads(path.read_text(encoding="utf-8")).items():
        for bundle, row in model["bundles"].items():
            if "error" in row:
                lines.append(f"| {name} | {bundle} | {row['error']} | | | | | not made |")
                continue
            metric = decode(Metric, row["metric"])
            missed = [stage["stage"] for stage in row["stages"] if not stage["passed"]]
            status = f"{row['status']}: missed at {', '.join(missed)}" if missed else row["status"]
            lines.append(
                f"| {name} | {bundle} | {metric_text(metric)} | {value_text(metric.name, metric.float_value)} | "
                f"{metric.samples:,} | {percent_text(metric.agreement)} | {bytes_text(row['bytes'])} | {status} |"
            )
            if said := _chosen(row.get("notes", {})):
                chosen.append(f"- {name}, {bundle}: {said}.")
        notes.append(f"- {name}: `{model['source']}`, {model['data']}.")
    chosen = [*chosen, ""] if chosen else []
    return "\n".join([*lines, "", *chosen, *notes]) + "\n"


def _chosen(notes: dict[str, str]) -> str:
    """What a recipe that measures its choices has chosen, and what it tried."""
    if "float_layers" in notes:
        return f"left in float: {notes['float_layers']}; tried: {notes['layers_tried']}"
    if "calibration" in notes:
        return f"calibrated by {notes['calibration']}; tried: {notes['calibration_tried']}"
    return ""
