"""What an exporter raised, in words for whoever wrote the model: the stage, the operator, the line, what to do.

torch, onnx, executorch and the quantizers raise dozens of kinds of errors. Here each becomes one `ExportError`,
so that the other exporters go on; a full disk stays what it is.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import EdgekitError, ExportError

from ..deploy import DeployModel, Predict
from ..recipes import Recipe
from ..user_model.user_code import user_line
from . import Exporter, Stage
from .repeated_work import done_once

# torch.utils.flop_counter regrets that triton is not installed; the others say what the error says again.
_LOGGERS = ("torch.utils.flop_counter", "torch.fx.experimental.symbolic_shapes", "torch.export._trace")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_OPERATOR = re.compile(r"\b(?:aten|torchvision|prims|quantized_decomposed)(?:::|\.)(\w+(?:\.\w+)?)")
_IN_SCRIPT = re.compile(r'File "([^"]+)", line (\d+)')
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TORCHSCRIPT = (
    "TorchScript compiles only part of Python: torchscript_traced, onnx and executorch_xnnpack record what runs instead"
)
# What the text of an error holds -> what a user can do about it; the first that fits is said.
_REMEDIES = (
    (
        r"data-dependent|GuardOnDataDependent|control flow|Could not guard|is_nonzero|_local_scalar",
        "a branch or loop depends on the data: write it with torch.where, or leave it outside the exported model; "
        "torchscript_scripted keeps branches",
    ),
    (r"\.numpy\(\)|from_numpy", "forward leaves torch for numpy: write it with torch's operations"),
    (
        r"Missing out variant|not supported|Unsupported|NotImplemented|Core ATen|mismatched dtypes|ConversionError|"
        r"no (?:ONNX|decomposition)|not registered",
        "this exporter has no such operator: write it with simpler ones, or use another exporter",
    ),
)
_FIXED_BATCH = (
    "the model may fix its batch size, for example by a view with numbers in it: mend that, or leave --max-batch at 1"
)


def exported(
    model: DeployModel, exporter: Exporter, recipe: Recipe, path: Path, *, subject: str = ""
) -> Iterator[Stage]:
    """The stages of `exporter.export`, its errors told.

    `subject` is what errors say has failed; "" for "EXPORTER could not export MODEL as RECIPE: it".

    Raises:
        ExportError: the exporter cannot take the model; names the stage, the operator and the user's line.
        OSError: the disk is full, or may not be written to.
    """
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    stages = iter(exporter.export(model, recipe, path))
    last: str | None = None
    while True:
        said = io.StringIO()
        try:
            # torch prints the graph that it got to before it raises; of what ends well nothing is lost.
            with contextlib.redirect_stderr(said), done_once():
                stage = next(stages)
            sys.stderr.write(said.getvalue())
        except StopIteration:
            return
        except (EdgekitError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise _told(error, model, exporter, recipe, last, subject) from error
        last = stage.kind
        yield replace(stage, run=_guarded(stage.run, model, exporter, recipe, last, subject))


def _guarded(run: Predict, model: DeployModel, exporter: Exporter, recipe: Recipe, stage: str, subject: str) -> Predict:
    """`run`, whose errors are told like those of making the program: it may fail only when it is run on samples."""

    def guarded(arrays: Arrays) -> Arrays:
        try:
            return run(arrays)
        except EdgekitError:
            raise
        except Exception as error:
            raise _told(error, model, exporter, recipe, stage, subject) from error

    return guarded


def _told(
    error: Exception, model: DeployModel, exporter: Exporter, recipe: Recipe, last: str | None, subject: str
) -> Exception:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)  # type: ignore[arg-type]
    for link in chain:
        if isinstance(link, OSError) and link.errno in _FULL:
            return link
    if isinstance(error, MemoryError):
        return ExportError(f"{exporter.name} ran out of memory. Stop other programs, or use fewer samples")
    text = "\n".join(str(link) for link in chain)
    stage = "capture" if last is None else "quantize" if _in_recipe(error) else "lower"
    root = chain[-1] if not str(error).strip() else error
    operator = _OPERATOR.search(text)
    place = next((line for link in chain if (line := user_line(link))), "") or _script_line(text)
    remedy = next((advice for pattern, advice in _REMEDIES if re.search(pattern, text, re.IGNORECASE)), "")
    if exporter.name == "torchscript_scripted":
        remedy = _TORCHSCRIPT
    elif model.batch and re.search("shape|size|batch|dynamic|constraint|specializ", text, re.IGNORECASE):
        remedy = _FIXED_BATCH
    batch = f" for batches of {model.batch}" if model.batch else ""
    parts = [
        f"{subject or f'{exporter.name} could not export {model.name}{batch} as {recipe.name}: it'} failed at {stage} "
        f"with {type(root).__name__}: {_first(root)}",
        f"Operator: {operator[0]}" if operator else "",
        f"Your line: {place}" if place else "",
        f"Remedy: {remedy}" if remedy else "Remedy: use another exporter, or write that part of the model differently",
    ]
    return ExportError(". ".join(part.rstrip(". ") for part in parts if part))


def _in_recipe(error: BaseException) -> bool:
    """Whether it was raised while a recipe quantized, and not while the exporter itself was at work."""
    recipes = str(Path(__file__).resolve().parent / "recipes")
    return any(frame.filename.startswith(recipes) for frame in traceback.extract_tb(error.__traceback__))


def _first(error: BaseException, most: int = 240) -> str:
    """The error's own first sentence or two, without the advice to developers that follows."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).strip().splitlines()]
    kept = " ".join(line for line in lines[:6] if line and not line.startswith(("File ", "~", "^", "-", "=")))
    kept = re.split(
        r"\s*(?:\(Size-like symbols|consider using|Caused by:|For more information|Next steps:|There are a few things)",
        kept,
    )[0]
    return kept if len(kept) <= most else kept[:most].rsplit(" ", 1)[0] + " …"


def _script_line(text: str) -> str:
    """The last source line that TorchScript's own message points to."""
    found = _IN_SCRIPT.findall(text)
    return f"{found[-1][0]}, line {found[-1][1]}" if found else ""
