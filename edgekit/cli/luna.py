"""`edgekit luna synthesize`, `prepare` and `samples`: scans for chapters 10 to 14, made up or cut into a store.

Progress goes to standard error, the answer to standard output.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from edgekit.cli.json_answer import print_json
from edgekit.edge_runtime.command_line import EDGEKIT, command_line
from edgekit.edge_runtime.files import check_output
from edgekit.train.data import lidc, luna_store, synthetic_ct
from edgekit.train.data.scan_rows import ScanEntry
from edgekit.train.data.synthetic_ct import SyntheticScan


def synthesize(root: Path, *, count: int, seed: int = 1, slices: int = 120, side: int = 256, others: int = 60) -> None:
    """Writes synthetic scans under `root` and says what they hold; raises as `write_scans`."""
    made: list[SyntheticScan] = []

    def note(scan: SyntheticScan) -> None:
        made.append(scan)
        _print_progress(len(made), count, f"{scan.uid}: {len(scan.nodules)} nodules")

    synthetic_ct.write_scans(root, count, seed=seed, slices=slices, side=side, others=others, on_scan=note)
    nodules = [nodule for scan in made for nodule in scan.nodules]
    print(
        f"{count} {synthetic_ct.MARK} scans in {root}: {len(nodules)} nodules, {sum(n.malignant for n in nodules)} of "
        f"them malignant, and {sum(len(scan.others_mm) for scan in made):,} other candidates. They show no patient\n"
        f"next:    {command_line('luna', 'prepare', root)}"
    )


def prepare(
    root: Path, *, store: Path | None = None, jobs: int = 1, ray: str | None = None, as_json: bool = False
) -> bool:
    """Cuts the scans under `root` into a store; returns whether all of them could be read.

    Raises as `luna_store.prepare`.
    """
    place = store or luna_store.default_store()
    check_output(place, [root])
    done: list[ScanEntry] = []
    began = time.perf_counter()

    def note(entry: ScanEntry, scans: int) -> None:
        done.append(entry)
        what = f"skipped: {entry.skipped}" if entry.skipped else f"{entry.crops} crops, {entry.segments} nodules"
        _print_progress(len(done), scans, f"{entry.uid}: {what}", always=bool(entry.skipped))

    def note_retry(uid: str, why: str) -> None:
        print(f"{uid}: its worker was lost; trying again: {why}", file=sys.stderr, flush=True)

    index = luna_store.prepare(root, place, jobs=jobs, ray=ray, on_scan=note, on_retry=note_retry)
    mebibytes = sum(path.stat().st_size for path in place.iterdir()) / 2**20
    parts = {part: index.rows(part, "crop") for part in (luna_store.TRAIN, luna_store.VALIDATION)}
    if as_json:
        skipped = {entry.uid: entry.skipped for entry in index.skipped}
        answer = {"store": str(place), "origin": index.origin, "crops": parts, "skipped": skipped}
        print_json(answer, sort_keys=True)
        return not skipped
    seconds = time.perf_counter() - began
    print(
        f"{index.origin}: {len(index.scans)} scans, {len(done)} of them cut now, in {seconds:.1f} s; "
        f"{parts['train']:,} crops to train on, {parts['validation']:,} to validate on, {mebibytes:,.0f} MiB in {place}"
    )
    for entry in index.skipped:
        print(f"skipped: {entry.uid}: {entry.skipped}", file=sys.stderr)
    print(f"next:    {EDGEKIT} train luna_classifier")
    return not index.skipped


def samples(*, store: Path | None = None) -> None:
    """Puts the few real crops of the data folder into a store: enough to verify artifacts, too few to train on.

    Raises:
        MissingData: they are not there. EdgekitError: there is a store already.
    """
    place = store or luna_store.default_store()
    crops, slices = lidc.crops(), lidc.slices()
    parts = {}
    for part, of_crops, of_slices in (
        (luna_store.TRAIN, crops.calibration, slices.calibration),
        (luna_store.VALIDATION, crops.validation, slices.validation),
    ):
        parts[part] = {
            "crop": of_crops.inputs,
            "label": of_crops.targets if of_crops.kinds is None else of_crops.kinds,
            "diameter_mm": np.zeros(len(of_crops)),  # unknown for some of them
            "segment": of_slices.inputs,
            "mask": of_slices.targets,
        }
    index = luna_store.write_rows(place, crops.origin, parts)
    counts = {part: index.rows(part, "crop") for part in parts}
    print(
        f"{crops.origin}: {counts['train']} crops to calibrate on, {counts['validation']} to validate on, in {place}\n"
        f"next:    {EDGEKIT} optimize luna_classifier --weights FILE"
    )


def _print_progress(number: int, total: int, what: str, *, always: bool = False) -> None:
    if always or number in (1, total) or number % max(1, total // 20) == 0:
        print(f"{number}/{total} {what}", file=sys.stderr, flush=True)
