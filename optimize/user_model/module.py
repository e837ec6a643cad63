"""A user's module between what stands before and behind it, as one module of fixed arguments; and its first run.

The forward of a module with several inputs or outputs is written out here, because exporters and TorchScript take no
`*inputs`. Nothing here knows data, tasks or formats.
"""

from __future__ import annotations

import contextlib
import dataclasses
import linecache
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.errors import InputError, UsageError

from ..deploy import Deployable
from .signature import Passing
from .user_code import user_line
from .writes import Writes, observed


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is put together: `inputs` before the one input or none, `head` behind the first output or none.

    `names` are the inputs of the whole, and `passing` how the user's module takes them; `copied` those that it writes
    into, so that it gets a copy. `outputs` are where it puts its outputs, as code behind its answer ("[0]",
    "['logits']", ".scores"); empty where it gives one tensor.
    """

    inputs: nn.Module
    model: nn.Module
    head: nn.Module
    names: tuple[str, ...]
    passing: Passing | None = None
    copied: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def module(self) -> nn.Module:
        """The whole, in evaluation mode, without gradients."""
        plain = self.passing is None or not (any(self.passing.keywords) or self.passing.structure)
        single = len(self.names) == 1 and plain and not self.copied and not self.outputs
        return inert(Deployable(self.inputs, self.model, self.head) if single else _written(self))


class Assembled(nn.Module):
    """The parts; its subclasses have a `forward` that `_written` writes for one set of inputs and outputs."""

    def __init__(self, parts: Parts):
        super().__init__()
        self.inputs = parts.inputs
        self.model = parts.model
        self.head = parts.head


def inert(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, without gradients; compiled parts (TorchScript) take one tensor at a time."""
    module.eval()
    for tensor in module.parameters():
        if tensor.is_leaf:
            tensor.requires_grad_(False)
    return module


def _written(parts: Parts) -> nn.Module:
    arguments = [re.sub(r"\W", "_", name) for name in parts.names]
    if len(set(arguments)) < len(arguments) or not all(name.isidentifier() for name in arguments):
        arguments = [f"input_{i}" for i in range(len(arguments))]
    values = [f"{argument}.clone()" if name in parts.copied else argument
              for name, argument in zip(parts.names, arguments, strict=True)]  # fmt: skip
    if len(values) == 1 and not isinstance(parts.inputs, nn.Identity):
        values = [f"self.inputs({arguments[0]})"]
    call = ", ".join(values) if parts.passing is None else parts.passing.written(values)
    lines = [f"def forward(self, {', '.join(arguments)}):", f"    found = self.model({call})"]
    if parts.outputs:
        answers = [f"found{place}" for place in parts.outputs]
        answers[0] = f"self.head({answers[0]})"
        lines.append(f"    return ({', '.join(answers)},)" if len(answers) > 1 else f"    return {answers[0]}")
    else:
        lines.append("    return self.head(found)")
    source = "\n".join(lines) + "\n"
    file = f"<forward of {type(parts.model).__name__} {hash(source):x}>"
    # TorchScript compiles from source, which it looks for here; no time of change, so that it is never dropped.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, object] = {}
    exec(compile(source, file, "exec"), scope)
    return type("Assembled", (Assembled,), {"forward": scope["forward"], "__module__": __name__})(parts)


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """What a module gave to one sample: its outputs as tensors by name, and where it keeps them (see `Parts`).

    `left_out` are values of the answer that are no tensors, `writes` where it wrote into what is not its own.
    """

    answers: dict[str, Tensor]
    places: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    writes: Writes


def first_run(module: nn.Module, sample: Sequence[Tensor], passing: Passing, *, advice: str) -> FirstRun:
    """Runs a user's module once and says what it gives.

    Raises:
        InputError: it fails on this sample: names the submodule and the user's own line; `advice` ends the sentence.
        UsageError: there is no tensor in its answer.
    """
    try:
        found, writes = observed(module, sample, lambda: passing.call(module, sample))
    except Exception as error:
        taken = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in sample)
        place = f" Your line: {user_line(error)}." if user_line(error) else ""
        raise InputError(
            f"the model cannot take {taken}: it fails in {_where(module, sample, passing)}: "
            f"{' '.join(str(error).split())[:300]}.{place} {advice}"
        ) from None
    if isinstance(found, Tensor):
        return FirstRun(answers={"output": found}, places=(), writes=writes)
    leaves = list(_leaves(found, "", ""))
    kept = [(name, place, value) for name, place, value in leaves if isinstance(value, Tensor)]
    left_out = tuple(f"{name} ({type(value).__name__})" for name, _, value in leaves if not isinstance(value, Tensor))
    if not kept:
        raise UsageError(
            f"forward should give a tensor, or tensors in a tuple, dict or dataclass; found "
            f"{left_out[0] if left_out else type(found).__name__}. "
            "Wrap the model in a module whose forward gives the tensors that are needed"
        )
    answers: dict[str, Tensor] = {}
    for name, _, value in kept:
        called, again = name, 1
        while called in answers:
            again += 1
            called = f"{name}_{again}"
        answers[called] = value
    return FirstRun(answers=answers, places=tuple(p for _, p, _ in kept), left_out=left_out, writes=writes)


def _where(module: nn.Module, sample: Sequence[Tensor], passing: Passing) -> str:
    """The submodule in which a run fails."""
    inside: list[str] = []
    handles = []
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):  # it takes no such hooks
            continue
        name = f"{path or 'the model itself'} ({type(part).__name__})"
        handles.append(part.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        handles.append(part.register_forward_hook(lambda *_: (inside.pop(), None)[1]))
    try:
        with contextlib.suppress(Exception), torch.no_grad():
            passing.call(module, sample)
    finally:
        for handle in handles:
            handle.remove()
    return inside[-1] if inside else "forward"


def tensors_of(found: Any) -> list[Tensor]:
    """The tensors of a module's answer, in the order of `FirstRun.answers`."""
    return [value for _, _, value in _leaves(found, "", "") if isinstance(value, Tensor)]


def _leaves(value: Any, name: str, place: str) -> Iterator[tuple[str, str, Any]]:
    """(name, place, value) of all that an answer holds, in order, but for None."""
    parts: Iterable[tuple[object, str, Any]]
    if isinstance(value, Mapping):
        # What reads a key again is written as code, so that only plain ones can be.
        parts = [(key, f"[{key!r}]", part) for key, part in value.items() if isinstance(key, (str, int))]
    elif dataclasses.is_dataclass(value):
        parts = [(field.name, f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [(key, f"[{i}]", part) for i, (key, part) in enumerate(zip(value._fields, value, strict=True))]
    elif isinstance(value, (list, tuple)):
        parts = [(i, f"[{i}]", part) for i, part in enumerate(value)]
    else:
        if value is not None:
            yield name, place, value
        return
    for key, step, part in parts:
        plain = re.sub(r"[^A-Za-z0-9_.:/-]", "_", str(key))
        if name:
            plain = f"{name}.{plain}"
        elif not re.match(r"[A-Za-z_]", plain):
            plain = f"output_{plain}"
        yield from _leaves(part, plain[:128], place + step)
