"""JSON files that carry their own checksum: manifests and attestations. Knows bytes and lines, not what they say.

The bytes are canonical, and `sha256` is the hash of the canonical bytes of everything else. In the file it is one line
of its own, so a reader in any language takes that line out, hashes the rest and compares; it formats no number.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ..decode import DecodeError, canonical_json, parse_json
from .limits import JSON_LIMITS


def sealed(plain: dict[str, Any]) -> bytes:
    """The exact bytes of a file that says `plain`, checksum included. Raises DecodeError on what JSON cannot say."""
    return canonical_json(plain | {"sha256": _checksum(plain)})


def parse_sealed(raw: bytes) -> dict[str, Any]:
    """What a sealed file says, its checksum among it and not yet compared. Raises DecodeError on what is no object."""
    data = parse_json(raw, JSON_LIMITS)
    if not isinstance(data, dict):
        raise DecodeError("it is not a JSON object")
    return data


def check_seal(data: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """What `parse_sealed` gave, less the checksum, after it was found to fit. Raises DecodeError."""
    plain = {key: value for key, value in data.items() if key != "sha256"}
    checksum = data.get("sha256")
    # Canonical bytes and not just equal content: white space and key order are covered as well.
    if checksum != _checksum(plain) or canonical_json(data) != raw:
        raise DecodeError("its checksum does not match its content: the file was changed after it was written")
    return plain


def first_difference(raw: bytes, wanted: bytes) -> str:
    """Where bytes that say the same are not written the same: the first line of `raw` that is another in `wanted`."""
    lines, due = raw.decode().splitlines(), wanted.decode().splitlines()
    for i, line in enumerate(lines):
        if i >= len(due) or line != due[i]:
            return f"line {i + 1} is {line.strip()[:60]!r}, canonical is {due[i].strip()[:60] if i < len(due) else ''!r}"
    return f"line {len(lines) + 1} is missing"


def _checksum(plain: dict[str, Any]) -> str:
    try:
        return hashlib.sha256(canonical_json(plain)).hexdigest()
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError: half of a surrogate pair is JSON
        raise DecodeError(f"not canonical: {error}") from None
