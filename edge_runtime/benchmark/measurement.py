"""A finished measurement as a file: every row, the machine, the settings and, beside it, every raw sample.

`results.json` holds what tables and reports are made of; `results.npz` holds the raw nanoseconds and each sample's
answer. No table is typed by hand.
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

from ..array_file import read_array_file
from ..bundle.golden import write_arrays
from ..bundle.manifest import StageResult
from ..bundle.status import present_name
from ..command_line import EDGEKIT
from ..decode import DecodeError, canonical_json, decode, parse_json, to_plain
from ..errors import UsageError, shown
from ..files import read_plain, write_atomically, write_bytes
from ..format import count_text, metric_name
from ..machine.cpu import machine
from ..machine.machine_state import MachineState
from .answers import Answers
from .benchmark_result import BenchmarkResult, Settings
from .rows import Pair, Row, ScalingPoint, Subject, pairs, row
from .stats import medians_ms

MEASURED_AT = "measured_at"  # in the .npz, which has only names with a slash otherwise


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of the benchmark. Files written before a field existed have its default."""

    model: str
    """The model's name; several are joined by commas."""
    baseline: str
    """Name of the candidate that ratios refer to."""
    rows: tuple[Row, ...]
    """One for each candidate, then one for each that failed."""
    stages: dict[str, tuple[StageResult, ...]]
    """What packing proved, by bundle name."""
    notes: dict[str, dict[str, str]]
    """Each bundle's provenance by its name, such as the operators outside a delegate."""
    machine: dict[str, str]
    """Where it was measured: processor, cores, system."""
    settings: Settings
    """How long it was measured."""
    measured_at: str
    """When, UTC in ISO 8601."""
    max_drop: float = 0.01
    """The budget of the accuracy gate, relative to the float model."""
    bundles: str = "bundles"
    """The folder the bundles are in."""
    objective: str = ""
    """What the best bundle should be best in; empty for size and speed together."""
    batch: int = 1
    """Samples in one run."""
    pairs: tuple[Pair, ...] = ()
    """Every two candidates against each other."""
    scaling: tuple[ScalingPoint, ...] = ()
    """The same bundles with more threads or larger batches."""
    state: MachineState | None = None
    """What the machine was doing meanwhile."""
    empty_rss_bytes: int | None = None
    """Memory of a worker process that has loaded no engine."""
    energy_missing: str = ""
    """Why there is no energy."""
    edgekit_version: str = ""
    """The edgekit that measured."""
    request: dict[str, Any] | None = None
    """The options of `optimize`, to repeat it; None where it cannot be repeated."""

    def caption(self) -> str:
        """The sentence below every table."""
        names = dict.fromkeys(metric_name(row.metric.name) for row in self.rows if row.metric)
        metrics = " and ".join(names).capitalize()
        return (
            f"Batch {self.batch}, {count_text(self.settings.num_threads, 'thread')}"
            f"{' that may spin' if self.settings.spin else ''}, candidates interleaved, "
            f"{self.machine['cpu']} ({self.machine['cores']} cores). "
            f"Ratios are against {self.baseline}. "
            + (f"{metrics}: the artifact's own, on the validation split." if metrics else "Accuracy: not measured.")
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
    """Turns results into rows against `baseline`, which is one of them; `failed` rows come last."""
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
    """Writes `path` (.json) and, beside it, the raw samples as .npz.

    The .npz holds `<name>/<round>/wall_ns` and `/cpu_ns` (int64, one value for each run), `<name>/uj` (one value for
    each round) where the machine counts energy, and `<name>/answers/…`, the fields of `Answers`; and `measured_at`, as
    in the .json: a run that is killed between the two leaves files that do not belong together.

    Args:
        answers: by name, in place of the results' own answers, which are those to the golden samples.
    """
    raw: dict[str, np.ndarray] = {}
    for result in results:
        for i, (wall, cpu) in enumerate(zip(result.rounds_wall_ns, result.rounds_cpu_ns, strict=True)):
            raw[f"{result.name}/{i}/wall_ns"], raw[f"{result.name}/{i}/cpu_ns"] = wall, cpu
        if result.rounds_uj:
            raw[f"{result.name}/uj"] = np.array(result.rounds_uj, np.int64)
        kept = (answers or {}).get(result.name, result.answers)
        if kept is not None:
            raw |= {f"{result.name}/answers/{key}": np.asarray(value) for key, value in vars(kept).items()}
    raw[MEASURED_AT] = np.array(measured.measured_at)
    with write_atomically(path.with_suffix(".npz")) as part, part.open("wb") as file:
        write_arrays(file, raw, compression=zipfile.ZIP_DEFLATED)
    save_rows(measured, path)


def save_rows(measured: Measurement, path: Path) -> None:
    """Writes `path` (.json) alone; the .npz beside it stays as it is."""
    write_bytes(path, canonical_json(to_plain(measured)))


def load(path: Path) -> Measurement:
    """Reads a measurement. Raises UsageError where the file is missing or is not one."""
    try:
        return decode(Measurement, _in_present_words(parse_json(read_plain(path))))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}. `{EDGEKIT} benchmark … --out FILE` writes one"
        ) from None
    except DecodeError as error:
        raise UsageError(
            f"{path} is not a measurement of edgekit: {error}. Give a results.json of `optimize` or `benchmark --out`"
        ) from None


def _in_present_words(data: Any) -> Any:
    """The JSON of a measurement, with the statuses of older files by their present names."""
    rows = data.get("rows") if isinstance(data, dict) else None
    for entry in rows if isinstance(rows, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("status"), str):
            entry["status"] = present_name(entry["status"])
    return data


@dataclass(frozen=True, kw_only=True)
class Raw:
    """What the `.npz` beside a measurement holds, by the names of its rows; empty where there is no such file."""

    rounds_p50_ms: dict[str, tuple[float, ...]]
    """The median of each round."""
    answers: dict[str, Answers]
    """The answer to each sample."""


def load_raw(path: Path) -> Raw:
    """Reads the `.npz` beside the measurement `path`.

    Raises:
        UsageError: it exists, and cannot be read or is of another measurement.
    """
    raw_path = path.with_suffix(".npz")
    if not raw_path.exists():
        return Raw(rounds_p50_ms={}, answers={})
    rounds: dict[str, dict[int, np.ndarray]] = {}
    measured_at = ""  # older files do not say
    answers: dict[str, dict[str, np.ndarray]] = {}
    try:
        archive = read_array_file(raw_path)
        if not isinstance(archive, dict):
            raise ValueError("it is one array")
        measured_at = str(archive.get(MEASURED_AT, ""))
        for key, array in archive.items():
            name, group, kind = (*key.rsplit("/", 2), "", "")[:3]
            if group == "answers":
                answers.setdefault(name, {})[kind] = array
            elif kind == "wall_ns":
                rounds.setdefault(name, {})[int(group)] = array
        found = Raw(
            rounds_p50_ms={name: medians_ms([wall[i] for i in sorted(wall)]) for name, wall in rounds.items()},
            answers={name: _answers(fields) for name, fields in answers.items()},
        )
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise UsageError(
            f"cannot read {raw_path}: {shown(error)}. Copy it again, or delete it to compare without it"
        ) from None
    if measured_at and measured_at != load(path).measured_at:
        raise UsageError(
            f"{raw_path} is not of the measurement in {path.name}: it was taken at {shown(measured_at, 40)}. A run was "
            "interrupted, or one of the two was copied alone. Measure again, or delete it to compare without it"
        )
    return found


def _answers(fields: Mapping[str, np.ndarray]) -> Answers:
    return Answers(
        split=str(fields["split"]),
        samples_sha256=str(fields["samples_sha256"]),
        given=fields["given"] if "given" in fields else fields["found"],  # older files call it `found`
        truth=fields["truth"],
        scores=fields["scores"],
        labels=tuple(map(str, fields["labels"])),
    )


def _edgekit_version() -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("edgekit")
    return ""
