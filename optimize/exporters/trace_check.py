"""Whether a trace answers as its module does at other sizes than the one it was recorded at (book, chapter 15).

A trace holds the operations of one run: a loop over rows is unrolled to as many as the sample had, and a size that the
code turned into a Python number stays that number. At the sample's own size nothing can be seen of it.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from edgekit.edge_runtime.errors import ExportError
from edgekit.edge_runtime.tasks.metrics import relative_error
from edgekit.optimize.deploy import DeployModel

# What another order of float additions may change, relative to the range: a lost step changes far more.
TOLERANCE = 1e-4
MOST_NUMBERS = 2**22  # of one input; larger ones take a large net minutes and gigabytes
MOST_ROWS = 5
_TORCH = str(Path(torch.__file__).parent)
Sample = tuple[torch.Tensor, ...]


def check_trace(model: DeployModel, traced: torch.jit.ScriptModule, warned: Sequence[warnings.WarningMessage]) -> None:
    """Runs module and trace at other sizes, wherever the module itself gives finite answers, and compares.

    Sizes: batches of 1 to 5 rows where the batch is free, and each other axis halved and doubled. `warned` is what
    torch said while it traced; it names the user's lines.

    Raises:
        ExportError: the trace answers otherwise, or it fails within the batch that the model declares. That it fails
            at a size that is not declared is no fault of it: nobody can take its answer for a true one.
    """
    for sample in _other_samples(model):
        wanted = _answers(model.module, sample)
        if isinstance(wanted, str) or not all(torch.isfinite(answer).all() for answer in wanted):
            continue
        declared = [tensor.shape[1:] for tensor in sample] == [tensor.shape[1:] for tensor in model.example]
        wrong = _difference(wanted, _answers(traced, sample), failing_is_wrong=declared)
        if not wrong:
            continue
        sizes = ", ".join(" x ".join(map(str, tensor.shape)) for tensor in sample)
        lines = _lines(warned)
        raise ExportError(
            f"torchscript_traced recorded {model.name} wrongly: at {sizes} the module answers and the trace {wrong}. "
            "A branch, loop or size of the code was fixed to what the one traced sample had. "
            + (f"Your line: {lines}. " if lines else "")
            + f"Remedy: {_scripted(model, sample, wanted)}"
        )


def _other_samples(model: DeployModel) -> Iterator[Sample]:
    """The example at other sizes, its own values repeated or left out. Inputs that share a length change together."""
    example = model.example
    if model.batch:
        counts = sorted({model.batch.min, 3, 4, MOST_ROWS})
        for rows in (count for count in counts if model.batch.min <= count <= model.batch.max):
            yield tuple(_resized(tensor, 0, rows) for tensor in example)
    lengths = {(axis, tensor.shape[axis]) for tensor in example for axis in range(1, tensor.ndim)}
    for (axis, length), new in itertools.product(sorted(lengths), ("half", "double")):
        target = length // 2 if new == "half" else 2 * length
        if target == 0:
            continue
        sample = tuple(
            _resized(tensor, axis, target) if tensor.ndim > axis and tensor.shape[axis] == length else tensor
            for tensor in example
        )
        if all(tensor.numel() <= MOST_NUMBERS for tensor in sample):
            yield sample


def _resized(tensor: torch.Tensor, axis: int, length: int) -> torch.Tensor:
    return tensor.index_select(axis, torch.arange(length) % tensor.shape[axis])


def _answers(module: torch.nn.Module, sample: Sample) -> list[torch.Tensor] | str:
    """What it gives to copies of the sample; the first line of its error where it fails."""
    try:
        with torch.inference_mode():
            found = module(*(tensor.clone() for tensor in sample))
    except Exception as error:  # whatever a user's module may raise at a size that it was not written for
        said = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        return said[-1][:160] if said else type(error).__name__
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _difference(wanted: list[torch.Tensor], found: list[torch.Tensor] | str, *, failing_is_wrong: bool) -> str:
    """What is wrong with the answers, as the end of a sentence; "" where nothing is."""
    if isinstance(found, str):
        return f"fails ({found})" if failing_is_wrong else ""
    for a, b in zip(wanted, found, strict=True):
        if a.shape != b.shape:
            return f"answers with {' x '.join(map(str, b.shape))} instead of {' x '.join(map(str, a.shape))}"
        relative = relative_error(a.numpy().astype(float), b.numpy().astype(float))
        if not relative <= TOLERANCE:
            return f"answers otherwise (relative error {relative:.2g})"
    return ""


def _scripted(model: DeployModel, sample: Sample, wanted: list[torch.Tensor]) -> str:
    """What compiling the code makes of the same sample: whether that is a way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the deprecation that `torchscript.py` states
        try:
            found = _answers(torch.jit.script(model.module), sample)
        except Exception as error:  # TorchScript takes only part of Python
            said = " ".join(str(error).split())[:160]
            return f"leave the branch or loop out of the model; TorchScript cannot compile it either ({said})"
    wrong = _difference(wanted, found, failing_is_wrong=True)
    if wrong:
        return f"leave the branch or loop out of the model; torchscript_scripted was tried and {wrong}"
    return "torchscript_scripted, which compiles the code: it was tried and answers as the module does"


def warn_again(warned: Sequence[warnings.WarningMessage]) -> None:
    """Passes on what torch said of the user's lines: other sizes do not show a branch on the values themselves."""
    # torch traces twice, to compare, and says everything twice.
    for warning in {(w.filename, w.lineno, str(w.message)): w for w in _of_the_user(warned)}.values():
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _lines(warned: Sequence[warnings.WarningMessage]) -> str:
    """Where torch saw a tensor become a Python number."""
    found = {f"{warning.filename}, line {warning.lineno}": None for warning in _of_the_user(warned)}
    return "; ".join(list(found)[:3])


def _of_the_user(warned: Sequence[warnings.WarningMessage]) -> list[warnings.WarningMessage]:
    """The tracer's warnings of lines that are not torch's own."""
    return [
        warning
        for warning in warned
        if issubclass(warning.category, torch.jit.TracerWarning) and not warning.filename.startswith(_TORCH)
    ]
