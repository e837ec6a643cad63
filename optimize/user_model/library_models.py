"""Models of torchvision and timm by name, with their weights and what these say of pictures, labels and licence.

Both download on first use; what is missing is told with the place it belongs to and the command that gets it.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import nn

from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import MissingData, UsageError
from edgekit.train.data.download import impatient

from .source import Source, Taken, plain_name
from .user_code import describe


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


def names_of(weights: Sequence[Any]) -> str:
    return ", ".join(map(str, weights)) or "none"


def fetched(weights: Any) -> Any:
    """The same weights, once they are in torch's cache. Raises MissingData where they cannot be downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    _downloaded(
        str(weights),
        lambda: weights.get_state_dict(progress=False) and nn.Identity(),
        wanted=f"{path.name} in {path.parent}",
        remedy=f"curl -fL --create-dirs -o '{path}' '{weights.url}'",
    )
    return weights


def torchvision_source(name: str, *, own: bool, random: bool, classes: int | None, chosen: Any = None) -> Source:
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
    taken = torchvision_taken(default)
    return Source(what=f"torchvision:{name}", name=plain_name(name), module=module, taken=taken, labels=labels,
                  weights=weights)  # fmt: skip


def torchvision_taken(weights: Any) -> Taken | None:
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


def timm_source(name: str, *, own: bool, random: bool, classes: int | None) -> Source:
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingData(f"timm is not installed. Run: {install('timm')}") from None
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
    return Source(what=f"timm:{name}", name=plain_name(name), module=module, labels=timm_labels(module),
                  taken=timm_taken(timm.data.resolve_model_data_config(module)), weights=weights,
                  licence=licence)  # fmt: skip


def timm_taken(config: Mapping[str, Any]) -> Taken:
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


def timm_labels(module: nn.Module) -> tuple[str, ...]:
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
