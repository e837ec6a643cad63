"""The `Exporter` record and the `Stage`s an exporter yields. The exporters themselves are one file each beside this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.edge_runtime.arrays import Arrays
from edgekit.optimize.deploy import DeployModel
from edgekit.optimize.recipes import Recipe

StageKind = Literal["capture", "rewrite", "quantize", "lower"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The program as it is after one step, ready to be run on real samples (N, …) and compared with the step before.

    `notes` are facts worth keeping in the manifest, such as the operators that stayed outside a delegate.
    """

    kind: StageKind
    run: Callable[[Arrays], Arrays]
    notes: dict[str, str] = field(default_factory=dict)


# Yields each stage as it is reached and leaves the finished model file at the path.
Export = Callable[[DeployModel, Recipe, Path], Iterator[Stage]]


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """Turns a module into a model file of one `format`, which names the engine that runs it.

    `export` yields a `Stage` after each step, so that the caller can stop at the first one that is wrong.
    `recipes` are those it can carry out. One that is not `by_default` is used only where it is asked for by name.
    `tools` are the packages whose versions the result depends on. Where not `runs_here`, no engine of edgekit has what
    the file needs: its bundle is never loaded and its status is `not_run`.
    """

    name: str
    format: str
    suffix: str
    summary: str
    recipes: tuple[str, ...]
    tools: tuple[str, ...]
    export: Export
    by_default: bool = True
    runs_here: bool = True
