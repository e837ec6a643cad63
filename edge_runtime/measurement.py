"""A finished measurement as a file: every row, the machine, the settings and, beside it, every raw sample.

`results.json` holds what tables and reports are made of; `results.npz` the raw nanoseconds. No table is typed by hand.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .benchmark import BenchmarkResult, Settings, machine
from .decode import DecodeError, canonical_json, decode, parse_json, to_plain
from .errors import UsageError
from .files import write_atomically, write_bytes
from .manifest import StageResult
from .table import Row, Subject, metric_name, row


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of the benchmark: rows in order, what `× faster` refers to, where and when it was measured.

    `max_drop` is the budget of the accuracy gate, relative to the float model; `bundles` the folder they lie in.
    """

    model: str
    baseline: str
    rows: tuple[Row, ...]
    stages: dict[str, tuple[StageResult, ...]]  # by bundle name; what packing proved
    notes: dict[str, dict[str, str]]  # by bundle name; e.g. operators outside a delegate
    machine: dict[str, str]
    settings: Settings
    measured_at: str  # UTC, ISO 8601
    max_drop: float = 0.01
    bundles: str = "bundles"

    def caption(self) -> str:
        """What every table says below itself."""
        names = dict.fromkeys(metric_name(row.metric.name) for row in self.rows if row.metric)
        measured = " and ".join(names).capitalize() or "Accuracy"
        threads = f"{self.settings.num_threads} thread" + ("s" if self.settings.num_threads > 1 else "")
        return (
            f"Batch 1, {threads}, candidates interleaved, {self.machine['cpu']} ({self.machine['cores']} cores). "
            f"× smaller and × faster: against {self.baseline}. {measured}: the artifact's own, on the validation split."
        )


def measurement(
    model: str,
    subjects: Sequence[Subject],
    results: Sequence[BenchmarkResult],
    baseline: BenchmarkResult,
    *,
    failed: Sequence[Row] = (),
    stages: dict[str, tuple[StageResult, ...]] | None = None,
    notes: dict[str, dict[str, str]] | None = None,
) -> Measurement:
    """Puts results into rows against `baseline`, one of them; `failed` rows follow at the end."""
    rows = [row(subject, result, baseline) for subject, result in zip(subjects, results, strict=True)]
    return Measurement(
        model=model,
        baseline=baseline.name,
        rows=(*rows, *failed),
        stages=stages or {},
        notes=notes or {},
        machine=machine(),
        settings=baseline.settings,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def save(measured: Measurement, results: Sequence[BenchmarkResult], path: Path) -> None:
    """Writes `path` (.json) and, beside it, the raw samples as .npz: `<name>/wall_ns` and `/cpu_ns`, (rounds, …)."""
    raw = {}
    for result in results:
        for i, (wall, cpu) in enumerate(zip(result.rounds_wall_ns, result.rounds_cpu_ns, strict=True)):
            raw[f"{result.name}/{i}/wall_ns"], raw[f"{result.name}/{i}/cpu_ns"] = wall, cpu
    with write_atomically(path.with_suffix(".npz")) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **raw)
    write_bytes(path, canonical_json(to_plain(measured)))


def load(path: Path) -> Measurement:
    """Reads a measurement; raises UsageError when the file is missing or is not one."""
    try:
        return decode(Measurement, parse_json(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}. `edgekit benchmark … --out FILE` writes one") from None
    except DecodeError as error:
        raise UsageError(f"{path} is not a measurement of edgekit: {error}") from None
