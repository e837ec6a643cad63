"""Where a user's `forward` writes in place into what is not its own: the inputs it is given, its buffers and weights.

Every operator of a run is watched for arguments that it changes. What becomes of the writes is decided elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def watched(module: nn.Module, sample: Sequence[Tensor]) -> Iterator[Writes]:
    """Yields what is filled while a module runs on `sample`, whose tensors share no memory with each other.

    Afterwards the module's state and the sample are as before.
    """
    found, state = Writes(), _Kept(module)
    given = [tensor.clone() for tensor in sample]
    places = {_memory(tensor): i for i, tensor in enumerate(sample)}
    names = {_memory(tensor): name for name, tensor in state.tensors.items() if tensor.numel()}
    try:
        with _Watch(places, names, found):
            yield found
        for name in state.replaced():  # another tensor took its place: self.state = self.state + 1
            found.state.setdefault(name, "")
    finally:
        state.put_back(found.state)
        for place in found.inputs:
            sample[place].copy_(given[place])


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
    def __init__(self, places: dict[int, int], names: dict[int, str], found: Writes):
        super().__init__()
        self._places, self._names, self._found = places, names, found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, spec in enumerate(func._schema.arguments):
            if spec.alias_info is None or not spec.alias_info.is_write:
                continue
            given = args[i] if i < len(args) else kwargs.get(spec.name)
            for tensor in given if isinstance(given, (list, tuple)) else [given]:
                if isinstance(tensor, Tensor):
                    self._note(_memory(tensor))
        return func(*args, **kwargs)

    def _note(self, memory: int) -> None:
        if memory in self._places:
            self._found.inputs.setdefault(self._places[memory], _line())
        elif memory in self._names:
            self._found.state.setdefault(self._names[memory], _line())


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

    with torch.inference_mode():
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
