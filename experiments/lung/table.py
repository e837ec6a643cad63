"""`results/luna-bundles.json` and `results/nodules-int8.json` as tables for the documentation. Measures nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.bundle.status import PROVEN, canonical
from edgekit.edge_runtime.format import bytes_text, limit_text, ms_text, percent_text, value_text

_NOT_MEASURED = "Not measured yet: `{}`.\n"
_ENGINES = {"onnx": "onnxruntime", "executorch_xnnpack": "ExecuTorch"}
AIM = 0.01  # the share of the flagged voxels that may differ


def luna_bundles_table(path: Path) -> str:
    """One row a bundle: size, faithfulness and time; notes below."""
    if not path.is_file():
        return _NOT_MEASURED.format("python -m experiments.lung.bundles")
    results = json.loads(path.read_text(encoding="utf-8"))
    lines = [_head("net", "engine", "form", "recipe", "size", "SQNR", "figure", "float's", "p50", "p95")]
    notes: list[str] = []
    for row in sorted(results["rows"], key=lambda row: (row["model"], row["exporter"], row["form"])):
        engine = _ENGINES[row["exporter"]]
        if "bundle" not in row:
            reason = "; ".join(f"{recipe}: {why}" for recipe, why in row["failed"].items())
            lines.append(_line(row["model"], engine, row["form"], "none was made", *[""] * 6))
            notes.append(f"- {row['model']}, {engine}, {row['form']}: {reason}")
            continue
        metric, latency = row["metric"], row.get("latency_ms")
        told = metric and [
            f"{metric['name']} {value_text(metric['name'], metric[key])}" if key == "value" else
            value_text(metric["name"], metric[key]) for key in ("value", "float")
        ]  # fmt: skip
        status = "" if canonical(row["status"]) in PROVEN else f", {row['status']}"
        times = [ms_text(latency["p50"]), ms_text(latency["p95"])] if latency else ["", ""]
        if latency and latency["invalid_because"]:
            times[1] += ", not valid"
        lines.append(
            _line(
                row["model"],
                engine,
                row["form"],
                row["recipe"] + status,
                bytes_text(row["bytes"]),
                f"{row['sqnr_db']:.0f} dB",
                *(told or ["none", ""]),
                *times,
            )
        )
        if floats := row["notes"].get("float_layers"):
            notes.append(f"- {row['bundle']}: left in float {floats}.")
    notes += [f"- {row['model']}: {row['note']}" for row in results["rows"] if row["note"]][:1]
    return "\n".join([*lines, "", _timed(results), *notes]) + "\n"


def _timed(results: dict[str, Any]) -> str:
    timed = [row["latency_ms"] for row in results["rows"] if "latency_ms" in row]
    if not timed:
        return "Times are not measured yet: `python -m experiments.lung.bundles --latency`, on a quiet machine.\n"
    reasons = {reason for one in timed for reason in one["invalid_because"]}
    machine = results["machine"]
    said = f"Times: one row, 1 thread, interleaved, {machine['cpu']} ({machine['cores']} cores)."
    return said + (f" Not valid: {'; '.join(sorted(reasons))}.\n" if reasons else "\n")


def luna_pixels_table(path: Path) -> str:
    """The U-Net's bundles: how many pixels of whole slices they flag differently from the float net."""
    rows = _with(path, "whole_slices")
    if not rows:
        return _NOT_MEASURED.format("python -m experiments.lung.bundles")
    lines = [_head("engine", "form", "recipe", "pixels that differ", "of the flagged")]
    for row in rows:
        here = row["whole_slices"]
        cells = row["form"], row["recipe"], f"{here['differ']:,}", percent_text(here["share"], 2)
        lines.append(_line(_ENGINES[row["exporter"]], *cells))
    first = rows[0]["whole_slices"]
    near = first.get("float_logits_near_zero", {})
    said = ", ".join(f"{percent_text(share)} as many within {width}" for width, share in near.items())
    said = f" Pixels whose float logit is near zero, where flagging begins: {said}." if said else ""
    return (
        "\n".join([*lines, "", f"{first['flagged_by_float']:,} flagged by the float net, {first['data']}.{said}"])
        + "\n"
    )


def luna_crops_table(path: Path) -> str:
    """The classifier's bundles: how many of the known crops they take for nodules."""
    rows = _with(path, "crops")
    if not rows:
        return _NOT_MEASURED.format("python -m experiments.lung.bundles")
    whats = list(rows[0]["crops"])
    lines = [
        _head(
            "engine", "form", *(f"{what} ({rows[0]['crops'][what]['crops']})" for what in whats), "largest change of P"
        )
    ]
    lines.append(_line("PyTorch", "float", *(str(rows[0]["crops"][what]["nodules_by_float"]) for what in whats), "0"))
    for row in rows:
        crops = row["crops"].values()
        cells = [str(one["nodules"]) + (f", {one['otherwise']} otherwise" if one["otherwise"] else "") for one in crops]
        change = max(one["largest_change"] for one in crops)
        lines.append(_line(_ENGINES[row["exporter"]], f"{row['form']} ({row['recipe']})", *cells, f"{change:.2g}"))
    return "\n".join(lines) + "\n"


def nodules_table(path: Path) -> str:
    """`edgekit nodules` on one scan: bundles compared with the float weights."""
    if not path.is_file():
        return _NOT_MEASURED.format("python -m experiments.lung.scans")
    results = json.loads(path.read_text(encoding="utf-8"))
    heads = (
        "flagged voxels",
        "differ",
        "of float's",
        "Dice",
        "groups",
        "findings",
        "the same",
        "ten highest",
        "seconds",
    )
    lines = [_head("nets", *heads)]
    float_ = results["reference"]
    counts = f"{float_['flagged_voxels']:,}", f"{float_['groups']:,}", str(float_["findings"])
    lines.append(_line("float weights", counts[0], "", "", "", *counts[1:], "", "", _seconds(float_)))
    reached = []
    for form, one in results["forms"].items():
        apart = one["against_float"]
        order = "" if apart["highest_in_order"] else ", in another order"
        lines.append(
            _line(
                form,
                f"{one['flagged_voxels']:,}",
                f"{apart['flagged_differ']:,}",
                percent_text(apart["flagged_share"], 2),
                f"{apart['dice']:.4f}",
                f"{one['groups']:,}",
                str(one["findings"]),
                str(apart["findings_common"]),
                f"{apart['highest_common']} of {apart['highest']}{order}",
                _seconds(one),
            )
        )
        if apart["flagged_share"] < AIM and apart["highest_common"] == apart["highest"]:
            reached.append(form)
    scan = results["scan"]
    missed = [form for form in results["forms"] if form not in reached]
    said = [
        f"Scan: {scan['origin']}, {' x '.join(map(str, scan['shape']))} voxels. {results['note']}",
        f"Aimed at: less than {limit_text(AIM)} of the flagged voxels differ, and the same ten findings are highest. "
        f"Reached by: {', '.join(reached) or 'none'}. Missed by: {', '.join(missed) or 'none'}.",
    ]  # fmt: skip
    return "\n".join([*lines, "", *said]) + "\n"


def _seconds(one: dict[str, Any]) -> str:
    return f"{sum(one['seconds'].values()):.0f}" if "seconds" in one else ""


def _with(path: Path, key: str) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    order = ("fp32", "fp16", "int8", "w8a8")
    return sorted((row for row in rows if key in row), key=lambda row: (order.index(row["form"]), row["exporter"]))


def _head(*names: str) -> str:
    return f"{_line(*names)}\n{_line(*['---'] * len(names))}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
