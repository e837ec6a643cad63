"""Compares the findings of two sets of nets in one scan: float weights and bundles, fp32 and int8.

Reads folders that `edgekit nodules` wrote; runs no net.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.array_file import read_array_file
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.decode import DecodeError, parse_json
from edgekit.edge_runtime.errors import InputError, MissingData, UsageError, shown
from edgekit.edge_runtime.files import read_plain
from edgekit.edge_runtime.format import percent_text
from edgekit.train.nodules.report import JSON_FILE, MASK_FILE

HIGHEST = 10  # findings that should be the same
NEAR_MM = 5.0  # centres at most this far apart are one finding; a third of the smallest crop's side


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs from the reference.

    Two findings are the same if their centres are at most 5 mm apart; each is matched once, the nearest pairs first.
    """

    flagged_voxels: int
    """How many voxels are flagged here."""
    flagged_differ: int
    """How many only one of the two flags."""
    flagged_share: float
    """These, over the voxels that the reference flags."""
    dice: float
    """Of the two masks."""
    groups: int
    """Groups of flagged voxels here."""
    groups_reference: int
    """Groups in the reference."""
    findings: int
    """Findings here."""
    findings_reference: int
    """Findings in the reference."""
    findings_common: int
    """Findings that are the same."""
    highest: int
    """How many of the most probable findings are compared; at most `HIGHEST`."""
    highest_common: int
    """How many of these are the same."""
    highest_in_order: bool
    """Whether all of these are the same and have the same order."""
    largest_probability_change: float
    """Of P(nodule), over the findings that are the same."""

    @property
    def text(self) -> str:
        """In words, for the terminal."""
        order = "in the same order" if self.highest_in_order else "in another order"
        same = f"the same {self.highest} most probable findings, {order}" if self.highest_common == self.highest else (
            f"{self.highest_common} of the {self.highest} most probable findings are the same"
        )  # fmt: skip
        return (
            f"{self.flagged_differ:,} flagged voxels differ ({percent_text(self.flagged_share, 2)}); "
            f"{self.groups:,} groups instead of {self.groups_reference:,}; "
            f"{self.findings} findings instead of {self.findings_reference}, "
            f"{self.findings_common} of them the same; {same}"
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """What `edgekit nodules` left in a folder."""

    answer: Mapping[str, Any]
    """nodules.json."""
    mask: np.ndarray
    """(D, H, W) bool: the flagged voxels."""


def read_results(folder: Path) -> Results:
    """The results in `folder`.

    Raises:
        MissingData: nodules.json or the mask is missing. InputError: one of them is damaged.
    """
    for name in (JSON_FILE, MASK_FILE):
        if not (folder / name).is_file():
            raise MissingData(
                f"{folder} has no {name}, so nothing can be compared with it. Give a folder written by "
                f"`{EDGEKIT} nodules`"
            )
    try:
        answer = parse_json(read_plain(folder / JSON_FILE))
        held = read_array_file(folder / MASK_FILE)
        if not isinstance(held, dict):
            raise KeyError("shape")
        shape = tuple(int(side) for side in held["shape"])
        if not 0 <= math.prod(shape) <= 8 * held["bits"].size:  # unpackbits would fill up with zeros
            raise ValueError("the mask is cut short")
        mask = np.unpackbits(held["bits"], count=math.prod(shape)).astype(bool).reshape(shape)
        if not isinstance(answer, dict) or "series_uid" not in answer["provenance"]:
            raise KeyError("provenance")
    except (DecodeError, InputError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the results in {folder} are damaged ({shown(error)}). Make them again: {EDGEKIT} nodules"
        ) from None
    return Results(answer=answer, mask=mask)


def compare(results: Results, reference: Results) -> Comparison:
    """How `results` differ from `reference`.

    Raises:
        UsageError: they are of different scans.
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


def check_series(series_uid: str, reference: Results) -> None:
    """Raises UsageError unless `reference` is of the scan `series_uid`."""
    other = reference.answer["provenance"]["series_uid"]
    if other != series_uid:
        raise UsageError(
            f"series {series_uid} cannot be compared with results of {other}: give results of the same scan"
        )


def _pairs(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Which finding of `there` each one of `here` is, by rank from 0; the nearest pairs first, each finding once."""
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
