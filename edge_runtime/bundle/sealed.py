"""JSON files that carry their own checksum: manifests and attestations. Knows bytes and lines, not what they say.

The bytes are canonical, and `sha256` is the hash of the canonical bytes of everything else. In the file it is one line
of its own, so a reader in any language takes that line out, hashes the rest and compares. It never formats a number.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..decode import DecodeError, canonical_json, check_lengths, check_size, parse_json
from .limits import JSON_LIMITS


def sealed(plain: dict[str, Any]) -> bytes:
    """The exact bytes of a file with this content, checksum included. Raises DecodeError if JSON cannot express it."""
    return _canonical(plain | {"sha256": hashlib.sha256(_canonical(plain)).hexdigest()})


def parse_sealed(raw: bytes) -> dict[str, Any]:
    """The content of a sealed file and its checksum. Raises DecodeError on anything else.

    Neither the checksum nor the lengths are checked yet: a newer version may allow more, and should be named.
    """
    check_size(raw, JSON_LIMITS)
    data = parse_json(raw)
    if not isinstance(data, dict):
        raise DecodeError("it is not a JSON object")
    return data


def check_limits(data: dict[str, Any]) -> None:
    """Raises DecodeError where a list, an object or a text is longer than this version allows."""
    check_lengths(data, JSON_LIMITS)


def check_seal(data: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """The content without the checksum, which was checked. Raises DecodeError if it does not match."""
    checksum = data.get("sha256")
    line = f'  "sha256": "{checksum}",\n'.encode(errors="replace")
    before, found, after = raw.partition(b"\n" + line)
    # Canonical bytes and not just equal content: white space and key order are covered as well.
    if not found or hashlib.sha256(before + b"\n" + after).hexdigest() != checksum or _canonical(data) != raw:
        raise DecodeError("its checksum does not match its content: the file was changed after it was written")
    return {key: value for key, value in data.items() if key != "sha256"}


def difference(found: object, due: object, where: str = "") -> str:
    """The first place where JSON differs from what would be written, number types included; "" if there is none."""
    if type(found) is not type(due):
        return f"{where} is {_short(found)}, written {_short(due)}"
    if isinstance(found, dict) and isinstance(due, dict):
        if surplus := sorted(found.keys() - due.keys()):
            return f"{where}.{surplus[0]} is left out while it is {_short(found[surplus[0]])}"
        pairs = ((key, found.get(key), value) for key, value in due.items())
        inner = (difference(here, there, f"{where}.{key}" if where else key) for key, here, there in pairs)
        return next(filter(None, inner), "")
    if isinstance(found, list) and isinstance(due, list) and len(found) == len(due):
        if found == due and all(type(item) is str for item in found):
            return ""
        inner = (difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(found, due, strict=True)))
        return next(filter(None, inner), "")
    return "" if found == due else f"{where} is {_short(found)}, written {_short(due)}"


def _short(value: object) -> str:
    return json.dumps(value)[:60]


def _canonical(plain: dict[str, Any]) -> bytes:
    try:
        return canonical_json(plain)
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError: half of a surrogate pair is JSON
        raise DecodeError(f"not canonical: {error}") from None
