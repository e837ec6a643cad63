"""`results/survey.json` as tables for the documentation. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.stats import Ratio
from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.decode import decode
from edgekit.edge_runtime.format import (
    bytes_text,
    count_text,
    faster_text,
    metric_name,
    ms_text,
    percent_text,
    value_text,
)

from .rows import RESCUES

Row = dict[str, Any]
Way = tuple[str, str]  # exporter and recipe
_NOT_MEASURED = "No times yet. On a quiet machine: `python -m experiments.survey --measure`."
_RECIPES = ("fp32", "w8_dynamic", "w8a8_static")


class _Notes:
    """Numbered reasons for below a table, each of them once."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def number(self, reason: str, whose: str) -> str:
        self._found.setdefault(reason, []).append(whose)
        return f"[{list(self._found).index(reason) + 1}]"

    def lines(self) -> list[str]:
        return [f"{i}. {_few(whose)}: {reason}" for i, (reason, whose) in enumerate(self._found.items(), 1)]


def survey_models_table(path: Path) -> str:
    """A table for each exporter, with the registry's models; a cell has a recipe's accuracy, size, SQNR and time."""
    results = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in results["rows"] if not _backbone(row)]
    latency, lines = results["latency"], [*_so_far(rows, results["planned"]["models"]), *_shares(rows), ""]
    for exporter in dict.fromkeys(row["exporter"] for row in rows):
        mine = [row for row in rows if row["exporter"] == exporter]
        recipes = [recipe for recipe in _RECIPES if any(row["recipe"] == recipe for row in mine)]
        notes = _Notes()
        lines += [f"### `{exporter}`", "", _head(["model", "float", *recipes])]
        for model in dict.fromkeys(row["model"] for row in mine):
            of_model = _by_way(row for row in mine if row["model"] == model)
            cells = _cells(of_model, [(exporter, recipe) for recipe in recipes], latency, notes)
            lines.append(_line([model, _float_value(of_model.values()), *cells]))
        lines += ["", *notes.lines(), ""]
    return "\n".join([*lines, *_weights(rows)]) + "\n"


def survey_backbones_table(path: Path) -> str:
    """One row a backbone: both engines, in float and in 8 bits; then the reason for each failure."""
    results = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in results["rows"] if _backbone(row)]
    ways = list(dict.fromkeys((row["exporter"], row["recipe"]) for row in rows if row["recipe"] in _RECIPES))
    notes, lines = _Notes(), [*_so_far(rows, results["planned"]["backbones"]), *_shares(rows), ""]
    lines.append(_head(["backbone", "MFLOP", *(f"{exporter} {recipe}" for exporter, recipe in ways)]))
    for model in dict.fromkeys(row["model"] for row in rows):
        of_model = _by_way(row for row in rows if row["model"] == model)
        mflop = next((f"{row['mflop']:,.0f}" for row in of_model.values() if "mflop" in row), "")
        cells = _cells(of_model, ways, {}, notes)
        lines.append(_line([model, mflop, *cells]))
    outside = [
        f"- {row['model']}: {row['outside_delegate']}"
        for row in rows
        if row["recipe"] == "fp32" and row.get("outside_delegate", "nothing") not in ("", "nothing")
    ]
    if outside:
        outside = ["", "What stayed outside XNNPACK, and runs in ExecuTorch's own kernels:", "", *outside]
    return "\n".join([*lines, "", *notes.lines(), *outside, "", *_weights(rows)]) + "\n"


def survey_int8_table(path: Path) -> str:
    """Float against int8, one row for each model and engine; and why int8 is slower where it is."""
    results = json.loads(path.read_text(encoding="utf-8"))
    if not results["latency"]:
        return _NOT_MEASURED + "\n"
    mflop = {row["model"]: row["mflop"] for row in results["rows"] if "mflop" in row}
    lines = [_head(["model", "MFLOP", "engine", "float", "int8", "speed ratio [95 %]"])]
    why: list[str] = []
    as_fast = total = disturbed = 0
    runs = min(one["runs"] for each in results["latency"].values() for one in each.get("bundles", {}).values())
    for model, one in results["latency"].items():
        if "error" in one:
            why.append(f"- {model}: not measured: {one['error']}")
            continue
        for exporter, ratio in one["int8"].items():
            before, after = (one["bundles"][f"{exporter}-{recipe}"] for recipe in ("fp32", "w8a8_static"))
            bad = before["disturbed"] or after["disturbed"]
            faster = Ratio(value=ratio["ratio"], low=ratio["low"], high=ratio["high"])
            text = f"{faster_text(faster)}{' (!)' if bad else ''}"
            times = [ms_text(before["p50_ms"]), ms_text(after["p50_ms"])]
            lines.append(_line([model, f"{mflop[model]:,.0f}", exporter, *times, text]))
            as_fast, total, disturbed = as_fast + (faster.value >= 1), total + 1, disturbed + bool(bad)
            if ratio["why"]:
                why.append(f"- {model}, {exporter}, {faster_text(faster)}: {ratio['why']}")
    said = (
        f"Int8 is at least as fast as float in {as_fast} of {total} rows: batch 1, one thread, interleaved, {runs} or "
        "more runs of each, which is enough for the ratio and its interval, and too few to quote a latency by."
    )
    if disturbed:
        rows = f"{count_text(disturbed, 'row')} with (!) {'was' if disturbed == 1 else 'were'}"
        said += f" {rows} measured while other programs ran."
    return "\n".join([said, "", *lines, "", *why]) + "\n"


def _so_far(rows: Sequence[Row], planned: int) -> list[str]:
    """A note on an unfinished survey; nothing for a finished one."""
    rows = [row for row in rows if row["recipe"] in _RECIPES]
    if len(rows) >= planned:
        return []
    rest = "`python -m experiments.survey` makes the others"
    return [f"Not finished: {len(rows)} of {planned} combinations were made so far; {rest}.", ""]


def _shares(rows: Sequence[Row]) -> list[str]:
    """One line for each exporter and recipe: how many were made and run, and how many were verified."""
    lines = []
    for exporter, recipe in dict.fromkeys((row["exporter"], row["recipe"]) for row in rows):
        mine = [row for row in rows if (row["exporter"], row["recipe"]) == (exporter, recipe)]
        made = sum("bytes" in row for row in mine)
        held = sum(row["outcome"] == "verified" for row in mine)
        if any(row["outcome"] == "not_run" for row in mine):
            lines.append(f"- `{exporter}` {recipe}: {made} of {len(mine)} lowered; no engine here runs the file")
            continue
        lines.append(f"- `{exporter}` {recipe}: {made} of {len(mine)} made and run in a fresh process, {held} verified")
    return lines


def _cell(row: Row | None, latency: dict[str, Any], notes: _Notes) -> str:
    if row is None:
        return "not tried"
    if "bytes" not in row:
        return f"{row['outcome']} {notes.number(_plain(row['reason'], row['model']), row['model'])}"
    if row["outcome"] == "not_run":
        return f"{bytes_text(row['bytes'])}, {_outside(row)}"
    parts = []
    if row["metric"]:
        metric = decode(Metric, row["metric"])
        parts.append(value_text(metric.name, metric.value))
    else:
        parts.append(f"agrees {percent_text(row['agreement'], 0)}")
    parts += [bytes_text(row["bytes"]), f"{row['sqnr_db']:.0f} dB"]
    timed = latency.get(row["model"], {}).get("bundles", {}).get(f"{row['exporter']}-{row['recipe']}")
    if timed:
        parts.append(ms_text(timed["p50_ms"]))
    if row["outcome"] != "verified":
        missed = f"missed at {', '.join(row['missed'])}" if row["missed"] else "missed the accuracy budget"
        parts.append("**undecided**" if row["outcome"] == "undecided" else f"**{missed}**")
    return ", ".join(parts)


def _by_way(rows: Iterable[Row]) -> dict[Way, Row]:
    return {(row["exporter"], row["recipe"]): row for row in rows}


def _cells(of_model: dict[Way, Row], ways: Sequence[Way], latency: dict[str, Any], notes: _Notes) -> list[str]:
    """A cell for each way; a missed w8a8_static is followed by the recipes that were tried after it."""
    cells = []
    for exporter, recipe in ways:
        parts = [_cell(of_model.get((exporter, recipe)), latency, notes)]
        for rescue in RESCUES if recipe == "w8a8_static" else ():
            if (row := of_model.get((exporter, rescue))) is not None:
                parts.append(f"`{rescue}`: {_cell(row, latency, notes)}")
        cells.append("; ".join(parts))
    return cells


def _outside(row: Row) -> str:
    """How many operators stayed outside the delegate."""
    listed = row["outside_delegate"]
    count = 0 if listed in ("", "nothing") else sum(int(one.rsplit("x", 1)[1]) for one in listed.split(", "))
    return f"{count} operators outside the delegate" if count else "wholly delegated"


def _float_value(rows: Iterable[Row]) -> str:
    for row in rows:
        if row.get("metric"):
            metric = decode(Metric, row["metric"])
            value = value_text(metric.name, metric.float_value)
            return f"{metric_name(metric.name)} {value} (n={metric.samples:,})"
    return "no accuracy"


def _weights(rows: Sequence[Row]) -> list[str]:
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        if "weights" in row:
            models.setdefault(row["weights"], {})[row["model"]] = None
    return ["Weights:", "", *(f"- {words}: {', '.join(names)}" for words, names in models.items())] if models else []


def _plain(reason: str, model: str) -> str:
    """A reason without the model's name, so that the same reason of many models is listed once."""
    named = reason.replace(f"of {model} ", "").replace(model.replace(":", "_"), "it")
    return named.replace("|", "\\|")


def _few(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _backbone(row: Row) -> bool:
    return ":" in row["model"]


def _head(names: Sequence[str]) -> str:
    return f"{_line(names)}\n| --- |{' --- |' * (len(names) - 1)}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
