"""A user's pictures as raw pixels: folders, one folder a class, or a CSV of files; and the labels file.

Pictures are read as the bundle will read them on a device. This module knows no model; what does not fit is refused
with the file's name.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing
from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData
from edgekit.edge_runtime.files import read_plain
from edgekit.edge_runtime.preprocess.image import load_image
from edgekit.train.data import ranked

from .array_samples import ARRAYS, Samples

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MAX_BYTES = 8 << 30


def holds_pictures(path: Path) -> bool:
    """Whether a folder, a CSV of files and labels, or a COCO file is of pictures; raises when nothing is there."""
    if not path.exists():
        raise MissingData(f"there is nothing at {path}. Give a folder of pictures, or a file of arrays")
    if path.is_file():
        return path.suffix.lower() in (".csv", ".json")
    if not path.is_dir():  # a device or a pipe, which would be read without end or waited for
        raise InputError(
            f"{path} is neither a folder nor a regular file. Give a folder of pictures, or a file of arrays"
        )
    if find_pictures(path):
        return True
    if any(file.suffix.lower() in ARRAYS for file in path.iterdir()):
        return False
    raise InputError(f"{path} holds neither pictures ({', '.join(PICTURES)}) nor arrays ({', '.join(ARRAYS)})")


def find_pictures(folder: Path) -> list[Path]:
    """Every picture below `folder`, by its ending, in alphabetical order; hidden files are no samples."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    return [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def calibration_pictures(path: Path, contract: ImagePreprocessing, *, name: str, most: int) -> Samples:
    """At most `most` pictures below a folder (or in a CSV), always the same ones of the same folder.

    Raises:
        InputError: none are there, or one cannot be read.
    """
    files = [file for file, _ in _listed(path)] if path.is_file() else find_pictures(path)
    if not files:
        raise InputError(f"{path} holds no pictures. Calibration takes about a hundred that look like those to come")
    chosen = [files[i] for i in sorted(ranked(range(len(files)), seed=1)[:most])]
    words = f"{len(chosen):,} of {len(files):,} pictures" if len(chosen) < len(files) else f"{len(files):,} pictures"
    return Samples(arrays={name: read_pictures(chosen, contract)}, words=words, place=path.name)


def labelled_pictures(
    path: Path, contract: ImagePreprocessing, *, name: str, labels: Sequence[str], task: str
) -> Samples:
    """All pictures of a folder with one folder a class, or of a CSV of file,label; classes are matched by name.

    For the task "regression" a CSV holds numbers in place of the label: file,number,number,….

    Raises:
        InputError: a class that is not among `labels`, a picture that cannot be read, no pictures, no numbers.
    """
    listed = _listed(path) if path.is_file() else _by_folder(path)
    if task == "regression":
        targets = np.array([_numbers(path, row) for _, row in listed], dtype=np.float32)
    else:
        places = {label: i for i, label in enumerate(labels)}
        strangers = sorted({row[0] for _, row in listed} - places.keys())
        if strangers:
            some = ", ".join(map(repr, strangers[:5])) + (", …" if len(strangers) > 5 else "")
            raise InputError(
                f"{path}: {len(strangers)} of its classes are not among the {len(labels):,} labels: {some}. The labels "
                f"are {', '.join(map(repr, labels[:5]))}{', …' if len(labels) > 5 else ''}. Give both the same names"
            )
        # ImageNet has two classes called "crane", so only those that are looked up here have to be unique.
        counts = Counter(labels)
        if twice := sorted({row[0] for _, row in listed if counts[row[0]] > 1}):
            raise InputError(f"{path}: {len(twice)} classes, like {twice[0]!r}, are there twice among the labels")
        targets = np.array([places[row[0]] for _, row in listed], dtype=np.int64)
    pictures = read_pictures([file for file, _ in listed], contract)
    words = f"{len(listed):,} labelled pictures"
    return Samples(arrays={name: pictures}, targets=targets, words=words, place=path.name)


def class_folders(path: Path) -> tuple[str, ...]:
    """The classes of a folder with one folder a class, or of a CSV, in alphabetical order."""
    listed = _listed(path) if path.is_file() else _by_folder(path)
    return tuple(sorted({row[0] for _, row in listed}))


def csv_of_numbers(path: Path, count: int) -> bool:
    """Whether it is a CSV with `count` numbers for each file that are no class indices: fractions, or one output's."""
    if not path.is_file():
        return False
    cells = [cell for _, row in _listed(path) for cell in row]
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return False
    return all(len(row) == count for _, row in _listed(path)) and (
        count == 1 or any(number != int(number) for number in numbers) or len(_listed(path)[0][1]) > 1
    )


def read_pictures(files: Sequence[Path], contract: ImagePreprocessing) -> np.ndarray:
    """(N, height, width, channels) uint8, each picture as `preprocess.load_image` gives it to a device.

    Raises:
        InputError: some cannot be read; the first of them are named. Or there are too many to hold in memory.
    """
    total = len(files) * contract.height * contract.width * contract.channels
    if total > _MAX_BYTES:
        raise InputError(f"{len(files):,} pictures take {total >> 30} GiB in memory; at most 8 are read. Give fewer")
    found = np.empty((len(files), contract.height, contract.width, contract.channels), np.uint8)
    bad: list[str] = []
    for i, file in enumerate(files):
        try:
            found[i] = load_image(file, contract)[0]
        except EdgekitError as error:
            bad.append(str(error))
    if bad:
        more = f" And {len(bad) - 3} more." if len(bad) > 3 else ""
        raise InputError(f"{len(bad)} of {len(files):,} pictures cannot be read. {' '.join(bad[:3])}{more}")
    return found


def read_labels(path: Path) -> tuple[str, ...]:
    """A labels file, one a line in the order of the model's outputs; empty lines at the end do not count.

    Raises:
        MissingData: no such file.
        InputError: no labels, or an empty line among them.
    """
    if not path.is_file():
        raise MissingData(f"there is no labels file at {path}. It holds one label a line, in the order of the outputs")
    try:
        lines = path.read_text("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8. It is to hold one label a line") from None
    labels = tuple(line.strip() for line in lines)
    if not labels or "" in labels:
        raise InputError(f"{path}: line {labels.index('') + 1 if labels else 1} is empty. One label a line, none empty")
    return labels


def _by_folder(path: Path) -> list[tuple[Path, list[str]]]:
    files = find_pictures(path)
    loose = [file for file in files if file.parent == path]
    if not files or loose:
        found = f"found {loose[0].name} directly in it" if loose else "found no pictures"
        raise InputError(f"{path} should hold one folder a class, with its pictures inside; {found}. Or give a CSV")
    return [(file, [file.relative_to(path).parts[0]]) for file in files]


def _listed(path: Path) -> list[tuple[Path, list[str]]]:
    """Rows of a CSV: file (from the CSV's own folder), then label or numbers; a first line without a file is a head."""
    try:
        text = read_plain(path).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}. Each line is file,label") from None
    if rows and not (path.parent / rows[0][0]).exists():
        rows = rows[1:]
    if not rows or any(len(row) < 2 for row in rows):
        raise InputError(f"{path} should have lines of file,label. Found {len(rows)} lines with a file")
    return [(path.parent / row[0], [cell.strip() for cell in row[1:]]) for row in rows]


def _numbers(path: Path, cells: Sequence[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        raise InputError(f"{path}: {cells[0]!r} is no number. A regression's lines are file,number,…") from None
