"""What `edgekit optimize WHAT` can be: a registry name, a user's callable, or a model of torchvision or timm.

A source gives a module with its weights, and what it says itself of the pictures it takes and of its labels. It knows
nothing about samples, recipes or bundles.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from edgekit.edge_runtime.errors import UsageError
from edgekit.train.registry import BOOK_MODELS

from .guesses import guess
from .library_models import (
    fetched,
    models_weights,
    names_of,
    timm_labels,
    timm_source,
    timm_taken,
    torchvision_source,
    torchvision_taken,
    torchvision_weights,
)
from .source import Source, Taken, plain_name
from .unwrapping import is_model, unwrapped
from .user_code import find, user_errors
from .weights import load_own_weights
from .weights_file import program_in

__all__ = ["Source", "Taken", "is_registered", "of_module", "open_source", "plain_name"]

# Names of callables that say nothing of the model, so that the bundles are called like the module.
_PLAIN = (
    "build",
    "build_model",
    "create",
    "create_model",
    "get_model",
    "load_model",
    "main",
    "make_model",
    "model",
    "net",
)


def is_registered(what: str) -> bool:
    """Whether WHAT is a model of the registry, whose data are known."""
    return what in BOOK_MODELS


def open_source(
    what: str, *, weights: str | Path | None = None, random_weights: bool = False, classes: int | None = None
) -> Source:
    """The module that WHAT stands for, with its weights.

    Args:
        weights: a state dict (.safetensors, .pth, …) instead of the source's own weights, or torchvision's by name.
        random_weights: random initial weights, for trying the way where the real ones cannot be had.
        classes: how many labels there are; a library's model is built for that many where its weights are given.
    Raises:
        UsageError: WHAT is none of the accepted kinds, or the user's code failed.
        MissingData: the weights are not there and could not be downloaded.
    """
    if weights is not None and random_weights:
        raise UsageError("--weights and --random-weights contradict each other: give one of them")
    kind, colon, name = what.partition(":")
    own = weights is not None or random_weights
    if colon and kind == "torchvision":
        named = None if weights is None else torchvision_weights(str(weights))
        if named is not None and named not in models_weights(name):
            raise UsageError(
                f"{weights} are no weights of torchvision's {name}. It has {names_of(models_weights(name))}"
            )
        if named is not None:
            return torchvision_source(name, own=False, random=False, classes=None, chosen=named)
        source = torchvision_source(name, own=own, random=random_weights, classes=classes)
    elif colon and kind == "timm":
        source = timm_source(name, own=own, random=random_weights, classes=classes)
    elif colon and name and not _is_drive_only(what):
        source = _users(what, random=random_weights)
    elif Path(what).suffix in (".pt2", ".ts", ".pt", ".pth") and (module := program_in(Path(what))) is not None:
        source = _program(Path(what), module)
    else:
        raise guess(what)
    return source if weights is None else with_weights(source, weights)


def _is_drive_only(what: str) -> bool:
    """Whether the only colon is that of a drive of Windows, as in C:\\nets\\net.ts."""
    return what.count(":") == 1 and re.match(r"[A-Za-z]:[\\/]", what) is not None


def of_module(found: nn.Module, *, weights: str | Path | None = None) -> Source:
    """A module from Python, which is left as it is."""
    if not is_model(found):
        raise UsageError(f"model should be an nn.Module or a text, found {type(found).__name__}")
    kind = type(found).__name__
    module, notes = unwrapped(found)
    kind = type(module).__name__ if kind in ("OptimizedModule", "DataParallel") else kind
    taken, labels, licence = _said_by(module)
    source = Source(what=kind, name=plain_name(kind), module=module, weights="as given from Python", notes=notes,
                    taken=taken, labels=labels, licence=licence)  # fmt: skip
    if weights is None:
        return source
    return with_weights(replace(source, module=copy.deepcopy(module)), weights)


def with_weights(source: Source, weights: str | Path) -> Source:
    """The source with other weights, which its module takes in place."""
    if (named := torchvision_weights(str(weights))) is not None:
        source.module.load_state_dict(fetched(named).get_state_dict(progress=False))
        taken = torchvision_taken(named)
        return replace(
            source,
            weights=f"torchvision's {named}",
            taken=taken or source.taken,
            labels=source.labels or tuple(named.meta.get("categories", ())),
        )
    path = Path(weights)
    notes = load_own_weights(source.module, path)
    return replace(source, weights=f"{path.name}, given by the user", licence=None, notes=(*source.notes, *notes))


def _users(what: str, *, random: bool) -> Source:
    place, _, called = what.rpartition(":")
    found = find(what)
    if not is_model(found) and not callable(found):
        raise UsageError(f"{what} is a {type(found).__name__}. It is to be an nn.Module or a callable that gives one")
    made: object = found
    if not is_model(found):
        with user_errors(f"{what} was called without arguments and"):
            torch.manual_seed(0)  # a model whose weights are drawn is the same one each time
            made = found()  # type: ignore[operator]
    if not is_model(made):
        raise UsageError(f"{what} gave a {type(made).__name__}, not an nn.Module. Let it return the model itself")
    module, notes = unwrapped(made)
    file = Path(place).resolve() if place.endswith(".py") else None
    stem = Path(place).stem if file else place.rpartition(".")[2]
    if called.rpartition(".")[2] not in _PLAIN:
        stem = called.rpartition(".")[2]
    weights = "as the callable drew them (--random-weights)" if random else f"as {what} gives them"
    taken, labels, licence = _said_by(module)
    return Source(what=what, name=plain_name(stem), module=module, weights=weights, file=file, notes=notes,
                  taken=taken, labels=labels, licence=licence)  # fmt: skip


def _program(path: Path, module: nn.Module) -> Source:
    """A TorchScript file or a program of torch.export, which the user names, and so trusts."""
    kind = "TorchScript" if isinstance(module, torch.jit.ScriptModule) else "torch.export"
    return Source(
        what=f"{path.name} ({kind})", name=plain_name(path.stem), module=module, weights=f"those of {path.name}"
    )


def _said_by(module: nn.Module) -> tuple[Taken | None, tuple[str, ...], str | None]:
    """What a model of timm or Hugging Face says of its pictures, labels and licence, whoever built it."""
    config = getattr(module, "pretrained_cfg", None)
    if isinstance(config, dict) and {"mean", "std", "input_size", "crop_pct"} <= config.keys():
        return timm_taken(config), timm_labels(module), config.get("license") or None
    named = getattr(getattr(module, "config", None), "id2label", None)
    if isinstance(named, dict) and named and not all(str(value).startswith("LABEL_") for value in named.values()):
        return None, tuple(str(named[key]) for key in sorted(named)), None
    return None, (), None
