"""`results/calibration.json` as a table for the documentation. Measures nothing."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.decode import decode
from edgekit.edge_runtime.format import bytes_text, db_text, metric_text, value_text


def calibration_table(path: Path) -> str:
    """One row for each model, exporter and way to calibrate; ways that stay within the budget of 1 % are in bold."""
    lines = [
        "| model | exporter | calibration | accuracy [95 %] | float | SQNR | size | within 1 % |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for model, rows in json.loads(path.read_text(encoding="utf-8")).items():
        for row in rows.values():
            if "error" in row:
                reason = " ".join(row["error"].split()).replace("|", "\\|")
                lines.append(f"| {model} | {row['exporter']} | {row['way']} | {reason} | | | | not made |")
                continue
            metric = decode(Metric, row["metric"])
            way = f"**{row['way']}**" if row["within_budget"] else row["way"]
            lines.append(
                f"| {model} | {row['exporter']} | {way} | {metric_text(metric)} | "
                f"{value_text(metric.name, metric.float_value)} | {db_text(row['sqnr_db'])} | "
                f"{bytes_text(row['bytes'])} | {'yes' if row['within_budget'] else 'no'} |"
            )
    return "\n".join(lines) + "\n"
