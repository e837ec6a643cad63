"""A user's detector: which of its outputs are scores and boxes, and which boxes count. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from edgekit.edge_runtime.bundle.manifest import DETECTION, Suppression
from edgekit.edge_runtime.errors import UsageError

from ..heads import BOXES, HEADS
from .answering import words_of
from .module import FirstRun
from .request import SUPPRESSION, Request


def scores_first(ran: FirstRun) -> FirstRun:
    """The outputs of a detector, by the names that they have in a bundle: scores, boxes, then all others.

    Raises:
        UsageError: as `scores_and_boxes`.
    """
    chosen = scores_and_boxes(ran.answers)
    places = dict(zip(ran.answers, ran.places, strict=True))
    others = [name for name in ran.answers if name not in chosen]
    called = dict(zip(chosen, (HEADS[DETECTION][0], BOXES), strict=True))
    answers = {called.get(name, name): ran.answers[name] for name in (*chosen, *others)}
    return replace(ran, answers=answers, places=tuple(places[name] for name in (*chosen, *others)))


def scores_and_boxes(answers: Mapping[str, Tensor]) -> tuple[str, str]:
    """The names of the outputs of a detector that are scores (1, A, C) or (1, A), and boxes (1, A, 4).

    Raises:
        UsageError: there are none, or several and their names do not tell.
    """
    shapes = {name: tuple(one.shape) for name, one in answers.items() if one.is_floating_point()}
    boxes = [name for name, shape in shapes.items() if len(shape) == 3 and shape[0] == 1 and shape[2] == 4]
    pairs = [
        (scores, box)
        for box in boxes
        for scores, shape in shapes.items()
        if scores != box and shape[:2] == shapes[box][:2] and len(shape) in (2, 3)
    ]
    named = [pair for pair in pairs if pair == (HEADS[DETECTION][0], BOXES)] or pairs
    if len(named) == 1:
        return named[0]
    given = "; ".join(f"{name} {words_of(one)}" for name, one in answers.items())
    why = "which are which is not clear: call them so in a dict" if named else "they are not there: wrap the model"
    raise UsageError(
        "--task detection needs scores (1, A, C) of C labels for A places, and their boxes (1, A, 4) as left, top, "
        f"right and bottom in pixels of the input, before any suppression; the model gives {given}; {why}. See "
        "docs/OWN_MODEL.md"
    )


def suppression_of(request: Request, task: str) -> Suppression | None:
    """Which boxes of a detector count, as the user says.

    Raises:
        UsageError: a number that is out of range, or one for a model that finds no boxes.
    """
    given = {name: value for name in SUPPRESSION if (value := getattr(request, name)) is not None}
    options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
    if task != DETECTION:
        if given:
            raise UsageError(f"{options} are for --task detection; the task of this model is {task}")
        return None
    try:
        return Suppression(**given)
    except ValueError as error:
        raise UsageError(f"{options}: {error}") from None
