"""A finished measurement as a file: every row, the machine, the settings and, beside it, every raw sample.

`results.json` holds what tables and reports are made of; `results.npz` the raw nanoseconds and each sample's answer. No
table is typed by hand.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.golden import write_arrays
from ..bundle.manifest import StageResult
from ..decode import DecodeError, canonical_json, decode, parse_json, to_plain
from ..errors import UsageError
from ..files import write_atomically, write_bytes
from ..machine.cpu import machine
from ..machine.machine_state import MachineState
from .answers import Answers
from .benchmark_result import BenchmarkResult, Settings
from .rows import Pair, Row, ScalingPoint, Subject, pairs, row
from .stats import medians_ms
from .table import metric_name


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of the benchmark: rows in order, what `× faster` refers to, where and when it was measured.

    `max_drop` is the budget of the accuracy gate, relative to the float model; `bundles` the folder they lie in. Files
    of older versions have nothing of what follows these.
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
    objective: str = ""  # what the best bundle is to be the best in; empty: size and speed together
    batch: int = 1
    pairs: tuple[Pair, ...] = ()
    scaling: tuple[ScalingPoint, ...] = ()
    state: MachineState | None = None  # of the machine while it measured
    empty_rss_bytes: int | None = None  # of a worker process that has loaded no engine
    energy_missing: str = ""  # why there is no energy
    edgekit_version: str = ""
    request: dict[str, Any] | None = None  # the options of `optimize`, to repeat it; None where it cannot be

    def caption(self) -> str:
        """What every table says below itself."""
        names = dict.fromkeys(metric_name(row.metric.name) for row in self.rows if row.metric)
        measured = " and ".join(names).capitalize()
        threads = f"{self.settings.num_threads} thread" + ("s" if self.settings.num_threads > 1 else "")
        return (
            f"Batch {self.batch}, {threads}, candidates interleaved, "
            f"{self.machine['cpu']} ({self.machine['cores']} cores). "
            f"× smaller and × faster: against {self.baseline}. "
            + (f"{measured}: the artifact's own, on the validation split." if measured else "Accuracy: not measured.")
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
    scaling: Sequence[ScalingPoint] = (),
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
        batch=baseline.batch,
        pairs=pairs(results),
        scaling=tuple(scaling),
        state=baseline.state,
        empty_rss_bytes=baseline.empty_rss_bytes,
        energy_missing=baseline.energy_missing,
        edgekit_version=_edgekit_version(),
    )


def save(
    measured: Measurement,
    results: Sequence[BenchmarkResult],
    path: Path,
    *,
    answers: Mapping[str, Answers] | None = None,
) -> None:
    """Writes `path` (.json) and, beside it, what was measured as .npz.

    In it `<name>/<round>/wall_ns` and `/cpu_ns` (int64, one value a run), `<name>/uj` (one value a round) where the
    machine counts energy, and `<name>/answers/…`, the fields of `Answers`. `answers`, by name, stand in for the
    results' own, which are those to the golden samples.
    """
    raw: dict[str, np.ndarray] = {}
    for result in results:
        for i, (wall, cpu) in enumerate(zip(result.rounds_wall_ns, result.rounds_cpu_ns, strict=True)):
            raw[f"{result.name}/{i}/wall_ns"], raw[f"{result.name}/{i}/cpu_ns"] = wall, cpu
        if result.rounds_uj:
            raw[f"{result.name}/uj"] = np.array(result.rounds_uj, np.int64)
        said = (answers or {}).get(result.name, result.answers)
        if said is not None:
            raw |= {f"{result.name}/answers/{key}": np.asarray(value) for key, value in vars(said).items()}
    with write_atomically(path.with_suffix(".npz")) as part, part.open("wb") as file:
        write_arrays(file, raw, compression=zipfile.ZIP_DEFLATED)
    save_rows(measured, path)


def save_rows(measured: Measurement, path: Path) -> None:
    """Writes `path` (.json) alone: what was measured stays beside it as it is."""
    write_bytes(path, canonical_json(to_plain(measured)))


def load(path: Path) -> Measurement:
    """Reads a measurement; raises UsageError when the file is missing or is not one."""
    try:
        return decode(Measurement, parse_json(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}. `edgekit benchmark … --out FILE` writes one") from None
    except DecodeError as error:
        raise UsageError(f"{path} is not a measurement of edgekit: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Raw:
    """What lies in the `.npz` beside a measurement, by the names of its rows; empty where there is none."""

    rounds_p50_ms: dict[str, tuple[float, ...]]
    answers: dict[str, Answers]


def load_raw(path: Path) -> Raw:
    """Reads the `.npz` beside the measurement `path`; raises UsageError when it is there and cannot be read."""
    raw_path = path.with_suffix(".npz")
    if not raw_path.exists():
        return Raw(rounds_p50_ms={}, answers={})
    rounds: dict[str, dict[int, np.ndarray]] = {}
    said: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(raw_path, allow_pickle=False) as archive:
            for key in archive.files:
                name, group, kind = (*key.rsplit("/", 2), "", "")[:3]
                if group == "answers":
                    said.setdefault(name, {})[kind] = archive[key]
                elif kind == "wall_ns":
                    rounds.setdefault(name, {})[int(group)] = archive[key]
        return Raw(
            rounds_p50_ms={name: medians_ms([found[i] for i in sorted(found)]) for name, found in rounds.items()},
            answers={name: _answers(fields) for name, fields in said.items()},
        )
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise UsageError(f"cannot read {raw_path}: {error}. Copy it again, or remove it to do without it") from None


def _answers(fields: Mapping[str, np.ndarray]) -> Answers:
    return Answers(
        split=str(fields["split"]),
        samples_sha256=str(fields["samples_sha256"]),
        found=fields["found"],
        truth=fields["truth"],
        scores=fields["scores"],
        labels=tuple(map(str, fields["labels"])),
    )


def _edgekit_version() -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("edgekit")
    return ""
