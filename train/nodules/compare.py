"""How far the findings in one scan by two sets of nets are the same: float and bundles, fp32 and int8. Reads folders
that `edgekit nodules` wrote, runs no net."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.decode import DecodeError, parse_json
from edgekit.edge_runtime.errors import InputError, MissingData, UsageError
from edgekit.train.nodules.report import JSON_FILE, MASK_FILE

HIGHEST = 10  # findings that are to be the same
NEAR_MM = 5.0  # two centres no farther apart are of one finding: a third of the smallest crop's side


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs from the reference. `flagged_differ` counts voxels that only one of the two flags, `flagged_share`
    is that over the reference's flagged ones. A finding is the same where centres are at most 5 mm apart, each matched
    once, the nearest first. `highest_in_order` says that the highest findings also have the same order."""

    flagged_voxels: int
    flagged_differ: int
    flagged_share: float
    dice: float
    groups: int
    groups_reference: int
    findings: int
    findings_reference: int
    findings_common: int
    highest: int
    highest_common: int
    highest_in_order: bool
    largest_probability_change: float

    @property
    def text(self) -> str:
        """In words, for the terminal."""
        order = "in the same order" if self.highest_in_order else "in another order"
        same = f"the same {self.highest} highest findings, {order}" if self.highest_common == self.highest else (
            f"{self.highest_common} of the {self.highest} highest findings are the same"
        )  # fmt: skip
        return (
            f"{self.flagged_differ:,} flagged voxels differ ({self.flagged_share:.2%}); {self.groups:,} groups for "
            f"{self.groups_reference:,}; {self.findings} findings for {self.findings_reference}, "
            f"{self.findings_common} of them the same; {same}"
        )


@dataclass(frozen=True, kw_only=True)
class Written:
    """A folder of `edgekit nodules`: nodules.json, and the mask (D, H, W) bool."""

    answer: Mapping[str, Any]
    mask: np.ndarray


def read_written(folder: Path) -> Written:
    """The results in `folder`.

    Raises:
        MissingData: nodules.json or the mask is not there. InputError: one of them is damaged.
    """
    for name in (JSON_FILE, MASK_FILE):
        if not (folder / name).is_file():
            raise MissingData(
                f"{folder} has no {name}, so nothing can be compared with it. Give the folder of a run of "
                "`edgekit nodules`, or make it again"
            )
    try:
        answer = parse_json((folder / JSON_FILE).read_bytes())
        with np.load(folder / MASK_FILE) as file:
            shape = tuple(int(side) for side in file["shape"])
            mask = np.unpackbits(file["bits"], count=int(np.prod(shape))).astype(bool).reshape(shape)
        if not isinstance(answer, dict) or "series_uid" not in answer["provenance"]:
            raise KeyError("provenance")
    except (DecodeError, OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"the results in {folder} are damaged ({error}). Make them again: edgekit nodules") from None
    return Written(answer=answer, mask=mask)


def compare(results: Written, reference: Written) -> Comparison:
    """What `found` has otherwise than `reference`.

    Raises:
        UsageError: they are of two scans.
    """
    ours, theirs = results.answer["provenance"], reference.answer["provenance"]
    check_series(ours["series_uid"], reference)
    here, there = results.answer["findings"], reference.answer["findings"]
    pairs = _pairs(here, there)
    changes = [abs(here[i]["nodule"] - there[k]["nodule"]) for i, k in pairs.items()]
    highest = min(HIGHEST, max(len(here), len(there)))
    common = {i: k for i, k in pairs.items() if i < highest and k < highest}
    flagged, expected = int(results.mask.sum()), int(reference.mask.sum())
    differ = int(np.count_nonzero(results.mask ^ reference.mask))
    return Comparison(
        flagged_voxels=flagged,
        flagged_differ=differ,
        flagged_share=round(differ / max(1, expected), 6),
        dice=round(1 - differ / max(1, flagged + expected), 6),
        groups=ours["groups"],
        groups_reference=theirs["groups"],
        findings=len(here),
        findings_reference=len(there),
        findings_common=len(pairs),
        highest=highest,
        highest_common=len(common),
        highest_in_order=len(common) == highest and all(i == k for i, k in common.items()),
        largest_probability_change=round(max(changes, default=0.0), 6),
    )


def check_series(series_uid: str, reference: Written) -> None:
    """Raises UsageError unless `reference` is of the scan `series_uid`."""
    other = reference.answer["provenance"]["series_uid"]
    if other != series_uid:
        raise UsageError(f"series {series_uid} cannot be compared with results of {other}: give those of the same scan")


def _pairs(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Which finding of `there` each of `here` is, by rank from 0; the nearest pairs first, each finding once."""
    if not here or not there:
        return {}
    ours, theirs = (np.array([finding["center_mm"] for finding in of], np.float64) for of in (here, there))
    apart = np.linalg.norm(ours[:, np.newaxis] - theirs, axis=2)
    matched: dict[int, int] = {}
    for place in np.argsort(apart, axis=None, kind="stable"):
        i, k = (int(index) for index in np.unravel_index(place, apart.shape))
        if apart[i, k] > NEAR_MM:
            break
        if i not in matched and k not in matched.values():
            matched[i] = k
    return matched
