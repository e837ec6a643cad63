"""Counts what became of every nodule of a split, and of every group that is no nodule. Chapter 14.

The folder of results has `scans/<series>.json` for every scan that was analysed, written as soon as it is done. A
second run skips the scans that are there. Nets and grouping are those of `analysis.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.decode import DecodeError, canonical_json, decode, parse_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData, UsageError
from edgekit.edge_runtime.files import sha256_file, write_bytes
from edgekit.train.data.ct import read_scan, voxel_at
from edgekit.train.data.luna import MALIGNANCY, Annotation, read_annotations, read_series, scans, split_series
from edgekit.train.data.scan_tasks import Lost, run_scans
from edgekit.train.nodules.analysis import THRESHOLD, Analysis, Nets, analyse, load_nets
from edgekit.train.nodules.bundles import load_bundle_nets

RESULT_FILE, SCANS_FOLDER, FORMAT_VERSION = "evaluation.json", "scans", 1
NEAR = 0.7  # a group whose middle is nearer to a nodule's than this share of its diameter is that nodule
TRUTHS = ("non-nodule", "benign", "malignant")
MISSED, FILTERED, BENIGN, MALIGNANT = range(4)
OUTCOMES = ("missed", "filtered out", "predicted benign", "predicted malignant")
WITHOUT_MALIGNANCY = ("missed", "filtered out", "predicted nodule")


@dataclass(frozen=True, kw_only=True)
class NetFiles:
    """The files of the nets, by the names of `Nets`."""

    paths: dict[str, Path]
    """Weight files or bundles."""
    bundles: bool
    """Whether they are bundles."""
    sha256: dict[str, str]
    """Of each weight file, or of each bundle's model file."""

    @classmethod
    def of(cls, paths: Mapping[str, Path], *, bundles: bool) -> NetFiles:
        """Raises BundleError for a bundle that is damaged."""
        sums = {}
        for net, path in paths.items():
            if bundles:
                with Bundle.open(path) as bundle:
                    sums[net] = sha256_file(bundle.model_path)
            else:
                sums[net] = sha256_file(path)
        return cls(paths={net: path.resolve() for net, path in paths.items()}, bundles=bundles, sha256=sums)

    @contextmanager
    def load(self) -> Iterator[Nets]:
        """Loads the nets, for as long as the context lasts. Raises as `load_nets` and `load_bundle_nets`."""
        if not self.bundles:
            yield load_nets(self.paths)
            return
        with ExitStack() as stack:
            yield load_bundle_nets({net: stack.enter_context(Bundle.open(at)) for net, at in self.paths.items()})


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A group of a scan, and what the nets took it for."""

    center_mm: tuple[float, ...]
    """(x, y, z) in the patient."""
    outcome: int
    """An index of `OUTCOMES`, from 1 on."""


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """`scans/<series>.json`."""

    format_version: int
    """`FORMAT_VERSION` of the edgekit that wrote it."""
    series_uid: str
    """The scan's series."""
    nets: dict[str, str]
    """SHA-256 by net, so that results of different nets are not mixed."""
    flagged_voxels: int
    """How many voxels the segmenter flagged."""
    seconds: dict[str, float]
    """By stage."""
    detections: tuple[Detection, ...]
    """Every group."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A scan without a result."""

    series_uid: str
    """Its series."""
    why: str
    """The reason."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The counts over many scans."""

    tables: dict[str, np.ndarray]
    """By series, (3, 4) int64: rows `TRUTHS`, columns `OUTCOMES`."""
    skipped: tuple[Skipped, ...]
    """Scans that could not be analysed."""
    malignancy: bool
    """Whether there was a malignancy net."""

    @property
    def table(self) -> np.ndarray:
        """The sum of all tables."""
        return sum(self.tables.values(), np.zeros((len(TRUTHS), len(OUTCOMES)), np.int64))

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The columns: without a malignancy net there is only one kind of prediction."""
        return OUTCOMES if self.malignancy else WITHOUT_MALIGNANCY


def count_outcomes(nodules: Sequence[Annotation], detections: Sequence[Detection]) -> np.ndarray:
    """(3, 4) int64: what became of each nodule, and of each group that is no nodule.

    A group is a nodule if its middle is less than `NEAR` of the nodule's diameter from the nodule's. If a nodule has
    several groups, the highest outcome counts; a group near several nodules counts for each. A nodule is malignant if
    its annotation says so. Source: chapter 14, `match_and_score`.
    """
    table = np.zeros((len(TRUTHS), len(OUTCOMES)), np.int64)
    matched: set[int] = set()
    for nodule in nodules:
        of_it = [
            number
            for number, one in enumerate(detections)
            if math.dist(one.center_mm, nodule.center_mm) < NEAR * nodule.diameter_mm
        ]
        matched.update(of_it)
        table[2 if nodule.malignant else 1, max((detections[i].outcome for i in of_it), default=MISSED)] += 1
    for number, one in enumerate(detections):
        table[0, one.outcome] += number not in matched
    return table


def evaluate(
    root: Path,
    out: Path,
    nets: NetFiles,
    *,
    series: Sequence[str] | None = None,
    processes: int = 1,
    ray: str | None = None,
    on_scan: Callable[[str, np.ndarray | Skipped, int], None] | None = None,
    on_retry: Callable[[str, str], None] | None = None,
) -> Evaluation:
    """Analyses the scans under `root` for which `out` has no result, and counts over all of them.

    Args:
        root: as for `luna.scans`, with annotations_with_malignancy.csv.
        series: which scans; by default every tenth of those under `root`, as `split_series` says.
        processes, ray: as for `run_scans`.
        on_scan: called with each series that was analysed now, its table or why it has none, and the number of scans.
        on_retry: called with a series whose worker was lost, and why.

    Raises:
        MissingData: no scans, or no list. InputError: the list is damaged.
        UsageError: a series that is not under `root`; or `out` holds results of other nets, or other files.
        EdgekitError: a result in `out` is damaged, every scan was skipped, or a net answers NaN.
    """
    paths = scans(root)
    wanted = split_series(paths)[1] if series is None else list(dict.fromkeys(series))
    unknown = [uid for uid in wanted if uid not in paths]
    if unknown:
        raise UsageError(
            f"{len(unknown)} of {len(wanted)} series have no scan in {root}; the first one is {unknown[0]}"
        )
    truth: dict[str, list[Annotation]] = {uid: [] for uid in wanted}
    for one in read_annotations(root / MALIGNANCY):
        if one.series_uid in truth:
            truth[one.series_uid].append(one)
    tables = {uid: count_outcomes(truth[uid], done.detections) for uid, done in _done(out, wanted, nets).items()}
    todo = [(uid, paths[uid].resolve(), tuple(truth[uid])) for uid in wanted if uid not in tables]
    skipped: list[Skipped] = []
    retried = (lambda job, why: on_retry(job[0], why)) if on_retry else None
    for (uid, _, _), result in run_scans(
        partial(_analysed, nets), todo, processes=processes, ray=ray, on_retry=retried
    ):
        if isinstance(result, Lost):
            result = Skipped(series_uid=uid, why=result.why)
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            _file(out, uid).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(_file(out, uid), canonical_json(to_plain(result)))
            tables[uid] = count_outcomes(truth[uid], result.detections)
        if on_scan:
            on_scan(uid, result if isinstance(result, Skipped) else tables[uid], len(wanted))
    if not tables:
        raise EdgekitError(f"none of the {len(wanted)} scans could be evaluated. The first one: {skipped[0].why}")
    return Evaluation(
        tables={uid: tables[uid] for uid in wanted if uid in tables},
        skipped=tuple(skipped),
        malignancy="malignancy" in nets.paths,
    )


def table_as_json(table: np.ndarray, outcomes: Sequence[str]) -> dict[str, dict[str, int]]:
    """A table for JSON: counts by truth and outcome. What is no nodule cannot be missed."""
    return {
        truth: {name: int(table[row, i]) for i, name in enumerate(outcomes) if row or i != MISSED}
        for row, truth in enumerate(TRUTHS)
    }


def choose_series(root: Path, *, split: str, listed: Path | None) -> list[str] | None:
    """The `series` for `evaluate`.

    Args:
        split: "validation", or "all" for every scan under `root`.
        listed: a file with one series a line, instead of a split.

    Raises:
        UsageError: an unknown split. MissingData: no such file, or an empty one.
    """
    if listed:
        series = read_series(listed)
        if not series:
            raise MissingData(f"{listed} lists no series. Write one series uid on each line")
        return series
    if split not in ("validation", "all"):
        raise UsageError(f"unknown split {split!r}. Known: all, validation; or give --series FILE")
    return sorted(scans(root)) if split == "all" else None


def detections_of(analysis: Analysis) -> tuple[Detection, ...]:
    """Every group of a scan with its outcome; a finding of unknown malignancy counts as benign."""
    filtered = [Detection(center_mm=place, outcome=FILTERED) for place in analysis.filtered_mm]
    findings = [
        Detection(
            center_mm=one.center_mm,
            outcome=MALIGNANT if one.malignant is not None and one.malignant >= THRESHOLD else BENIGN,
        )
        for one in analysis.findings
    ]
    return (*findings, *filtered)


def _analysed(nets: NetFiles, job: tuple[str, Path, tuple[Annotation, ...]]) -> ScanResult | Skipped:
    """Analyses one scan. If it cannot be read, or a nodule is outside of it, it is skipped."""
    uid, path, nodules = job
    with nets.load() as loaded:
        try:
            volume = read_scan(path)
            for one in nodules:
                voxel_at(volume, one.center_mm, where=one.where)
            analysis = analyse(volume, loaded)
        except (InputError, MissingData) as error:
            return Skipped(series_uid=uid, why=str(error))
    return ScanResult(
        format_version=FORMAT_VERSION,
        series_uid=uid,
        nets=nets.sha256,
        flagged_voxels=analysis.flagged_voxels,
        seconds=analysis.seconds,
        detections=detections_of(analysis),
    )


def _file(out: Path, uid: str) -> Path:
    return out / SCANS_FOLDER / f"{uid}.json"


def _done(out: Path, wanted: Sequence[str], nets: NetFiles) -> dict[str, ScanResult]:
    """The results that `out` has for the wanted series."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / SCANS_FOLDER).is_dir())):
        raise UsageError(f"{out} holds files that are not results of `{EDGEKIT} nodules evaluate`. Give another --out")
    results = {}
    for uid in wanted:
        path = _file(out, uid)
        if not path.is_file():
            continue
        try:
            result = decode(ScanResult, parse_json(path.read_bytes()), path.name)
        except DecodeError as error:
            raise EdgekitError(f"{path} is damaged: {error}. Remove it, and run the same command again") from None
        if result.nets != nets.sha256 or result.format_version != FORMAT_VERSION:
            raise UsageError(f"{path} is a result of other nets. Give another --out, or remove {out}")
        results[uid] = result
    return results
