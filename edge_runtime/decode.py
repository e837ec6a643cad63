"""JSON to frozen dataclasses, strictly: every field checked, nothing extra, nothing guessed.

A field with a default may be missing, so that files written before the field existed can still be read. A field whose
metadata says `left_out` is not written while it has its default, so that files without it keep their bytes. Where a
file is read `whole`, only those may be missing.


A manifest comes from another machine. Its depth and lengths are checked before anything is built. Then it is decoded
field by field against the dataclass's type hints, and the first field that does not fit is named by its path
(`artifact.bytes`). `least` and `most` in a field's metadata bound a list. This module knows nothing about what it
decodes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


# A text without an end counts as well, so that no place is searched twice.
_TEXT_IN_JSON = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")


class DecodeError(ValueError):
    """The JSON does not fit the dataclass. The text names the field."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much JSON a file may hold."""

    depth: int
    """Brackets inside brackets."""
    commas: int
    """Commas outside of texts: so many values, and one more for each list and object, are built at most."""
    items: int
    """Entries of a list."""
    fields: int
    """Fields of an object."""
    text: int
    """Characters of a text."""
    key: int
    """Characters of a field's name."""


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


def check_size(raw: bytes, limits: Limits) -> None:
    """Raises `DecodeError` where JSON is nested too deep or holds too much, before anything is built of it."""
    # What stands in a text does not count. What is not JSON is left to the parser, which goes no deeper than this.
    bare = _TEXT_IN_JSON.sub(b"", raw)
    if bare.count(b",") > limits.commas:
        raise DecodeError(f"it holds more than {limits.commas:,} values")
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limits.depth:
            raise DecodeError(f"it is nested more than {limits.depth} deep")


def check_lengths(value: object, limits: Limits, where: str = "") -> None:
    """Raises `DecodeError` where parsed JSON has a list, an object or a text that is too long."""
    if isinstance(value, str) and len(value) > limits.text:
        raise DecodeError(f"{where} has {len(value):,} characters; at most {limits.text:,} are read")
    if isinstance(value, list):
        if len(value) > limits.items:
            raise DecodeError(f"{where} has {len(value):,} entries; at most {limits.items:,} are read")
        for i, item in enumerate(value):
            if not isinstance(item, str) or len(item) > limits.text:  # its path is built only if needed
                check_lengths(item, limits, f"{where}[{i}]")
    if isinstance(value, dict):
        if len(value) > limits.fields:
            raise DecodeError(f"{where or 'it'} has {len(value):,} fields; at most {limits.fields:,} are read")
        for key, item in value.items():
            if len(key) > limits.key:
                raise DecodeError(f"{where or 'it'} has a field whose name has {len(key):,} characters")
            check_lengths(item, limits, f"{where}.{key}" if where else key)


def to_plain(value: object) -> Any:
    """A dataclass tree as dicts, lists and scalars, ready for `canonical_json`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {f.name: to_plain(v) for f, v in fields if not (f.metadata.get("left_out") and v == f.default)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    for plain in (str, int, float):  # numpy's float64 is a float, and torch's version a text
        if isinstance(value, plain) and not isinstance(value, bool):
            return plain(value)
    return value


def decode(cls: type[T], data: object, where: str = "", *, whole: bool = False) -> T:
    """Builds the dataclass `cls` from parsed JSON. Raises `DecodeError`, which names the field that does not fit.

    Args:
        whole: a field may be missing only if it is left out when it is written, not just because it has a default.
    """
    return typing.cast(T, _value(cls, data, where, whole))


def _value(hint: Any, data: object, where: str, whole: bool) -> object:
    if hint is Any:  # whoever asks for it checks it
        return data
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), data, where, whole)
    if origin in (types.UnionType, typing.Union):
        if data is None and type(None) in arguments:
            return None
        (inner,) = (a for a in arguments if a is not type(None))
        return _value(inner, data, where, whole)
    if origin is typing.Literal:
        if data not in arguments or isinstance(data, bool) != isinstance(arguments[0], bool):
            raise _wrong(where, f"one of {', '.join(map(repr, arguments))}", data)
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise _wrong(where, "a list", data)
        return tuple(_value(arguments[0], item, f"{where}[{i}]", whole) for i, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, dict):
            raise _wrong(where, "an object", data)
        return {key: _value(arguments[1], item, f"{where}.{key}", whole) for key, item in data.items()}
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


def _dataclass(cls: type, data: object, where: str, whole: bool) -> object:
    if not isinstance(data, dict):
        raise _wrong(where, "an object", data)
    hints, fields = _hints(cls), dataclasses.fields(cls)
    names = {f.name for f in fields}
    prefix = f"{where}." if where else ""
    for f in fields:
        if f.name not in data and not may_be_missing(f, whole=whole):
            raise DecodeError(f"{prefix}{f.name} is missing")
    for name in data:
        if name not in names:
            raise DecodeError(f"{prefix}{name} is not a known field")
    values = {}
    for f in fields:
        if f.name in data:
            _check_count(f, data[f.name], f"{prefix}{f.name}")
            values[f.name] = _value(hints[f.name], data[f.name], f"{prefix}{f.name}", whole)
    try:
        return cls(**values)
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(f"{where or 'the manifest'}: {error}") from None


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # which evaluates each of them again


def may_be_missing(field: dataclasses.Field[Any], *, whole: bool) -> bool:
    """Whether JSON may lack this field: it has a default and, if read `whole`, is left out while it has it."""
    has_default = field.default is not dataclasses.MISSING
    return has_default and (not whole or bool(field.metadata.get("left_out")))


def _check_count(field: dataclasses.Field[Any], value: object, where: str) -> None:
    least, most = field.metadata.get("least", 0), field.metadata.get("most", math.inf)
    if isinstance(value, (list, dict)) and not least <= len(value) <= most:
        bounds = f"{least} to {most}" if most < math.inf else f"at least {least}"
        raise DecodeError(f"{where} should have {bounds} entries, found {len(value):,}")


def _wrong(where: str, expected: str, value: object) -> DecodeError:
    # A whole number with thousands of digits has no repr.
    text = repr(value)[:60] if not isinstance(value, int) or value.bit_length() < 4096 else "a huge number"
    return DecodeError(f"{where or 'the manifest'} should be {expected}, found {text}")
