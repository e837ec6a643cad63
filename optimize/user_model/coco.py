"""Pictures with boxes in COCO's format: one JSON file, and the pictures it names, as a detector's samples.

The file comes from somebody else: every number is checked, and what does not fit is refused with the entry's id. Boxes
are written in pixels of the model's input, so that what the model does not see is not held against it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing
from edgekit.edge_runtime.decode import DecodeError, parse_json
from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData, shown
from edgekit.edge_runtime.preprocess.image import load_seen, seen_area
from edgekit.edge_runtime.tasks.detection import COLUMNS, NOTHING

from .array_samples import Samples

ENDING = ".json"
SEEN = 0.5  # of a box's area: where the input shows less of it, it is neither to be found nor wrong to find
_MAX_BYTES = 8 << 30
_MAX_NAME, _MAX_NUMBER = 1024, 1 << 53


@dataclass(frozen=True, kw_only=True)
class Coco:
    """A COCO file that was read and found good."""

    path: Path
    """The file."""
    files: tuple[Path, ...]
    """The pictures, in its order."""
    sizes: tuple[tuple[int, int] | None, ...]
    """Of each picture, width and height as the file has them; None where it does not say."""
    categories: tuple[str, ...]
    """Names, by ascending id."""
    boxes: tuple[np.ndarray, ...]
    """(B, 6) float64 for each picture: place among the categories, 1 for a crowd, x, y, width, height."""
    without_extent: int
    """Boxes of no width or height, which were left out."""


def read_coco(path: Path, images: Path | None) -> Coco:
    """Reads and checks a file of annotations; pictures are looked for in `images`, else beside the file.

    Raises:
        MissingData: there is no such file, or pictures that it names are not there.
        InputError: it is not in COCO's format, or an entry is impossible: an unknown picture or category, a negative
            size, a box outside its picture.
    """
    data = _read(path)
    pictures, categories, annotations = (_entries(path, data, name) for name in ("images", "categories", "annotations"))
    place = _by_id(path, "images", pictures)
    names = _by_id(path, "categories", categories)
    label = {number: i for i, number in enumerate(sorted(names))}
    folder = images or path.parent
    files = tuple(_inside(path, folder, _text(path, "images", one, "file_name")) for one in pictures)
    if missing := [file for file in files if not file.is_file()]:
        more = f" and {len(missing) - 1:,} more of {len(files):,} pictures" if len(missing) > 1 else ""
        raise MissingData(
            f"{path} names {shown(missing[0])}{more}, which {'are' if more else 'is'} not there. Say "
            "where with --images DIR"
        )
    sizes = tuple(_size(path, one) for one in pictures)
    boxes: list[list[list[float]]] = [[] for _ in pictures]
    without = 0
    for one in annotations:
        where = f"{path}: annotation {shown(one.get('id', '?'), 40)}"
        picture, category = one.get("image_id"), one.get("category_id")
        if type(picture) is not int or picture not in place:
            raise InputError(f"{where} is of the picture {shown(picture, 40)}, which is not among the images")
        if type(category) is not int or category not in label:
            raise InputError(f"{where} has the category {shown(category, 40)}, which is not among the categories")
        box = _box(where, one.get("bbox"), sizes[place[picture]])
        if not (box[2] and box[3]):
            without += 1
            continue
        boxes[place[picture]].append([label[category], float(bool(one.get("iscrowd", 0))), *box])
    if not any(boxes):
        raise InputError(f"{path} has no boxes, so there is nothing to find. Give annotations with a bbox each")
    return Coco(
        path=path,
        files=files,
        sizes=sizes,
        categories=_names(path, names),
        boxes=tuple(np.array(rows, np.float64).reshape(-1, COLUMNS) for rows in boxes),
        without_extent=without,
    )


def _inside(path: Path, folder: Path, name: str) -> Path:
    """A picture in `folder` or below it: the pictures travel with the bundle, so a name leads to no others."""
    parts = PureWindowsPath(name).parts  # which knows both kinds of separators
    if PureWindowsPath(name).anchor or name.startswith("/") or ".." in parts or len(name) > _MAX_NAME or "\0" in name:
        raise InputError(
            f"{path} names the picture {shown(name, 120)!r}. Only pictures in {folder or '.'} are read: give their "
            "folder with --images DIR, and names within it"
        )
    return folder / name


def category_names(path: Path) -> tuple[str, ...]:
    """The categories of a COCO file, by ascending id. Raises as `read_coco`, but looks at no picture."""
    return _names(path, _by_id(path, "categories", _entries(path, _read(path), "categories")))


def coco_samples(coco: Coco, contract: ImagePreprocessing, labels: Sequence[str], *, name: str) -> Samples:
    """The pictures as raw pixels, and their boxes as `targets` (N, M, 6) float32 in pixels of the input.

    A box is cut to what the input shows. Where that is less than half of it, it counts as a crowd does; where it is
    nothing, it is left out.

    Args:
        labels: in the order of the model's scores; categories are matched by name.
    Raises:
        InputError: a category that is not among the labels, a picture that cannot be read or is of another size than
            the file says, a box outside its picture.
    """
    used = sorted({int(row[0]) for rows in coco.boxes for row in rows})
    strangers = [coco.categories[i] for i in used if coco.categories[i] not in labels]
    if strangers:
        raise InputError(
            f"{coco.path}: {len(strangers)} of its categories are not among the {len(labels):,} labels: "
            f"{', '.join(map(repr, strangers[:5]))}{', …' if len(strangers) > 5 else ''}. Give both the same names"
        )
    if twice := [coco.categories[i] for i in used if list(labels).count(coco.categories[i]) > 1]:
        raise InputError(
            f"{coco.path}: the category {twice[0]!r} is there twice among the labels. Give each its own name"
        )
    to_label = {i: labels.index(coco.categories[i]) for i in used}
    total = len(coco.files) * contract.height * contract.width * contract.channels
    if total > _MAX_BYTES:
        raise InputError(
            f"{len(coco.files):,} pictures take {total >> 30} GiB in memory; at most 8 are read. Give fewer"
        )
    pixels = np.empty((len(coco.files), contract.height, contract.width, contract.channels), np.uint8)
    targets, bad = [], list[str]()
    for i, (file, said, rows) in enumerate(zip(coco.files, coco.sizes, coco.boxes, strict=True)):
        try:
            (pixels[i],), size = load_seen(file, contract)
            _check_size(coco.path, file, said, size)
            targets.append(_in_input(coco.path, file, rows, size, contract, to_label))
        except EdgekitError as error:
            bad.append(str(error))
    if bad:
        more = f" And {len(bad) - 3} more." if len(bad) > 3 else ""
        raise InputError(f"{len(bad)} of {len(coco.files):,} pictures do not fit. {' '.join(bad[:3])}{more}")
    most = max(1, max(map(len, targets)))
    filled = np.zeros((len(targets), most, COLUMNS), np.float32)
    filled[:, :, 0] = NOTHING
    for one, rows in zip(filled, targets, strict=True):
        one[: len(rows)] = rows
    count = sum(len(rows) for rows in targets)
    words = f"{len(targets):,} pictures with {count:,} boxes"
    return Samples(arrays={name: pixels}, targets=filled, words=words, place=coco.path.name)


def _in_input(
    path: Path,
    file: Path,
    rows: np.ndarray,
    size: tuple[int, int],
    contract: ImagePreprocessing,
    to_label: Mapping[int, int],
) -> np.ndarray:
    """(B, 6) as in `Coco.boxes` to (B', 6) of targets."""
    found = []
    first, end = np.split(np.array(seen_area(size, contract)), 2)
    step = np.array([contract.width, contract.height]) / (end - first)
    for label, crowd, *box in rows.tolist():
        corner, extent = np.split(np.array(box), 2)
        inside = np.stack([corner.clip(0, size), (corner + extent).clip(0, size)])
        if not (inside[1] > inside[0]).all():
            raise InputError(
                f"{path}: a box at {box[0]:g}, {box[1]:g} lies outside {file.name}, which is {size[0]} x {size[1]}"
            )
        whole = (inside - first) * step
        seen = whole.clip(0, (contract.width, contract.height))
        share = float((seen[1] - seen[0]).prod() / (whole[1] - whole[0]).prod())
        if share > 0:
            found.append([to_label[int(label)], max(crowd, float(share < SEEN)), *seen.ravel().tolist()])
    return np.array(found, np.float64).reshape(-1, COLUMNS)


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise MissingData(
            f"cannot read {path}: {error.strerror}. Give a file of annotations in COCO's format"
        ) from None
    except DecodeError as error:
        raise InputError(f"{path}: {error}") from None


def _entries(path: Path, data: Any, name: str) -> list[dict[str, Any]]:
    entries = data.get(name) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InputError(
            f"{path} is not in COCO's format: it has no list of {name}. It is an object with images (id, file_name), "
            "categories (id, name) and annotations (image_id, category_id, bbox)"
        )
    if not entries and name != "annotations":
        raise InputError(f"{path} has no {name}. Give at least one")
    return entries


def _by_id(path: Path, name: str, entries: Sequence[dict[str, Any]]) -> dict[Any, Any]:
    """The place of each picture, or the entry of each category, by its id."""
    found: dict[Any, Any] = {}
    for i, one in enumerate(entries):
        number = one.get("id")
        if type(number) is not int:
            raise InputError(f"{path}: an entry of {name} has the id {shown(repr(number), 40)}. It is a whole number")
        if number in found:
            raise InputError(f"{path}: two entries of {name} have the id {number}. Give each one of its own")
        found[number] = i if name == "images" else one
    return found


def _names(path: Path, categories: Mapping[int, dict[str, Any]]) -> tuple[str, ...]:
    return tuple(_text(path, "categories", categories[number], "name") for number in sorted(categories))


def _text(path: Path, name: str, entry: Mapping[str, Any], key: str) -> str:
    if not isinstance(entry.get(key), str) or not entry[key]:
        raise InputError(f"{path}: the entry {shown(entry.get('id'), 40)} of {name} has no {key}")
    return str(entry[key])


def _size(path: Path, entry: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = entry.get("width"), entry.get("height")
    if sides == (None, None):
        return None
    if not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"{path}: the picture {entry['id']} is {shown(sides[0], 20)} x {shown(sides[1], 20)} pixels")
    return sides  # type: ignore[return-value]


def _box(where: str, box: Any, size: tuple[int, int] | None) -> list[float]:
    """x, y, width, height, where these are four numbers that can be a box of such a picture."""
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(type(side) is float or (type(side) is int and abs(side) < _MAX_NUMBER) for side in box)
    ):
        raise InputError(f"{where} has the bbox {shown(repr(box), 60)}. It is [x, y, width, height] in pixels")
    x, y, width, height = map(float, box)
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise InputError(f"{where} has a box of {width:g} x {height:g} pixels. Width and height are not negative")
    if size is not None and (x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0) and width and height:
        raise InputError(
            f"{where} has a box from {x:g}, {y:g} to {x + width:g}, {y + height:g}, outside its picture, which is "
            f"{size[0]} x {size[1]}. A bbox is [x, y, width, height] in pixels"
        )
    return [x, y, width, height]


def _check_size(path: Path, file: Path, said: tuple[int, int] | None, size: tuple[int, int]) -> None:
    if said is None or said == size:
        return
    turned = ". Turn the boxes as its EXIF orientation turns the picture" if said == size[::-1] else ""
    raise InputError(
        f"{path} says that {file.name} is {said[0]} x {said[1]} pixels, found {size[0]} x {size[1]}"
        + (turned or ". Boxes are in pixels of the picture itself")
    )
