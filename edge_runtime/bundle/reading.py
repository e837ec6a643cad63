"""Reads `manifest.json` of every format so far: hostile bytes in, one kind of manifest out, or a refusal."""

from __future__ import annotations

from typing import Any

from ..decode import DecodeError, decode, to_plain
from ..errors import BundleError, shown
from . import format1
from .limits import MAX_MANIFEST_BYTES
from .manifest import FORMAT_VERSION, Manifest
from .sealed import check_limits, check_seal, difference, parse_sealed


def read_manifest(raw: bytes, where: str) -> Manifest:
    """Decodes and checks the bytes of a `manifest.json`; `where` names the bundle in errors.

    Format 2 has one way to write every value, and nothing else is read: writing the manifest again gives these bytes.

    Raises:
        BundleError: not JSON, a newer format, a wrong checksum, a missing, unknown or impossible field.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{where}: manifest.json has {len(raw):,} bytes; at most {MAX_MANIFEST_BYTES:,} are read")
    try:
        data = parse_sealed(raw)
        version = _version(data)
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{where} has bundle format {shown(version, 20)}; this edgekit reads up to {FORMAT_VERSION}. "
                "Upgrade edgekit, or pack the bundle again with this version"
            )
        check_limits(data)
        plain = check_seal(data, raw)
        if version == 1:
            return _format_1(plain)
        manifest = decode(Manifest, plain, whole=True)
        if unlike := difference(plain, to_plain(manifest)):
            raise DecodeError(f"it is not written in the one form of format {version}: {unlike}")
        return manifest
    except DecodeError as error:
        reason = shown(error)
        raise BundleError(f"{where}: manifest.json was refused: {reason}. Fetch or pack the bundle again") from None


def _version(data: dict[str, Any]) -> int:
    version = data.get("format_version")
    if type(version) is not int or version < 1:
        raise DecodeError(f"format_version should be a whole number, 1 or more, found {shown(repr(version), 60)}")
    return version


def _format_1(plain: dict[str, Any]) -> Manifest:
    old = decode(format1.Manifest, plain)
    try:
        return old.upgraded()
    except ValueError as error:  # sizes that format 1 did not limit
        raise DecodeError(str(error)) from None
