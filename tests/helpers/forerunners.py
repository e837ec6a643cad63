"""The nodule classifiers that the book published in June 2019, before the one it ends with: forms and layer names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from edgekit.train.models.luna_classifier import LunaClassifier


def forerunner(name: Literal["redo", "alternate"]) -> LunaClassifier:
    """The nets, for crops of 24 slices: 221,068 and 111,712 parameters."""
    if name == "redo":
        return LunaClassifier(depth=24)
    return LunaClassifier(((64, 32), (32, 16), (16, 8), (8, 4)), depth=24)


def forerunner_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint, whose layers are numbered in one sequence, with the names that the layers have now."""
    sequence = "convAndPool_seq."
    numbers = dict.fromkeys(
        key.split(".")[1] for key, value in state.items() if key.startswith(sequence) and value.ndim == 5
    )
    names = {f"{sequence}{n}": f"block{i // 2 + 1}.conv{i % 2 + 1}" for i, n in enumerate(numbers)}
    names |= {f"{sequence}0": "tail_batchnorm"} if "0" not in numbers else {"input_batchnorm": "tail_batchnorm"}
    names["fullyConnected_layer"] = "head_linear"
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, what = key.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{what}"] = value
    return renamed
