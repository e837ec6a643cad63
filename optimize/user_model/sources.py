"""What `edgekit optimize WHAT` can be: a registry name, a user's callable, or a model of torchvision or timm.

A source gives a module with its weights, and what it says itself of the pictures it takes and of its labels. It knows
nothing about samples, recipes or bundles.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import nn

from edgekit.edge_runtime.errors import MissingData, UsageError
from edgekit.train.data.download import impatient
from edgekit.train.registry import BOOK_MODELS

from .guesses import guess
from .unwrapping import is_model, unwrapped
from .user_code import describe, find, user_errors
from .weights import load_own_weights
from .weights_file import program_in


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


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How a library's own model wants its pictures: sides in pixels, mean and std on the scale 0..1."""

    height: int
    width: int
    resize_to: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A module with its weights. `taken` and `labels` are what the source says of itself, if it does.

    `weights` says in words where they come from, `licence` under which they are given; `notes` is what the user should
    hear. `file` is the user's own file.
    """

    what: str
    name: str
    module: nn.Module
    taken: Taken | None = None
    labels: tuple[str, ...] = ()
    weights: str
    licence: str | None = None
    notes: tuple[str, ...] = ()
    file: Path | None = None


def is_registered(what: str) -> bool:
    """Whether WHAT is a model of the registry, whose data are known."""
    return what in BOOK_MODELS


def open_source(
    what: str, *, weights: str | Path | None = None, random_weights: bool = False, classes: int | None = None
) -> Source:
    """The module that WHAT stands for, with its weights.

    Args:
        weights: a state dict (.safetensors, .pth, …) instead of the source's own weights, or torchvision's by name.
        random_weights: weights as they are drawn; for trying the way where the real ones cannot be had.
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
            raise UsageError(f"{weights} are no weights of torchvision's {name}. It has {_names(models_weights(name))}")
        if named is not None:
            return _torchvision(name, own=False, random=False, classes=None, chosen=named)
        source = _torchvision(name, own=own, random=random_weights, classes=classes)
    elif colon and kind == "timm":
        source = _timm(name, own=own, random=random_weights, classes=classes)
    elif colon and name:
        source = _users(what, random=random_weights)
    elif Path(what).suffix in (".pt2", ".ts", ".pt", ".pth") and (module := program_in(Path(what))) is not None:
        source = _program(Path(what), module)
    else:
        raise guess(what)
    return source if weights is None else with_weights(source, weights)


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
        source.module.load_state_dict(_fetched(named).get_state_dict(progress=False))
        taken = _torchvision_taken(named)
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
        return _timm_taken(config), _timm_labels(module), config.get("license") or None
    named = getattr(getattr(module, "config", None), "id2label", None)
    if isinstance(named, dict) and named and not all(str(value).startswith("LABEL_") for value in named.values()):
        return None, tuple(str(named[key]) for key in sorted(named)), None
    return None, (), None


def torchvision_weights(name: str) -> Any:
    """torchvision's weights of this name, like ResNet18_Weights.DEFAULT; None where it is none, but a file's."""
    if not re.fullmatch(r"\w+_Weights\.\w+", name) or Path(name).exists():
        return None
    from torchvision.models import get_weight

    try:
        return get_weight(name)
    except (KeyError, ValueError) as error:
        raise UsageError(f"torchvision has no weights {name} ({error}). Like ResNet18_Weights.IMAGENET1K_V1") from None


def models_weights(name: str) -> Sequence[Any]:
    """All weights that torchvision has for one of its models; none for an unknown one."""
    import torchvision.models as models

    return tuple(models.get_model_weights(name)) if name in models.list_models() else ()


def _names(weights: Sequence[Any]) -> str:
    return ", ".join(map(str, weights)) or "none"


def _fetched(weights: Any) -> Any:
    """The same weights, once they are in torch's cache. Raises MissingData where they cannot be downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    _downloaded(
        str(weights),
        lambda: weights.get_state_dict(progress=False) and nn.Identity(),
        wanted=f"{path.name} in {path.parent}",
        remedy=f"curl -fL --create-dirs -o '{path}' '{weights.url}'",
    )
    return weights


def _torchvision(name: str, *, own: bool, random: bool, classes: int | None, chosen: Any = None) -> Source:
    import torchvision.models as models

    if name not in models.list_models():
        raise _unknown("torchvision", name, models.list_models())
    default = chosen or getattr(models.get_model_weights(name), "DEFAULT", None)
    if own or default is None:
        if not own:
            raise MissingData(f"torchvision has no weights for {name}. Give --weights FILE, or --random-weights")
        torch.manual_seed(0)
        module = models.get_model(name, weights=None, **({"num_classes": classes} if classes else {}))
    else:
        path = Path(torch.hub.get_dir()) / "checkpoints" / default.url.rpartition("/")[2]
        module = _downloaded(
            f"torchvision:{name}",
            lambda: models.get_model(name, weights=default),
            wanted=f"{path.name} in {path.parent}",
            remedy=f"curl -fL --create-dirs -o '{path}' '{default.url}'",
        )
    # Another number of classes is a fine-tuned model: the labels are then the user's.
    labels = tuple(default.meta.get("categories", ())) if default and (random or not own) and not classes else ()
    weights = "random (--random-weights)" if random else f"torchvision's {default}"
    taken = _torchvision_taken(default)
    return Source(what=f"torchvision:{name}", name=plain_name(name), module=module, taken=taken, labels=labels,
                  weights=weights)  # fmt: skip


def _torchvision_taken(weights: Any) -> Taken | None:
    """The preset of a classifier's weights; None for other presets, which do not say a size to cut to."""
    preset = weights.transforms() if weights is not None else None
    if preset is None or not hasattr(preset, "crop_size") or not hasattr(preset, "mean"):
        return None
    (side,), (resize_to,) = preset.crop_size[:1], preset.resize_size[:1]
    return Taken(
        height=side,
        width=side,
        resize_to=resize_to,
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        words=f"the transforms of torchvision's {weights}",
    )


def _timm(name: str, *, own: bool, random: bool, classes: int | None) -> Source:
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingData("timm is not installed. Run: pip install 'edgekit[timm]'") from None
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    torch.manual_seed(0)
    if own:
        module = timm.create_model(name, num_classes=classes) if classes else timm.create_model(name)
    else:
        from huggingface_hub import constants

        repository = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None) or "its own"
        module = _downloaded(
            f"timm:{name}",
            lambda: _from_hub(lambda: timm.create_model(name, pretrained=True)),
            wanted=f"the weights of {repository} in {constants.HF_HUB_CACHE}",
            remedy=f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\"",
        )
    weights = "random (--random-weights)" if random else f"timm's {name}"
    licence = None if own else (getattr(module, "pretrained_cfg", None) or {}).get("license") or None
    return Source(what=f"timm:{name}", name=plain_name(name), module=module, labels=_timm_labels(module),
                  taken=_timm_taken(timm.data.resolve_model_data_config(module)), weights=weights,
                  licence=licence)  # fmt: skip


def _timm_taken(config: Mapping[str, Any]) -> Taken:
    height, width = config["input_size"][1:]
    return Taken(
        height=height,
        width=width,
        resize_to=math.floor(min(height, width) / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        words="timm's data config",
    )


def _timm_labels(module: nn.Module) -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes where timm says that the model was trained on them, else nothing."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    with contextlib.suppress(Exception):  # not every config names a set, and not every set is known to timm
        subset = infer_imagenet_subset(module)
        if subset:
            return tuple(ImageNetInfo(subset).label_descriptions())
    return ()


def _downloaded(what: str, build: Callable[[], nn.Module], *, wanted: str, remedy: str) -> nn.Module:
    """What a library's own call gives, which downloads on first use; else what is missing, where, and what to type."""
    try:
        with impatient():
            return build()
    except Exception as error:  # URLError, HTTPError, RuntimeError for a wrong hash, and a dozen of the hub's own
        raise MissingData(
            f"{what} needs {wanted}, and could not get it ({describe(error)[:200]}). With a network, run:\n"
            f"  {remedy}\nOr give --weights FILE; --random-weights tries the way without"
        ) from None


def _from_hub(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` gives; without a network, what the cache holds: the hub's own client would try for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=10).close()
    except HTTPError:  # somebody answers there
        pass
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        return build()
    finally:
        constants.HF_HUB_OFFLINE = before


def _unknown(library: str, name: str, known: Sequence[str]) -> UsageError:
    close = get_close_matches(name, known, n=5, cutoff=0.4)
    meant = f" Close to it: {', '.join(close)}." if close else ""
    return UsageError(f"{library} has no model {name!r}.{meant} It has {len(known):,}; its documentation lists them")


def plain_name(text: str) -> str:
    """The text as a bundle's name may be: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:60] or "model"
