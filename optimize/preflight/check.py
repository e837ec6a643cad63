"""`edgekit doctor MODEL`: before any training, what each engine does with every operator of a model.

Nothing here is a list of what should work: the model is captured, lowered and run with its initial weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import ExportError
from edgekit.train.registry import book_model

from ..capture import capture
from ..deploy import DeployModel, loaded_module
from ..exporters import EXPORTERS
from ..exporters.errors import exported
from ..recipes import RECIPES
from ..temporary_files import collected
from ..user_model.array_samples import noise
from ..user_model.model import own_model
from ..user_model.request import Request
from ..user_model.sources import is_registered, open_source
from .on_executorch import examine as examine_executorch
from .on_onnx import examine as examine_onnx
from .places import EngineFindings

ENGINES = ("onnx", "executorch_xnnpack", "executorch_portable", "torchscript_traced", "torchscript_scripted")


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What was found of one model; `notes` is what the user should hear of how it was taken."""

    model: str
    engines: tuple[EngineFindings, ...]
    notes: tuple[str, ...] = ()

    @property
    def runs_everywhere(self) -> bool:
        """Whether every engine runs it; of TorchScript's two ways one is enough."""
        by_name = {one.engine: one.runs for one in self.engines}
        scripts = [runs for name, runs in by_name.items() if name.startswith("torchscript")]
        return any(scripts) and all(runs for name, runs in by_name.items() if not name.startswith("torchscript"))


def preflight(
    what: str, *, shapes: Sequence[str] = (), on_step: Callable[[str], None] = lambda text: None
) -> Preflight:
    """Takes a model like `edgekit optimize` does, with initial weights, through every engine.

    Args:
        shapes: what the model takes, where its source does not say so, like "1,3,224,224".
        on_step: called with the name of each engine before it is tried.
    Raises:
        UsageError: `what` is no model, or its own code failed; names the line.
    """
    model, notes = random_model(what, shapes)
    on_step("capture")
    program, error = None, ""
    try:
        _capture(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # recurrent layers set attributes while they run; nothing follows from it
            program = capture(model)
    except ExportError as failure:
        error = str(failure)
    engines: list[EngineFindings] = []
    if program is None:
        engines += [EngineFindings(engine=name, runs=False, error=error) for name in ENGINES[:3]]
    else:
        on_step("onnx")
        engines.append(examine_onnx(model, program))
        on_step("executorch")
        engines += examine_executorch(model, program)
    for name in ENGINES[3:]:
        on_step(name)
        engines.append(_torchscript(model, name))
    return Preflight(model=model.name, engines=tuple(engines), notes=notes)


def random_model(what: str, shapes: Sequence[str] = ()) -> tuple[DeployModel, tuple[str, ...]]:
    """`what` behind raw input as it would be deployed, on one random sample, and what to say about it."""
    torch.manual_seed(0)
    if not is_registered(what):
        source = open_source(what, random_weights=True)
        request = Request(model=what, sample_shape=shapes, calibration_samples=1, random_samples=True)
        own = own_model(source, request)
        one = {name: rows[:1] for name, rows in own.model.calibration.items()}
        notes = (own.says[0],) if own.says else ()
        return _with(own.model, one), notes
    book = book_model(what)
    loaded = loaded_module(book, book.build())
    sample = noise(loaded.inputs, 1).arrays
    return DeployModel(
        name=book.name,
        task=book.task,
        module=loaded.module,
        inputs=loaded.inputs,
        outputs=loaded.outputs,
        suppression=book.suppression,
        preprocessing=book.preprocessing,
        labels=book.labels,
        calibration=sample,
        validation=sample,
        targets=None,
        weights_sha256="",
        origin="random noise",
        noise=True,
    ), ()


def _with(model: DeployModel, sample: Arrays) -> DeployModel:
    return replace(model, calibration=sample, validation=sample, targets=None)


def _torchscript(model: DeployModel, name: str) -> EngineFindings:
    try:
        _run(model, name)
    except ExportError as failure:
        return EngineFindings(engine=name, runs=False, error=str(failure))
    return EngineFindings(engine=name, runs=True)


def _capture(model: DeployModel) -> None:
    """Captures the model, as every exporter but TorchScript begins. Raises ExportError, told as torch.export's own."""
    with collected() as folder:
        path = folder / "model.onnx"
        stage = next(exported(model, EXPORTERS["onnx"], RECIPES["fp32"], path, subject="torch.export"))
        stage.run(model.calibration)


def _run(model: DeployModel, name: str) -> None:
    """Carries out an exporter's stages on one sample. Raises ExportError, which names the operator and the line."""
    exporter = EXPORTERS[name]
    with collected() as folder:
        for stage in exported(model, exporter, RECIPES["fp32"], folder / f"model{exporter.suffix}"):
            stage.run(model.calibration)
