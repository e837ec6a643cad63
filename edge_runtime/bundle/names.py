"""The names that things in a bundle may have."""

from __future__ import annotations

import re

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "model.sig"  # the name that OpenSSF Model Signing uses; a bundle may lack it

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
PROGRAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def check_file_entry(file: str, size: int, sha256: str) -> None:
    """Raises ValueError unless `file` is a plain name that cannot leave the bundle and size and hash are possible."""
    if not SAFE_NAME.fullmatch(file):
        raise ValueError(f"{file[:80]!r} is not a plain file name; a bundle's files lie beside its manifest")
    if size < 0:
        raise ValueError(f"{file} has a negative size")
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 of {file} is not 64 hexadecimal digits")


def check_tensor_names(names: list[str]) -> None:
    """Raises ValueError unless each is a plain tensor name and no two are the same."""
    if len(set(names)) < len(names) or not all(TENSOR_NAME.fullmatch(name) for name in names):
        raise ValueError(f"tensors should have plain names, each a different one, found {names[:9]}")
