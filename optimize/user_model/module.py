"""A user's module between what stands before and behind it, as one module of fixed arguments; and its first run.

The forward of a module with several inputs or outputs is written out here, because exporters and TorchScript take no
`*inputs`. Nothing here knows data, tasks or formats.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.errors import InputError, UsageError

from ..deploy import Deployable
from .user_code import user_line


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is put together: `inputs` before the one input or none, `head` behind the first output or none.

    `names` are the arguments of the whole, `outputs` where the user's module puts its outputs: the keys of its dict,
    the places in its tuple; empty where it gives one tensor.
    """

    inputs: nn.Module
    model: nn.Module
    head: nn.Module
    names: tuple[str, ...]
    outputs: tuple[int | str, ...] = ()

    def module(self) -> nn.Module:
        """The whole, in evaluation mode, without gradients."""
        single = len(self.names) == 1 and not self.outputs
        whole = Deployable(self.inputs, self.model, self.head) if single else _written(self)
        return whole.eval().requires_grad_(False)


class Assembled(nn.Module):
    """The parts; its subclasses have a `forward` that `_written` writes for one set of inputs and outputs."""

    def __init__(self, parts: Parts):
        super().__init__()
        self.inputs = parts.inputs
        self.model = parts.model
        self.head = parts.head


def _written(parts: Parts) -> nn.Module:
    names = ", ".join(parts.names)
    first = f"self.inputs({names})" if len(parts.names) == 1 else names
    lines = [f"def forward(self, {names}):", f"    found = self.model({first})"]
    if parts.outputs:
        answers = [f"found[{key!r}]" for key in parts.outputs]
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


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """Names of the arguments that `forward` cannot do without, in order; of `*args` none, since it names none."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # compiled code without a signature
        return ()
    return tuple(p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty)


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """What a module gave to one sample: its outputs as tensors by name, and where it keeps them (see `Parts`)."""

    answers: dict[str, Tensor]
    places: tuple[int | str, ...]


def first_run(module: nn.Module, sample: Sequence[Tensor], *, advice: str) -> FirstRun:
    """Runs a user's module once and says what it gives.

    Raises:
        InputError: it fails on this sample: names the submodule and the user's own line; `advice` ends the sentence.
        UsageError: it gives something else than tensors.
    """
    inside: list[str] = []
    handles = []
    for path, part in module.named_modules():
        name = f"{path or 'the model itself'} ({type(part).__name__})"
        handles.append(part.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        handles.append(part.register_forward_hook(lambda *_: (inside.pop(), None)[1]))
    try:
        with torch.inference_mode():
            found = module(*sample)
    except Exception as error:
        taken = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in sample)
        place = f" Your line: {user_line(error)}." if user_line(error) else ""
        raise InputError(
            f"the model cannot take {taken}: it fails in {inside[-1] if inside else 'forward'}: "
            f"{' '.join(str(error).split())[:300]}.{place} {advice}"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    if isinstance(found, Tensor):
        return FirstRun(answers={"output": found}, places=())
    named: Mapping = found if isinstance(found, Mapping) else {}
    places: tuple[int | str, ...] = tuple(named) or tuple(range(len(found)) if isinstance(found, (list, tuple)) else ())
    answers = {str(key) if named else f"output_{key}": found[key] for key in places}
    wrong = [f"{name} is a {type(value).__name__}" for name, value in answers.items() if not isinstance(value, Tensor)]
    if wrong or not answers:
        raise UsageError(
            f"forward should give a tensor, or a tuple or dict of tensors; found {wrong[0] if wrong else type(found)}. "
            "Wrap the model in a module whose forward gives the tensors that are needed"
        )
    return FirstRun(answers=answers, places=places)
