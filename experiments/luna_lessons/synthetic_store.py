"""A store of SYNTHETIC scans that are never written to disk: each scan is made in memory, cut, and forgotten.

The rows are those of `edgekit luna synthesize` followed by `edgekit luna prepare`, but this needs neither SimpleITK nor
disk for the scans.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.train.data.dicom import Volume
from edgekit.train.data.luna import Annotation, Candidate, with_malignancy
from edgekit.train.data.luna_store import Index, fill
from edgekit.train.data.scan_rows import Cut, ScanEntry, cut_volume
from edgekit.train.data.synthetic_ct import MARK, SPACING_MM, make_scan, uid_of


def make_store(
    store: Path,
    count: int,
    *,
    seed: int = 1,
    slices: int = 120,
    side: int = 256,
    others: int = 60,
    jobs: int = 1,
    on_scan: Callable[[ScanEntry, int], None] | None = None,
) -> Index:
    """Makes and cuts `count` scans, except those that `store` has already.

    Args:
        seed, slices, side, others: as for `make_scan`.
        jobs: processes that make scans at the same time; the rows do not depend on it.
        on_scan: called with each scan's entry and the number of scans.

    Raises:
        UsageError: scans that are too small.
        EdgekitError: `store` holds other scans.
    """
    make = partial(make_scan, seed=seed, slices=slices, side=side, others=others)
    settings = f"{count} {MARK} scans: {make.keywords}"
    scans = {uid: (uid, number) for number in range(count) for uid in [uid_of(number, seed)]}
    return fill(
        store, f"{MARK} scans, which show no patient", settings, scans, partial(_cut, make), jobs=jobs, on_scan=on_scan
    )


def _cut(make: Callable, job: tuple[str, int]) -> Cut:
    uid, number = job
    scan = make(number)
    volume = Volume(
        hu=scan.hu,
        spacing_mm=SPACING_MM,
        origin_mm=scan.origin_mm,
        orientation=np.eye(3)[::-1].copy(),  # slices go along z, rows along y, columns along x
        series_uid=uid,
    )
    where = f"scan {uid}"
    nodules = [
        Annotation(
            series_uid=uid,
            center_mm=nodule.center_mm,
            diameter_mm=nodule.diameter_mm,
            malignant=nodule.malignant,
            where=where,
        )
        for nodule in scan.nodules
    ]
    others = [
        Candidate(nodule=False, malignant=False, diameter_mm=0.0, series_uid=uid, center_mm=place, where=where)
        for place in scan.others_mm
    ]
    return cut_volume(volume, with_malignancy(others, nodules))
