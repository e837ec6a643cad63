"""What a kind of device is: what it can run, and how its app is written. Knows no particular one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class AppRequest:
    """What is asked of an app, whichever device it is for."""

    bundles: tuple[Bundle, ...]
    """One or more of one model, the first shown first; each opened, so that its checksums are good."""
    out: Path
    """Where the app will be once it is whole, for the commands that come next."""
    title: str
    """What the app is called on the device."""
    single_file: bool = False
    """One file instead of a folder, where the device can open one."""
    minimal: bool = False
    """Only the libraries that these bundles need, where the device links them."""
    webgpu: bool = False
    """The engine for WebGPU as well, where the device is a browser."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A kind of device."""

    name: str
    """As it is typed."""
    description: str
    """What it is and what has to be there, in a sentence."""
    formats: tuple[str, ...]
    """The model files that it runs, in the words of the manifest's `format`, the best one first."""
    exporters: tuple[str, ...]
    """What makes those, as `--exporter` of `optimize` names them."""
    refuses: Callable[[Manifest], str]
    """Why the app cannot take a bundle whose format it runs (its task, an input), and what to do; "" where it can."""
    write: Callable[[AppRequest, Path], list[str]]
    """Fills an empty folder with the app; returns the commands that the user types next, in which `{folder}`
    stands for where it will be. Raises EdgekitError."""
    options: frozenset[str] = frozenset()
    """Which of `AppRequest.single_file`, `minimal` and `webgpu` it knows."""
