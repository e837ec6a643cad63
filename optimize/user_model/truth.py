"""Pictures with what is true of them: a class for each, numbers, or boxes. Knows files; runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from edgekit.edge_runtime.bundle.manifest import DETECTION, ImagePreprocessing
from edgekit.edge_runtime.errors import InputError, UsageError

from .array_samples import Samples
from .coco import ENDING, category_names, coco_samples, read_coco
from .matching import Notes
from .picture_samples import class_folders, csv_of_numbers, labelled_pictures
from .request import Request
from .source import Source


def truth_of_pictures(
    path: Path, picture: ImagePreprocessing, first: Tensor, source: Source, request: Request, notes: Notes
) -> Samples:
    """Pictures with their truth: numbers of a CSV where the task has some, boxes of a COCO file, else the index of each
    one's class.

    Raises:
        UsageError: a file of boxes for another task, or none for a detector.
        InputError, MissingData: as the readers of each.
    """
    of_boxes = path.suffix.lower() == ENDING
    if request.task not in ("", DETECTION) if of_boxes else request.task == DETECTION or request.images is not None:
        raise UsageError(
            f"boxes come from a file in COCO's format, {ENDING}, with --task {DETECTION}; found {path.name}"
            + (f" with --task {request.task}" if request.task else "")
        )
    if of_boxes:
        return _boxes_of_pictures(path, picture, first, source, request, notes)
    asked, count = request.task, first.shape[-1] if first.ndim == 2 else 1 if first.ndim == 1 else 0
    if asked in ("regression", "multi_label") or (not asked and count and csv_of_numbers(path, count)):
        return labelled_pictures(path, picture, name="image", labels=(), task="regression")
    classes = class_folders(path)
    if request.labels or len(source.labels) == count:
        labels: Sequence[str] = request.labels or source.labels
    elif (count == 1 and len(classes) == 2) or count == len(classes):
        labels = classes
    else:
        raise InputError(
            f"{path} has {len(classes):,} classes and the model gives {list(first.shape[1:])} numbers. "
            "Give the labels in the order of the outputs: --labels FILE"
        )
    return labelled_pictures(path, picture, name="image", labels=labels, task="classification")


def classes_of(path: Path) -> tuple[str, ...]:
    """The names that a folder, a CSV or a COCO file gives."""
    return category_names(path) if path.suffix.lower() == ENDING else class_folders(path)


def _boxes_of_pictures(
    path: Path, picture: ImagePreprocessing, first: Tensor, source: Source, request: Request, notes: Notes
) -> Samples:
    """Pictures with their boxes, from a file in COCO's format."""
    coco = read_coco(path, None if request.images is None else Path(request.images))
    count = first.shape[2] if first.ndim == 3 else 1
    if coco.without_extent:
        notes.add(f"{coco.without_extent:,} boxes of {path.name} have no width or no height, and were left out")
    if request.labels or len(source.labels) == count:
        labels: Sequence[str] = request.labels or source.labels
    elif len(coco.categories) == count:
        labels = coco.categories
    else:
        raise InputError(
            f"{path} has {len(coco.categories):,} categories and the model gives scores of {count:,} labels. "
            "Give the labels in the order of the scores: --labels FILE"
        )
    return coco_samples(coco, picture, labels, name="image")
