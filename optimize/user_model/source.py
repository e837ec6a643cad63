"""The `Source` record: a module with its weights, and what it says of itself. Knows no samples, recipes or bundles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How a library's own model wants its pictures: sides in pixels, mean and std on the scale 0..1."""

    height: int
    width: int
    resize_to: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A module with its weights. `taken` and `labels` are what the source says of itself, if it does.

    `weights` says in words where they come from, `licence` under which they are given; `notes` is what the user should
    hear. `file` is the user's own file.
    """

    what: str
    name: str
    module: nn.Module
    taken: Taken | None = None
    labels: tuple[str, ...] = ()
    weights: str
    licence: str | None = None
    notes: tuple[str, ...] = ()
    file: Path | None = None


def plain_name(text: str) -> str:
    """The text as a bundle's name may be: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:60] or "model"
