"""JSON to frozen dataclasses, strictly: every field checked, nothing extra, nothing guessed.

A field with a default may be missing, so that files written before the field existed can still be read. A field whose
metadata says `left_out` is not written while it has its default, so that files without it keep their bytes.

A manifest comes from another machine. It is decoded field by field against the dataclass's type hints, and the first
field that does not fit is named by its path (`artifact.bytes`). This module knows nothing about what it decodes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


class DecodeError(ValueError):
    """The JSON does not fit the dataclass. The text names the field."""


def canonical_json(value: object) -> bytes:
    """The only way to write this value: sorted keys, two-space indent, UTF-8, a newline at the end, no NaN."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def parse_json(raw: bytes) -> Any:
    """Parses UTF-8 JSON. Raises `DecodeError` on anything else, NaN and deep nesting included."""

    def refuse(constant: str) -> None:
        raise DecodeError(f"{constant} is not JSON")

    try:
        return json.loads(raw.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not valid JSON: {error}") from None


def to_plain(value: object) -> Any:
    """A dataclass tree as dicts, lists and scalars, ready for `canonical_json`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {f.name: to_plain(v) for f, v in fields if not (f.metadata.get("left_out") and v == f.default)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def decode(cls: type[T], data: object, where: str = "") -> T:
    """Builds the dataclass `cls` from parsed JSON. Raises `DecodeError`, which names the field that does not fit."""
    return typing.cast(T, _value(cls, data, where))


def _value(hint: Any, data: object, where: str) -> object:
    if hint is Any:  # whoever asks for it checks it
        return data
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), data, where)
    if origin in (types.UnionType, typing.Union):
        if data is None and type(None) in arguments:
            return None
        (inner,) = (a for a in arguments if a is not type(None))
        return _value(inner, data, where)
    if origin is typing.Literal:
        if data not in arguments or isinstance(data, bool) != isinstance(arguments[0], bool):
            raise _wrong(where, f"one of {', '.join(map(repr, arguments))}", data)
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise _wrong(where, "a list", data)
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, dict):
            raise _wrong(where, "an object", data)
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            data = float(data)
        except OverflowError:  # JSON allows 400 digits
            raise _wrong(where, "a number", data) from None
    if type(data) is not hint or (isinstance(data, float) and not math.isfinite(data)):
        raise _wrong(
            where, {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}[hint], data
        )
    return data


def _dataclass(cls: type, data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise _wrong(where, "an object", data)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    optional = {f.name for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    prefix = f"{where}." if where else ""
    for name in names:
        if name not in data and name not in optional:
            raise DecodeError(f"{prefix}{name} is missing")
    for name in data:
        if name not in names:
            raise DecodeError(f"{prefix}{name} is not a known field")
    values = {name: _value(hints[name], data[name], f"{prefix}{name}") for name in names if name in data}
    try:
        return cls(**values)
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(f"{where or 'the manifest'}: {error}") from None


def _wrong(where: str, expected: str, value: object) -> DecodeError:
    # A whole number with thousands of digits has no repr.
    text = repr(value)[:60] if not isinstance(value, int) or value.bit_length() < 4096 else "a huge number"
    return DecodeError(f"{where or 'the manifest'} should be {expected}, found {text}")
