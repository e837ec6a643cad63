"""LUNA16's lists: places in chest CTs that may be nodules, which of them are, and how the book splits them.

Chapters 13 and 14. Source: Setio et al., "Validation, comparison, and combination of algorithms for automatic
detection of pulmonary nodules", Medical Image Analysis 42 (2017). This module reads no scan; `luna_store.py` cuts them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.edge_runtime.files import read_plain

ANNOTATIONS, MALIGNANCY, CANDIDATES = "annotations.csv", "annotations_with_malignancy.csv", "candidates.csv"
VALIDATION_STRIDE = 10  # every tenth
_PLACE = ("seriesuid", "coordX", "coordY", "coordZ")
_DETAILS = ("mal_details", "bboxLowX", "bboxLowY", "bboxLowZ", "bboxHighX", "bboxHighY", "bboxHighZ", "len_mal_details")
Place = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A nodule that radiologists marked."""

    series_uid: str
    """Its scan."""
    center_mm: Place
    """(x, y, z) of its middle in the patient."""
    diameter_mm: float
    """Its diameter."""
    malignant: bool | None
    """None where the list does not say."""
    where: str
    """File and line, for messages."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A place that may be a nodule."""

    nodule: bool
    """Whether it is one."""
    malignant: bool
    """Whether it is a malignant one."""
    diameter_mm: float
    """0 where no annotation belongs to it."""
    series_uid: str
    """Its scan."""
    center_mm: Place
    """(x, y, z) in the patient."""
    where: str
    """File and line, for messages."""


def read_annotations(path: Path) -> list[Annotation]:
    """annotations.csv, or annotations_with_malignancy.csv; only the latter says what is malignant.

    Raises:
        MissingData: no such file.
        InputError: other columns, or a bad line; the message has its number.
    """
    with_malignancy = path.name == MALIGNANCY
    columns = (*_PLACE, "diameter_mm", *(("mal_bool", *_DETAILS) if with_malignancy else ()))
    annotations = []
    for where, fields in _rows(path, columns):
        x, y, z, diameter = _numbers(where, columns[1:5], fields[1:5])
        malignant = None
        if with_malignancy:
            if fields[5] not in ("True", "False"):
                raise InputError(f"{where}, column 'mal_bool': {fields[5][:40]!r} is neither True nor False")
            malignant = fields[5] == "True"
        annotations.append(
            Annotation(
                series_uid=fields[0], center_mm=(x, y, z), diameter_mm=diameter, malignant=malignant, where=where
            )
        )
    return annotations


def read_candidates(path: Path, *, series: Collection[str] | None = None) -> list[Candidate]:
    """candidates.csv in its order, each with diameter 0, which the list does not say.

    Args:
        series: read only the candidates of these.

    Raises:
        MissingData, InputError: as `read_annotations`.
    """
    columns, candidates = (*_PLACE, "class"), []
    for where, fields in _rows(path, columns):
        if series is not None and fields[0] not in series:
            continue
        x, y, z = _numbers(where, columns[1:4], fields[1:4])
        if fields[4] not in ("0", "1"):
            raise InputError(f"{where}, column 'class': {fields[4][:40]!r} is neither 0 nor 1")
        candidates.append(
            Candidate(
                nodule=fields[4] == "1",
                malignant=False,
                diameter_mm=0.0,
                series_uid=fields[0],
                center_mm=(x, y, z),
                where=where,
            )
        )
    return candidates


def with_malignancy(candidates: Iterable[Candidate], annotations: Iterable[Annotation]) -> list[Candidate]:
    """Chapter 13's and 14's list: the annotations as nodules, malignant and large ones first, then other candidates.

    Candidates that candidates.csv calls nodules are left out, since several of them may be one nodule.
    """
    nodules = [
        Candidate(
            nodule=True,
            malignant=bool(one.malignant),
            diameter_mm=one.diameter_mm,
            series_uid=one.series_uid,
            center_mm=one.center_mm,
            where=one.where,
        )
        for one in annotations
    ]
    merged = [*nodules, *(one for one in candidates if not one.nodule)]
    return sorted(merged, key=lambda c: (c.nodule, c.malignant, c.diameter_mm, c.series_uid, c.center_mm), reverse=True)


def split_series(series: Iterable[str]) -> tuple[list[str], list[str]]:
    """Chapters 13 and 14: (train, validation); validation is every tenth of the sorted series, from the first on."""
    ordered = sorted(set(series))
    return [uid for i, uid in enumerate(ordered) if i % VALIDATION_STRIDE], ordered[::VALIDATION_STRIDE]


def read_series(path: Path) -> list[str]:
    """seriesuids.csv, one series a line without a header; raises `MissingData` if there is no such file."""
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def scans(root: Path) -> dict[str, Path]:
    """The .mhd file of every series under `root`, which holds subset0 to subset9, unpacked from LUNA16's archives.

    Raises:
        MissingData: there is none.
    """
    paths = {path.stem: path for path in sorted(root.glob("subset*/*.mhd"))}
    if not paths:
        raise MissingData(
            f"there are no scans in {root}. It should hold subset0/*.mhd and so on, unpacked from LUNA16's archives, "
            f"with {CANDIDATES} and {MALIGNANCY} beside them. `{EDGEKIT} luna synthesize` makes synthetic scans"
        )
    return paths


def _text(path: Path) -> str:
    try:
        return read_plain(path).decode("utf-8")
    except FileNotFoundError:
        raise MissingData(
            f"{path} is not there. It comes with LUNA16; {MALIGNANCY} comes with the book's code"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: byte {error.start} is not UTF-8 text. Download it again") from None


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each line as (file and line number, its fields), after checking that the header names `columns`."""
    lines = csv.reader(_text(path).splitlines())
    head = next(lines, [])
    if [name.strip() for name in head] != list(columns):
        raise InputError(
            f"{path}, line 1 should name the columns {','.join(columns)}, found {','.join(head)[:200]!r}. "
            "Give the file as it was published"
        )
    for fields in lines:
        where = f"{path}, line {lines.line_num}"
        if len(fields) != len(columns):
            raise InputError(
                f"{where} should have {len(columns)} fields, found {len(fields)}: {','.join(fields)[:80]!r}"
            )
        yield where, fields


def _numbers(where: str, columns: Sequence[str], fields: Sequence[str]) -> list[float]:
    numbers = []
    for name, field in zip(columns, fields, strict=True):
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{where}, column {name!r}: {field[:40]!r} is not a number")
        numbers.append(value)
    return numbers
