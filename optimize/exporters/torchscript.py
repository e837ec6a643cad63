"""TorchScript, traced and scripted (book, chapter 15). Upstream calls it deprecated; many apps still load it.

Tracing records what one example did; scripting compiles what the code says. Both are frozen: evaluation mode and
weights become constants, batch norm is folded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.recipes import Recipe

from ..steps import begin
from .exporter import Exporter, Stage
from .trace_check import check_trace, warn_again

Capture = Callable[[DeployModel], torch.jit.ScriptModule]


def trace(model: DeployModel) -> torch.jit.ScriptModule:
    """Records the operations on one real sample, and holds the record to the module at other sizes.

    Warns (TracerWarning) of lines where a tensor became a Python value: a branch on values may be lost all the same.

    Raises:
        ExportError: a branch, loop or size of the code is lost in the record.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", torch.jit.TracerWarning)
        traced = torch.jit.trace(model.module, model.example)
    check_trace(model, traced, warned)
    warn_again(warned)
    return traced


def script(model: DeployModel) -> torch.jit.ScriptModule:
    """Compiles the module's code, control flow included."""
    return torch.jit.script(model.module)


def _exporter(name: str, summary: str, capture: Capture) -> Exporter:
    def export(model: DeployModel, recipe: Recipe, path: Path) -> Iterator[Stage]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the deprecation that the module's first line states
            begin("recording TorchScript")
            captured = capture(model)
            yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))
            frozen = torch.jit.freeze(captured.eval())
            frozen.save(str(path))
            reloaded = torch.jit.load(str(path))
        yield Stage(kind="lower", run=lambda arrays: run_module(model, reloaded, arrays))

    return Exporter(
        name=name,
        format="torchscript",
        suffix=".ts",
        summary=summary,
        recipes=("fp32",),
        tools=("torch",),
        export=export,
    )


TRACED = _exporter("torchscript_traced", "TorchScript by tracing one sample", trace)
SCRIPTED = _exporter("torchscript_scripted", "TorchScript by compiling the code", script)
