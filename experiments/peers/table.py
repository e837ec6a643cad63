"""`results/peers.json` as the tables of docs/SPEED.md. Measures nothing.

The ratio of a model is our time over the fastest library's, both with pixels in: what is above 1.0 is lost. A library's
file counts where it follows the float model at all; ours has to follow it as closely, or the cell says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.benchmark.stats import median_ratio
from edgekit.edge_runtime.format import bytes_text, count_text, db_text, ms_text, percent_text

from .candidates import AUTO, ROOFLINE

Row = dict[str, Any]
USABLE_DB = 10.0  # below this the error is a third of all that varies in the answers: no one would ship the file
_PERCENT = re.compile(r"\d+ %")
FLOAT_DB = 60.0  # from here on two files are equally right
_COMMAND = "python -m experiments.peers"


def peers_table(path: Path) -> str:
    """The ratios of each model for each number of threads, how near the roof it is, and every candidate's figures."""
    if not path.is_file():
        return f"Not measured yet: `{_COMMAND}`, on a machine that does nothing else.\n"
    results = json.loads(path.read_text(encoding="utf-8"))
    threads = sorted({count for of_model in results["models"].values() for count in of_model}, key=int)
    lines: list[str] = []
    for count in threads:
        lines += _ratios(results, count)
    lines += _roofline(results, threads)
    if threads:
        lines += [f"## Every candidate, {count_text(int(threads[0]), 'thread')}", "", *_everything(results, threads[0])]
    machine, libraries = results["machine"], results["libraries"]
    numbers = {package: number for of_one in libraries.values() for package, number in of_one.items()}
    versions = ", ".join(f"{package} {number}" for package, number in numbers.items())
    rounds = sorted({found["settings"]["rounds"] for one in results["models"].values() for found in one.values()})
    how = f"{machine['cpu']} ({machine['cores']} cores), {' or '.join(map(str, rounds))} rounds"
    lines += ["", f"{how}. {versions}; edgekit at {results['commit']}."]
    return "\n".join(lines) + "\n"


def fastest(rows: Iterable[Row], *, least_db: float = USABLE_DB) -> Row | None:
    """The fastest of the rows that follow the float model by so many decibels; None where there is none."""
    usable = [row for row in rows if not row["error"] and row["db"] >= least_db]
    return min(usable, key=lambda row: row["p50_ms"], default=None)


def ratio(ours: Row, theirs: Row) -> tuple[float, float, float]:
    """Our time over theirs with its 95 % interval, from rounds that ran next to each other."""
    first, second = ([np.array([ms]) for ms in row["rounds_p50_ms"]] for row in (ours, theirs))
    return median_ratio(first, second)


def compared(rows: dict[str, Row], job: str) -> tuple[Row | None, Row | None, bool]:
    """(our fastest, the fastest library's for `job`, whether ours follows the float model as closely)."""
    named = [row | {"name": name} for name, row in rows.items()]
    theirs = fastest(row for row in named if not row["ours"] and row["job"] == job)
    of_ours = [row for row in named if row["ours"] and not row["name"].endswith(AUTO)]
    if theirs is None:
        return fastest(of_ours), None, True
    as_close = fastest(of_ours, least_db=max(USABLE_DB, min(theirs["db"], FLOAT_DB)))
    return as_close or fastest(of_ours, least_db=-math.inf), theirs, as_close is not None


def _ratios(results: dict[str, Any], threads: str) -> list[str]:
    lines = [
        f"## {count_text(int(threads), 'thread')}",
        "",
        "| model | fastest library, pixels in | ours | ratio [95 %] | fastest library, tensors in | ratio [95 %] "
        "| auto took |",
        "| --- | --- | --- | ---: | --- | ---: | --- |",
    ]
    means: dict[str, list[float]] = {"pixels": [], "tensors": []}
    disturbed: dict[str, list[str]] = {}
    for model, by_threads in results["models"].items():
        if threads not in by_threads:
            continue
        rows, cells = by_threads[threads]["rows"], []
        for job, found in means.items():
            ours, theirs, as_close = compared(rows, job)
            cells.append(_who(theirs))
            if job == "pixels":
                cells.append(_who(ours))
            if ours is None or theirs is None:
                cells.append("")
                continue
            value, low, high = ratio(ours, theirs)
            found.append(value)
            text = f"{value:.2f} [{low:.2f}, {high:.2f}]"
            cells.append((f"**{text}**" if value > 1 else text) + ("" if as_close else ", fewer dB"))
        for name, row in rows.items():
            for reason in row.get("disturbed", ()):
                disturbed.setdefault(_PERCENT.sub("some", reason), []).append(f"{model} {name}")
        auto = fastest((row for name, row in rows.items() if name.endswith(AUTO)), least_db=-math.inf)
        cells.append("" if auto is None else f"{auto['engine']}, {ms_text(auto['p50_ms'])}")
        lines.append("| " + " | ".join([model, *cells]) + " |")
    told = [f"{math.exp(float(np.mean(np.log(found)))):.2f} with {job} in" for job, found in means.items() if found]
    told = [f"Geometric mean of the ratios: {', '.join(told)}. Bold: slower than the library."] if told else []
    lines += ["", *told, ""]
    for reason, whose in disturbed.items():
        lines.append(f"- not to be quoted ({count_text(len(whose), 'row')}): {reason}")
    return [*lines, ""] if disturbed else lines


def _who(row: Row | None) -> str:
    if row is None:
        return "none"
    return f"{row['library']} {row['precision']}, {ms_text(row['p50_ms'])}, {db_text(row['db'])}"


def _roofline(results: dict[str, Any], threads: Sequence[str]) -> list[str]:
    """How much of what the machine can multiply in 8 bits the fastest files of one model do."""
    lines = []
    for count in threads:
        measured, peak = results["models"].get(ROOFLINE, {}).get(count), results["peaks"].get(count, {}).get("int8")
        if measured is None or peak is None:
            continue
        ours, theirs, _ = compared(measured["rows"], "pixels")
        for who, row in (("our fastest", ours), ("the fastest library's", theirs)):
            if row is not None:
                share = percent_text(measured["mflop"] / row["p50_ms"] / peak, 0)  # MFLOP in a ms are GFLOP in a s
                lines.append(
                    f"- {ROOFLINE}, {count_text(int(count), 'thread')}: {who} file does {share} of the {peak:,.0f} "
                    f"GOP/s that a product of large 8-bit matrices reaches here ({_who(row)})"
                )
    return ["## How near the roof", "", *lines, ""] if lines else []


def _everything(results: dict[str, Any], threads: str) -> list[str]:
    lines = ["| model | candidate | p50 | p90 | against float | verdict | load | peak RSS | size |",
             "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |"]  # fmt: skip
    for model, by_threads in results["models"].items():
        for name, row in by_threads.get(threads, {}).get("rows", {}).items():
            if row["error"]:
                reason = row["error"].replace("|", "\\|").replace("\n", " ")
                lines.append(f"| {model} | {name} | {reason} | | | | | | |")
                continue
            cells = [
                *(ms_text(row["p50_ms"]), ms_text(row["p90_ms"]), db_text(row["db"]), row["verdict"]),
                *(ms_text(row["load_ms"]), bytes_text(row["peak_rss_bytes"]), bytes_text(row["bytes"])),
            ]
            lines.append("| " + " | ".join([model, name, *cells]) + " |")
    return lines
