"""The JSON Schemas (draft 2020-12) of manifests and attestations, made from the dataclasses that decode them.

`python -m edgekit.edge_runtime.bundle.schema` writes `manifest_schema.json` (format 2), `manifest_schema_1.json` and
`attestation_schema.json` beside this file; they are in the wheel too. They are for tools in other languages: opening a
bundle uses the strict decoder and needs no schema library. What a schema cannot express (checksum and canonical bytes,
relations between fields) is in docs/BUNDLE.md.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..decode import canonical_json, may_be_missing
from ..files import write_bytes
from . import format1, limits, manifest, names
from .attestation import MOMENT, Attestation
from .verdict import MAX_SAMPLES

HERE = Path(__file__).parent

_LIMITS = limits.JSON_LIMITS
_TYPES: dict[type, str] = {int: "integer", float: "number", bool: "boolean"}
_SHARE = {"minimum": 0, "maximum": 1}
_COUNT = {"minimum": 0}
_SAMPLES = {"minimum": 0, "maximum": MAX_SAMPLES}
_COUNTED = ("samples", "groups", "unlabelled", "lost", "won", "flips", "needed", "needed_unlabelled")
_PICTURE_SIDE = {"minimum": 1, "maximum": limits.MAX_PICTURE_SIDE}
_SIDE = {"minimum": 1, "maximum": limits.MAX_SIDE}


def _whole(pattern: str) -> dict[str, Any]:
    # Python's `$` also stands before a last newline, other dialects' does not; with the look-ahead all agree.
    return {"pattern": f"^{pattern}$" + r"(?!\n)"}


_NAME, _HASH = _whole(names.SAFE_NAME.pattern), _whole(names.SHA256.pattern)
_FILE = {"bytes": {"minimum": 0, "maximum": limits.MAX_FILE_BYTES}, "file": _NAME, "sha256": _HASH}

# What `__post_init__` asks of single fields beyond their type, from the same constants.
_PICTURES = {
    "ImagePreprocessing.height": _PICTURE_SIDE,
    "ImagePreprocessing.resize_to": _PICTURE_SIDE,
    "ImagePreprocessing.width": _PICTURE_SIDE,
}
_FORMAT_1: dict[str, dict[str, Any]] = _PICTURES | {
    **{f"Artifact.{key}": bound for key, bound in _FILE.items()},
    "BatchRange.max": _SIDE,
    "BatchRange.min": _SIDE,
    **{f"Golden.{key}": bound for key, bound in _FILE.items()},
    "Golden.agreement_floor": _SHARE,
    "Golden.samples": {"minimum": 1},
    "Golden.sqnr_floor_db": {"minimum": 0, "maximum": 200},
    "Manifest.format_version": {"minimum": 1, "maximum": 1},
    "Manifest.inputs": {"minItems": 1},
    "Manifest.name": _NAME,
    "Manifest.outputs": {"minItems": 1},
    "TensorSpec.name": _whole(names.TENSOR_NAME.pattern),
    "TensorSpec.shape": {"items": {"type": "integer", **_SIDE}},
}
_FORMAT_2: dict[str, dict[str, Any]] = _PICTURES | {
    **{f"Artifact.{key}": bound for key, bound in _FILE.items()},
    "BatchRange.max": _SIDE,
    "BatchRange.min": _SIDE,
    "EngineRun.name": _NAME,
    "Floor.agreement": _SHARE,
    "Floor.max_abs": {"minimum": 0, "exclusiveMaximum": sys.float_info.max},
    "Floor.sqnr_db": {"minimum": 0, "maximum": 200},
    **{f"Golden.{key}": bound for key, bound in _FILE.items()},
    "Golden.replay": {"enum": ["by_output"]},
    "Golden.samples": {"minimum": 1, "maximum": MAX_SAMPLES},
    "Manifest.format_version": {"minimum": 2, "maximum": manifest.FORMAT_VERSION},
    "Manifest.name": _NAME,
    "Metric.agreement": _SHARE,
    "Metric.samples": _SAMPLES,
    "OutputSpec.name": _whole(names.TENSOR_NAME.pattern),
    "OutputSpec.shape": {"items": {"type": "integer", **_SIDE}, "minItems": 1},
    "Program.name": _whole(names.PROGRAM_NAME.pattern),
    "Program.requires": {"propertyNames": _NAME},
    "StageResult.agreement": _SHARE,
    "StageResult.max_abs": _COUNT,
    "StageResult.relative": _COUNT,
    "StageResult.sqnr_db": {"minimum": -200, "maximum": 200},
    "TensorSpec.name": _whole(names.TENSOR_NAME.pattern),
    "TensorSpec.shape": {"items": {"type": "integer", **_SIDE}, "minItems": 1},
    "Suppression.iou_threshold": _SHARE,
    "Suppression.max_detections": {"minimum": 1, "maximum": limits.MAX_DETECTIONS},
    "Suppression.score_threshold": _SHARE,
    "Verdict.budget": _COUNT,
    **dict.fromkeys((f"Verdict.{name}" for name in _COUNTED), _SAMPLES),
}
_ATTESTATION: dict[str, dict[str, Any]] = {
    "Attestation.when": _whole(MOMENT.pattern),
    "Attestation.attestation_version": {"minimum": 1, "maximum": 1},
    "Attestation.bundle": _NAME,
    "Attestation.manifest_sha256": _HASH,
    "Device.num_threads": {"minimum": 1, "maximum": 65_536},
    "OutputResult.agreement": _SHARE,
    "OutputResult.max_abs": _COUNT,
    "OutputResult.output": _whole(f"({names.TENSOR_NAME.pattern})?"),
    "OutputResult.program": _whole(names.PROGRAM_NAME.pattern),
    "OutputResult.samples": {"minimum": 1, "maximum": MAX_SAMPLES},
    "OutputResult.sqnr_db": {"minimum": -200, "maximum": 200},
}


def manifest_schema(version: int = manifest.FORMAT_VERSION) -> dict[str, Any]:
    """The schema of a format as plain JSON data; every dataclass but `Manifest` itself is in its `$defs`."""
    if version == 1:
        return _Schema(_FORMAT_1, whole=False).of(format1.Manifest, "manifest.json of an edgekit bundle, format 1")
    title = f"manifest.json of an edgekit bundle, format {version}"
    return _Schema(_FORMAT_2, whole=True).of(manifest.Manifest, title)


def attestation_schema() -> dict[str, Any]:
    """The same for an attestation."""
    return _Schema(_ATTESTATION, whole=True).of(Attestation, "An attestation of an edgekit bundle's replay, version 1")


FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "manifest_schema.json": manifest_schema,
    "manifest_schema_1.json": lambda: manifest_schema(1),
    "attestation_schema.json": attestation_schema,
}


class _Schema:
    """Builds one schema: `beyond` bounds single fields; `whole` as in `decode`."""

    def __init__(self, beyond: dict[str, dict[str, Any]], *, whole: bool):
        self._beyond, self._whole = beyond, whole
        self._definitions: dict[str, Any] = {}

    def of(self, cls: type, title: str) -> dict[str, Any]:
        root = self._object(cls)
        root["properties"]["sha256"] = {"type": "string", **_HASH}
        root["required"] = sorted([*root["required"], "sha256"])
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
            **root,
            "$defs": self._definitions,
        }

    def _object(self, cls: type) -> dict[str, Any]:
        hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
        return {
            "type": "object",
            "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
            "additionalProperties": False,
            "required": sorted(f.name for f in fields if not may_be_missing(f, whole=self._whole)),
            "properties": {f.name: self._field(cls, f, hints[f.name]) for f in fields},
        }

    def _field(self, cls: type, field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
        found = self._of(hint) | self._beyond.get(f"{cls.__name__}.{field.name}", {})
        least, most = field.metadata.get("least"), field.metadata.get("most")
        words = ("minProperties", "maxProperties") if typing.get_origin(hint) is dict else ("minItems", "maxItems")
        bounds = zip(words, (least, most), strict=True)
        return found | {word: bound for word, bound in bounds if bound is not None}

    def _of(self, hint: Any) -> dict[str, Any]:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if dataclasses.is_dataclass(hint):
            name = typing.cast(type, hint).__name__
            if name not in self._definitions:
                self._definitions[name] = {}  # stands for it while its own fields are looked at
                self._definitions[name] = self._object(typing.cast(type, hint))
            return {"$ref": f"#/$defs/{name}"}
        if origin in (types.UnionType, typing.Union):
            (inner,) = (a for a in arguments if a is not type(None))
            return {"anyOf": [self._of(inner), {"type": "null"}]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin is tuple:
            return {"type": "array", "items": self._of(arguments[0]), "maxItems": _LIMITS.items}
        if origin is dict:
            names = {"maxLength": _LIMITS.key}
            return {
                "type": "object",
                "additionalProperties": self._of(arguments[1]),
                "maxProperties": _LIMITS.fields,
                "propertyNames": names,
            }
        return {"type": "string", "maxLength": _LIMITS.text} if hint is str else {"type": _TYPES[hint]}


if __name__ == "__main__":
    for name, made in FILES.items():
        write_bytes(HERE / name, canonical_json(made()))
        print(name)
