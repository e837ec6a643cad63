"""Tensors out of a checkpoint of any make, without running what is pickled beside them.

A trainer's checkpoint holds objects of its own: settings, callbacks, whole modules. Their classes are not imported; an
inert stand-in takes their place, and only tensors, numbers, texts and plain containers are themselves.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch._weights_only_unpickler import _get_allowed_globals

from edgekit.edge_runtime.errors import EdgekitError, MissingData, shown
from edgekit.train.checkpoint import torch_load

from .unwrapping import of_program


class StandIn:
    """Stands for an object of a class that is not loaded; it takes what an unpickler gives it, and does nothing."""

    kind = ""

    def __new__(cls, *_: Any, **__: Any) -> StandIn:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        self.held: Any = None

    def __setstate__(self, state: Any) -> None:
        self.held = state

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, *_: Any) -> None: ...

    def extend(self, *_: Any) -> None: ...

    def add(self, *_: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> StandIn:
        return self


class _Unpickler(pickle._Unpickler):  # the one in Python: that in C cannot be told what to leave alone
    """Finds only what torch itself allows where nothing but weights is read, and changes none of it."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        allowed = _get_allowed_globals().get(f"{module}.{name}")
        if allowed is not None:
            return allowed
        return type("StandIn", (StandIn,), {"kind": f"{module}.{name}"})

    def load_build(self) -> None:
        """Gives an object its state; not a class or a function, whose attributes are the whole process's."""
        held = self.stack[-2]  # type: ignore[attr-defined]
        if isinstance(held, type) or (callable(held) and not isinstance(held, StandIn)):
            raise pickle.UnpicklingError(f"it changes {shown(held, 80)}")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build


class _Pickle:
    """What torch.load takes as its pickle module."""

    __name__ = "edgekit's stand-ins"
    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _Unpickler(file, **options).load()

    @staticmethod
    def loads(data: bytes, **options: Any) -> Any:
        return _Unpickler(io.BytesIO(data), **options).load()


def read_checkpoint(path: Path) -> Any:
    """What a .pt, .pth or .ckpt holds, on the CPU, with a `StandIn` for each object of a class that is not torch's.

    Raises:
        EdgekitError: it is damaged.
    """
    try:
        return torch_load(path)
    except EdgekitError as plain:
        try:
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_Pickle)
        except Exception:  # as many kinds as torch raises on damaged files; the first reading says it best
            raise plain from None


def whole_module(found: Any) -> str:
    """The class of a module that was pickled whole; "" where it is none."""
    if isinstance(found, StandIn) and isinstance(found.held, Mapping) and "_modules" in found.held:
        return found.kind
    return ""


def program_in(path: Path, *, load: bool = True) -> Any:
    """The model in a TorchScript file or a program of torch.export; None where the file holds weights, or nothing.

    Loading either may run code: it is done for a file that the user names as the model. Without `load` it is only seen
    whether it is one: True or None.

    Raises:
        MissingData: a .pt2 or .ts that is not there.
        EdgekitError: it is damaged.
    """
    if not path.is_file():
        if path.suffix in (".pt2", ".ts"):
            raise MissingData(f"there is no file {path}. Give the path of a TorchScript file or a torch.export program")
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises many kinds on damaged files; whoever reads the weights says what is wrong
        return None
    inside = {part for name in names for part in name.split("/")[:2]}
    script = "code" in inside and any(name.endswith("constants.pkl") for name in names)
    exported = path.suffix == ".pt2" and not script
    if not load:
        return True if script or exported else None
    try:
        if script:
            return torch.jit.load(path, map_location="cpu")
        return of_program(torch.export.load(path)) if exported else None
    except Exception as error:  # torch raises many kinds on a damaged file
        raise EdgekitError(f"{path} cannot be loaded: {' '.join(str(error).split())[:200]}. Save it again") from None
