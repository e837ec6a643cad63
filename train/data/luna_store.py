"""Every crop and slice that training needs, cut from the scans once: plain arrays, memory-mapped. Chapters 10 to 14.

A store is a folder of files `<part>-<array>.bin`, each a sequence of rows of one shape, and index.json, which says how
many rows are valid. The index is written after every scan, so that no scan is cut twice; rows beyond it are cut off.
Uncompressed int16 arrays are hardly larger than the book's gzipped float32 crops and are read dozens of times faster;
compressed chunks do not come close (results/luna-store.json). This module knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.decode import DecodeError, canonical_json, decode, parse_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData
from edgekit.edge_runtime.files import folder_atomically, sha256_file, write_bytes
from edgekit.edge_runtime.owner import sweep
from edgekit.train.data import data_root
from edgekit.train.data.ct import read_scan
from edgekit.train.data.luna import (
    CANDIDATES,
    MALIGNANCY,
    Candidate,
    read_annotations,
    read_candidates,
    scans,
    split_series,
    with_malignancy,
)
from edgekit.train.data.scan_rows import ARRAYS, Cut, ScanEntry, cut_volume, nothing
from edgekit.train.data.scan_tasks import Lost, run_scans
from edgekit.train.data.synthetic_ct import MARK, MARK_FILE

INDEX = "index.json"
FORMAT_VERSION = 1
TRAIN, VALIDATION = "train", "validation"
Job = TypeVar("Job", bound=tuple)
ScanJob = tuple[str, Path, list[Candidate]]  # a series, its file, and the places in it


@dataclass(frozen=True, kw_only=True)
class Index:
    """index.json."""

    format_version: int
    """`FORMAT_VERSION` of the edgekit that wrote it."""
    origin: str
    """Where the scans come from, for run records."""
    lists_sha256: str
    """Of the two lists that the places came from."""
    finished: bool
    """Whether every scan was cut or skipped."""
    scans: tuple[ScanEntry, ...]
    """Those that were, in the order of their rows."""

    def rows(self, part: str, array: str) -> int:
        """How many rows of an array are valid."""
        field = "segments" if array in ("segment", "mask") else "crops"
        return sum(getattr(scan, field) for scan in self.scans if scan.part == part)

    def series(self, part: str, array: str) -> np.ndarray:
        """(N,) which scan each valid row of an array was cut from, by its series' uid."""
        field = "segments" if array in ("segment", "mask") else "crops"
        of_part = [scan for scan in self.scans if scan.part == part]
        return np.repeat([scan.uid for scan in of_part], [getattr(scan, field) for scan in of_part])

    @property
    def skipped(self) -> tuple[ScanEntry, ...]:
        return tuple(scan for scan in self.scans if scan.skipped)


def default_store() -> Path:
    """Where `edgekit luna prepare` puts its store and training looks for it, unless told otherwise."""
    return data_root() / "luna" / "store"


def prepare(
    root: Path,
    store: Path,
    *,
    jobs: int = 1,
    ray: str | None = None,
    on_scan: Callable[[ScanEntry, int], None] | None = None,
    on_retry: Callable[[str, str], None] | None = None,
) -> Index:
    """Cuts all scans under `root` into `store`, unless they are in it; a scan that cannot be read is skipped.

    Args:
        root: as for `luna.scans`, with candidates.csv and annotations_with_malignancy.csv.
        jobs, ray: processes that read scans at the same time, as for `run_scans`; the rows do not depend on them.
        on_scan: called with each scan's entry and the number of scans.
        on_retry: called with a series whose worker was lost, and why; after `TRIES` losses the scan is skipped.

    Raises:
        MissingData: no scans, or a list is missing.
        InputError: a list is damaged.
        EdgekitError: `store` holds crops of other lists, or every scan was skipped.
    """
    jobs_by_series = scan_jobs(root)
    synthetic = (root / MARK_FILE).is_file()
    origin = f"{MARK} scans, which show no patient" if synthetic else "chest CTs in LUNA16's format"
    return fill(
        store,
        origin,
        "".join(sha256_file(root / name) for name in (MALIGNANCY, CANDIDATES)),
        jobs_by_series,
        cut_scan,
        jobs=jobs,
        ray=ray,
        on_scan=on_scan,
        on_retry=on_retry,
    )


def scan_jobs(root: Path) -> dict[str, ScanJob]:
    """Each scan under `root` with its nodules and other candidates, by series; raises as `prepare`."""
    paths = scans(root)
    annotations = [one for one in read_annotations(root / MALIGNANCY) if one.series_uid in paths]
    places: dict[str, list[Candidate]] = {uid: [] for uid in paths}
    for one in with_malignancy(read_candidates(root / CANDIDATES, series=paths), annotations):
        places[one.series_uid].append(one)
    return {uid: (uid, paths[uid], places[uid]) for uid in sorted(paths)}


def fill(
    store: Path,
    origin: str,
    lists_sha256: str,
    scans: Mapping[str, Job],
    work: Callable[[Job], Cut],
    *,
    jobs: int = 1,
    ray: str | None = None,
    on_scan: Callable[[ScanEntry, int], None] | None = None,
    on_retry: Callable[[str, str], None] | None = None,
) -> Index:
    """Writes the rows that `work` cuts from each of `scans` that is not in `store` yet; the rest is as for `prepare`.

    Args:
        lists_sha256: stands for the source of the places; a store made from other places is refused.
        scans: jobs by series; a job begins with its series' uid.
    """
    index = _begin(store, origin, lists_sha256)
    for part in (TRAIN, VALIDATION):
        for array in ARRAYS:
            _cut_off(store, index, part, array)
    validation = set(split_series(scans)[1])
    known = {entry.uid for entry in index.scans}
    todo = [job for uid, job in scans.items() if uid not in known]
    retried = (lambda job, why: on_retry(job[0], why)) if on_retry else None
    for (uid, *_), cut in run_scans(work, todo, processes=jobs, ray=ray, ordered=True, on_retry=retried):
        entry, arrays = nothing(uid, cut.why) if isinstance(cut, Lost) else cut
        entry = replace(entry, part=VALIDATION if entry.uid in validation else TRAIN)
        for name, rows in arrays.items():
            with _file(store, entry.part, name).open("ab") as file:
                file.write(np.ascontiguousarray(rows, ARRAYS[name][0]).tobytes())
        index = replace(index, scans=(*index.scans, entry))
        write_bytes(store / INDEX, canonical_json(to_plain(index)))
        if on_scan:
            on_scan(entry, len(scans))
    if len(index.skipped) == len(index.scans):
        raise EdgekitError(f"none of the {len(scans)} scans could be used. The first one: {index.scans[0].skipped}")
    index = replace(index, finished=True)
    write_bytes(store / INDEX, canonical_json(to_plain(index)))
    return index


def write_rows(store: Path, origin: str, parts: Mapping[str, Mapping[str, np.ndarray]]) -> Index:
    """Writes a store of ready-made rows, by part and array, as `ARRAYS` says.

    Raises:
        EdgekitError: `store` exists and is not empty.
    """
    _check_empty(store, f"{store} exists already. Remove it, or give another --store")
    entries = []
    with folder_atomically(store, replace=False) as staging:
        for part, arrays in parts.items():
            for name, found in arrays.items():
                dtype = ARRAYS[name][0]
                write_bytes(_file(staging, part, name), np.ascontiguousarray(found, dtype).tobytes())
            crops, segments = len(arrays["crop"]), len(arrays["segment"])
            entries.append(ScanEntry(uid=origin, part=part, crops=crops, segments=segments, skipped=""))
        index = Index(
            format_version=FORMAT_VERSION, origin=origin, lists_sha256="", finished=True, scans=tuple(entries)
        )
        write_bytes(staging / INDEX, canonical_json(to_plain(index)))
    return index


def read_index(store: Path) -> Index:
    """The index of a finished store.

    Raises:
        MissingData: no store there, or preparing it was not finished.
        EdgekitError: index.json is damaged, or an array is shorter than it says.
    """
    path = store / INDEX
    if not path.is_file():
        raise MissingData(
            f"there are no prepared scans in {store}. With LUNA16's scans in DIR, or synthetic ones made by "
            f"`{EDGEKIT} luna synthesize DIR`, run: {EDGEKIT} luna prepare DIR"
        )
    try:
        index = decode(Index, parse_json(path.read_bytes()), INDEX)
    except DecodeError as error:
        raise EdgekitError(f"{path} is damaged: {error}. Remove {store} and prepare the scans again") from None
    if not index.finished:
        raise MissingData(f"{store} is unfinished. Run `{EDGEKIT} luna prepare` again: it continues")
    return index


def rows(store: Path, part: str, array: str, *, index: Index | None = None) -> np.ndarray:
    """An array of `ARRAYS`, (N, …), memory-mapped, so that only the rows that are used are read.

    Changes stay in memory. Raises as `read_index`.
    """
    count = (index or read_index(store)).rows(part, array)
    dtype, shape = ARRAYS[array]
    if not count:
        return np.zeros((0, *shape), dtype)
    path = _file(store, part, array)
    wanted = count * _row_bytes(array)
    if not path.is_file() or path.stat().st_size < wanted:
        raise EdgekitError(f"{path} is shorter than {INDEX} says ({wanted:,} bytes). Remove {store} and prepare again")
    return np.memmap(path, dtype, "c", shape=(count, *shape))


def _begin(store: Path, origin: str, lists_sha256: str) -> Index:
    fresh = Index(format_version=FORMAT_VERSION, origin=origin, lists_sha256=lists_sha256, finished=False, scans=())
    path = store / INDEX
    if not path.is_file():
        _check_empty(store, f"{store} holds other files and no {INDEX}. Give an empty folder: --store")
        write_bytes(path, canonical_json(to_plain(fresh)))  # before any row, so that a killed run can be continued
        return fresh
    try:
        index = decode(Index, parse_json(path.read_bytes()), INDEX)
    except DecodeError as error:
        raise EdgekitError(f"{path} is damaged: {error}. Remove {store} and prepare the scans again") from None
    if index.lists_sha256 != lists_sha256:
        raise EdgekitError(f"{store} was prepared from other lists of places. Remove it, or give another --store")
    # Skipped scans are tried again: their files may have been downloaded since.
    return replace(index, finished=False, scans=tuple(scan for scan in index.scans if not scan.skipped))


def _check_empty(store: Path, problem: str) -> None:
    """Raises EdgekitError with `problem` where a store cannot be begun; what a killed run left is no hindrance."""
    sweep(store)
    if store.is_dir() and any(store.iterdir()):
        raise EdgekitError(problem)


def _cut_off(store: Path, index: Index, part: str, array: str) -> None:
    """Shortens an array to the valid rows: an interrupted run may have left more."""
    path = _file(store, part, array)
    if path.is_file():
        with path.open("r+b") as file:
            file.truncate(index.rows(part, array) * _row_bytes(array))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _row_bytes(array: str) -> int:
    dtype, shape = ARRAYS[array]
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _file(store: Path, part: str, array: str) -> Path:
    return store / f"{part}-{array}.bin"


def cut_scan(job: ScanJob) -> Cut:
    """The rows of one scan, or why there are none."""
    uid, path, candidates = job
    try:
        return cut_volume(read_scan(path), candidates)
    except (InputError, MissingData) as error:
        return nothing(uid, str(error))
