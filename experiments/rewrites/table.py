"""`results/rewrites.json` as a table for the documentation. Measures nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.stats import Ratio
from edgekit.edge_runtime.format import bytes_text, db_text, faster_text, ms_text

_COLUMNS = ("model", "file", "rewritten", "p50", "speed ratio [95 %]", "size", "SQNR", "delegated", "outside", "valid")


def rewrites_table(path: Path) -> str:
    """Two rows for each model, exporter and recipe: as captured, and rewritten; edgekit's own choice is in bold."""
    results = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| " + " | ".join(_COLUMNS) + " |", "| --- | --- | --- |" + " ---: |" * 5 + " --- | --- |"]
    lines += [_line(model, row) for model, rows in results["models"].items() for row in rows]
    what = [
        f"- {model}, {row['exporter']}-{row['recipe']}: not valid: {reason}"
        for model, rows in results["models"].items()
        for row in rows
        for reason in row.get("invalid_because", ())
    ]
    settings, machine = results["settings"], results["machine"]
    lines += [
        "",
        f"Batch 1, {settings['threads']} thread, candidates interleaved, {machine['cpu']} ({machine['cores']} cores). "
        "Ratios are against the file that was not rewritten. SQNR: against the float model, on real inputs.",
        "",
        *dict.fromkeys(what),
    ]
    return "\n".join(lines)


def _line(model: str, row: dict[str, Any]) -> str:
    name = f"{row['exporter']}-{row['recipe']}"
    file = f"**{name}**" if row["used"] else name
    side = "yes" if row["side"] == "after" else "no"
    if row["error"]:
        reason = row["error"].replace("\n", " ").replace("|", "\\|")
        return f"| {model} | {file} | {side} | {reason} |" + " |" * (len(_COLUMNS) - 4)
    faster = row.get("times_faster")
    cells = [
        model,
        file,
        side,
        ms_text(row["p50_ms"]),
        faster_text(Ratio(value=faster["ratio"], low=faster["low"], high=faster["high"])) if faster else "",
        bytes_text(row["model_bytes"]),
        db_text(row["sqnr_db"]),
        row["delegated_operators"],
        row["outside_delegate"],
        "NO" if row["invalid_because"] else "yes",
    ]
    return "| " + " | ".join(cells) + " |"
