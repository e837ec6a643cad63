"""For which kinds of devices a model can be made: what they run, and whether this machine's figures are theirs."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from ..errors import unknown


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of device that bundles are made for."""

    name: str
    """As it is typed."""
    exporters: tuple[str, ...]
    """What makes files that it runs, the best first; () for all that are made by default."""
    engines: tuple[str, ...]
    """The packages that run them there; () for all."""
    machines: tuple[str, ...] = ()
    """The processors of this machine, as `platform.machine()` says them, whose figures say something of the device."""


_EXECUTORCH, _ONNX = "executorch_xnnpack", "onnx"
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(name="android", exporters=(_EXECUTORCH,), engines=("executorch",)),
        Target(name="ios", exporters=(_EXECUTORCH,), engines=("executorch",)),
        Target(
            name="linux-arm64",
            exporters=(_EXECUTORCH, _ONNX),
            engines=("executorch", "onnxruntime"),
            machines=("aarch64", "arm64"),
        ),
        Target(
            name="linux-x86",
            exporters=(_EXECUTORCH, _ONNX),
            engines=("executorch", "onnxruntime"),
            machines=("x86_64", "amd64"),
        ),
        Target(name="server", exporters=(), engines=(), machines=("x86_64", "amd64", "aarch64", "arm64")),
        Target(name="web", exporters=(_ONNX,), engines=("onnxruntime",)),
    )
}


def target(name: str) -> Target:
    """The target of this name. Raises UsageError, which lists the known ones."""
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name]


def whose_figures(name: str) -> str:
    """Which of a measurement's figures are the target's own, in a sentence."""
    kind = target(name)
    machine = f"{platform.system()} on {platform.machine()}"
    same = "Size, accuracy and answers are the file's own"
    if sys.platform == "linux" and platform.machine().lower() in kind.machines:
        return f"{same}; latency, memory and starts are of this machine, which is of the kind that {name} means."
    return f"{same}; latency, memory and starts are of this machine ({machine}) and not of {name}: measure there."
