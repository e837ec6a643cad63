"""`edgekit optimize` and `edgekit quickstart`: every recipe and exporter asked for, proven, measured, in one table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from edgekit.cli.bundles import print_json
from edgekit.cli.terminal import err, out, print_measurement
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import MissingData, UsageError
from edgekit.optimize.deliver import NOT_TRIED, Delivered, deliver
from edgekit.optimize.deploy import deploy_book_model
from edgekit.optimize.eager import eager_candidate
from edgekit.optimize.options import Options, combinations
from edgekit.optimize.report.page import write_report
from edgekit.train.registry import book_model

from .report import closing_lines


def optimize_model(name: str, *, weights: Path | None, runs: Path, options: Options, as_json: bool) -> bool:
    """Packs, verifies and measures; writes results.json and report.html beside the run. Returns whether all passed."""
    book = book_model(name)
    pairs = combinations(options)
    path = weights or runs / name / "weights.safetensors"
    if not path.is_file():
        raise MissingData(f"no weights at {path}. Train them: edgekit train {name}, or give --weights FILE")
    model = deploy_book_model(book, path).with_max_batch(options.max_batch)
    results = runs / name / "results.json"
    delivered = deliver(
        model,
        pairs,
        options,
        lambda samples: eager_candidate(model, path, samples),
        say=sayer(as_json),
        quiet=as_json,
        earlier=results,
    )
    return finish(delivered, results, options, as_json=as_json)


def sayer(as_json: bool) -> Callable[[str], None]:
    """Prints a line of progress: to stdout, or to stderr where stdout is for JSON alone."""
    return lambda text: (err if as_json else out).print(text, soft_wrap=True)


def finish(delivered: Delivered, results_path: Path, options: Options, *, as_json: bool) -> bool:
    """Writes results.json and report.html, prints the table and the verdict; returns whether nothing failed."""
    measured = delivered.measured
    if delivered.measured_before:  # the raw samples beside it stay
        measurement.save_rows(measured, results_path)
    else:
        measurement.save(measured, delivered.results, results_path, answers=delivered.answers)
    report = write_report(measured, results_path.with_name("report.html"))
    if as_json:
        print_json(to_plain(measured))
    else:
        print_measurement(measured)
        text = f"Bundles in {options.out}/, raw measurements in {results_path}, report in {report}"
        out.print(text, soft_wrap=True, markup=False)
        for line in closing_lines(measured):
            out.print(line, soft_wrap=True)
    return all(row.status == NOT_TRIED for row in delivered.failed)


def seconds_of(text: str) -> float:
    """A length of time as one types it: 90, 90s, 10m or 1h. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"a time budget should be like 90s, 10m or 1h, found {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
