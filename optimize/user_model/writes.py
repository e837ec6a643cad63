"""Where a user's `forward` writes in place into what is not its own: the inputs it is given, its buffers and weights.

What becomes of the writes is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .user_code import frame_line


@dataclass(kw_only=True)
class Writes:
    """The user's line of the first write into each, "" where it is not known (compiled code)."""

    inputs: dict[int, str] = field(default_factory=dict)
    """By the place of the input."""
    state: dict[str, str] = field(default_factory=dict)
    """By the name of the buffer or parameter."""


def observed(module: nn.Module, sample: Sequence[Tensor], run: Callable[[], Any]) -> tuple[Any, Writes]:
    """What `run()` gives, which runs the module on `sample`, and where it wrote.

    Afterwards the module's state and the sample are as before. That something was written shows in torch's own
    counters; only then it is run once more, under watch, to find the line.
    """
    state, given = _Kept(module), [tensor.clone() for tensor in sample]
    counters = [tensor._version for tensor in (*sample, *state.tensors.values())]
    with torch.no_grad():
        found = run()
    changed = [
        tensor._version != before for tensor, before in zip((*sample, *state.tensors.values()), counters, strict=True)
    ]
    inputs = [i for i in range(len(sample)) if changed[i]]
    names = [name for name, one in zip(state.tensors, changed[len(sample) :], strict=True) if one]
    # Another tensor may also have taken its place: self.state = self.state + 1
    names = list(dict.fromkeys((*names, *state.replaced())))
    if not inputs and not names:
        return found, Writes()
    found = _apart(found)

    def put_back() -> None:
        state.put_back(names)
        for i in inputs:
            sample[i].copy_(given[i])

    with torch.no_grad():
        put_back()
        places = {_memory(sample[i]): i for i in inputs}
        watch = _Watch(places, {_memory(state.tensors[name]): name for name in names})
        with contextlib.suppress(Exception), watch:  # not all of torch runs under watch; then the line is not known
            run()
        put_back()
    lines = watch.lines
    return found, Writes(
        inputs={i: lines.get(i, "") for i in inputs}, state={name: lines.get(name, "") for name in names}
    )


def _apart(found: Any) -> Any:
    """The same answer, whose tensors share no memory with what is put back."""
    return torch.utils._pytree.tree_map_only(Tensor, torch.clone, found)


class _Kept:
    """The parameters and buffers of a module, to be put back."""

    def __init__(self, module: nn.Module):
        self._module = module
        self.tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        self.values = {name: tensor.detach().clone() for name, tensor in module.named_buffers()}

    def replaced(self) -> list[str]:
        now = dict(self._module.named_parameters()) | dict(self._module.named_buffers())
        return [name for name, tensor in self.tensors.items() if now.get(name) is not tensor]

    def put_back(self, names: Iterable[str]) -> None:
        for name in names:
            path, _, leaf = name.rpartition(".")
            tensor = self.tensors[name]
            if name in self.values:
                if not isinstance(self._module, torch.jit.ScriptModule):
                    self._module.get_submodule(path)._buffers[leaf] = tensor
                tensor.copy_(self.values[name])


class _Watch(TorchDispatchMode):
    """Notes the user's line of the first write into each of the given places in memory."""

    def __init__(self, inputs: dict[int, int], state: dict[int, str]):
        super().__init__()
        self._known: dict[int, int | str] = {**state, **inputs}
        self.lines: dict[int | str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, spec in enumerate(func._schema.arguments):
            if spec.alias_info is None or not spec.alias_info.is_write:
                continue
            given = args[i] if i < len(args) else kwargs.get(spec.name)
            for tensor in given if isinstance(given, (list, tuple)) else [given]:
                if isinstance(tensor, Tensor) and (written := self._known.get(_memory(tensor))) is not None:
                    self.lines.setdefault(written, _line())
        return func(*args, **kwargs)


def depends_on(module: nn.Module, names: Sequence[str], run: Callable[[], Sequence[Tensor]]) -> str | None:
    """The first of these buffers whose value changes what `run()`, one answer, gives; None where none does.

    Each is moved, and the module is left as it was.
    """
    state = _Kept(module)

    def answer(name: str = "", value: Tensor | None = None) -> list[Tensor]:
        if value is not None:
            state.tensors[name].copy_(value)
        try:
            return [tensor.clone() for tensor in run()]
        finally:
            state.put_back(names)

    with torch.no_grad():
        wanted = answer()
        for name in names:
            kept = state.tensors[name].clone()
            for moved in (_moved(kept), torch.zeros_like(kept)):
                found = answer(name, moved)
                if any(not torch.equal(a, b) for a, b in zip(wanted, found, strict=True)):
                    return name
    return None


def _moved(tensor: Tensor) -> Tensor:
    return ~tensor if tensor.dtype == torch.bool else tensor + 1


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _line() -> str:
    return frame_line(sys._getframe(1))
