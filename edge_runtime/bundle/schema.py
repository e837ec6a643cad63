"""The JSON Schema (draft 2020-12) of `manifest.json`, made from the dataclasses that decode it, so it cannot drift.

`python -m edgekit.edge_runtime.bundle.schema` writes `manifest_schema.json`, which lies beside this file and in the
wheel. Tools of other languages check manifests with it; on opening, the strict decoder stays the check, and needs no
schema library. What a schema cannot say (checksum and canonical bytes, relations between fields) is in docs/BUNDLE.md.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from ..decode import canonical_json
from ..files import write_bytes
from .manifest import FORMAT_VERSION, MAX_PICTURE_SIDE, MAX_SIDE, SAFE_NAME, SHA256, TENSOR_NAME, Manifest

SCHEMA_FILE = Path(__file__).with_name("manifest_schema.json")

_TYPES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_SHARE = {"minimum": 0, "maximum": 1}
_PICTURE_SIDE = {"minimum": 1, "maximum": MAX_PICTURE_SIDE}


def _whole(pattern: str) -> dict[str, Any]:
    # Python's `$` also stands before a last newline, other dialects' does not; with the look-ahead all agree.
    return {"pattern": f"^{pattern}$" + r"(?!\n)"}


# What `__post_init__` asks of single fields beyond their type, from the same constants.
_BEYOND_TYPES: dict[str, dict[str, Any]] = {
    "Artifact.bytes": {"minimum": 0},
    "Artifact.file": _whole(SAFE_NAME.pattern),
    "Artifact.sha256": _whole(SHA256.pattern),
    "BatchRange.max": {"minimum": 1, "maximum": MAX_SIDE},
    "BatchRange.min": {"minimum": 1, "maximum": MAX_SIDE},
    "Golden.agreement_floor": _SHARE,
    "Golden.bytes": {"minimum": 0},
    "Golden.file": _whole(SAFE_NAME.pattern),
    "Golden.samples": {"minimum": 1},
    "Golden.sha256": _whole(SHA256.pattern),
    "Golden.sqnr_floor_db": {"minimum": 0, "maximum": 200},
    "ImagePreprocessing.height": _PICTURE_SIDE,
    "ImagePreprocessing.resize_to": _PICTURE_SIDE,
    "ImagePreprocessing.width": _PICTURE_SIDE,
    "Manifest.format_version": {"minimum": 1, "maximum": FORMAT_VERSION},
    "Manifest.inputs": {"minItems": 1},
    "Manifest.name": _whole(SAFE_NAME.pattern),
    "Manifest.outputs": {"minItems": 1},
    "TensorSpec.name": _whole(TENSOR_NAME.pattern),
}


def manifest_schema() -> dict[str, Any]:
    """The schema as plain JSON data; every dataclass but `Manifest` itself is in its `$defs`."""
    definitions: dict[str, Any] = {}
    root = _object(Manifest, definitions)
    root["properties"]["sha256"] = {"type": "string", **_whole(SHA256.pattern)}
    root["required"] = sorted([*root["required"], "sha256"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"manifest.json of an edgekit bundle, format {FORMAT_VERSION}",
        **root,
        "$defs": definitions,
    }


def _object(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    return {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
        "additionalProperties": False,
        "required": sorted(f.name for f in fields if f.default is dataclasses.MISSING),
        "properties": {
            f.name: _of(hints[f.name], definitions) | _BEYOND_TYPES.get(f"{cls.__name__}.{f.name}", {}) for f in fields
        },
    }


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        if name not in definitions:
            definitions[name] = {}  # stands for it while its own fields are looked at
            definitions[name] = _object(typing.cast(type, hint), definitions)
        return {"$ref": f"#/$defs/{name}"}
    if origin in (types.UnionType, typing.Union):
        (inner,) = (a for a in arguments if a is not type(None))
        return {"anyOf": [_of(inner, definitions), {"type": "null"}]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _of(arguments[0], definitions) | _item_bounds(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
    return {"type": _TYPES[hint]}


def _item_bounds(hint: Any) -> dict[str, Any]:
    # The only list of numbers in a manifest is a tensor's shape.
    return {"minimum": 1, "maximum": MAX_SIDE} if hint is int else {}


if __name__ == "__main__":
    write_bytes(SCHEMA_FILE, canonical_json(manifest_schema()))
    print(SCHEMA_FILE.name)
