"""Locks on files and folders that end with the process that holds them, in each system's own way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_FILE = ".lock"  # in a folder, where a folder itself cannot be opened


def lock(descriptor: int) -> None:
    """Locks an open file at once. Raises OSError where another process has the lock."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_folder(path: Path) -> int:
    """A descriptor that holds the lock of a folder. Raises OSError where another process has that, or for a link."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    else:
        descriptor = os.open(path / _FILE, os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_ours(owner: int) -> bool:
    """Whether a file of this owner (`st_uid`) is this user's; where files have no such owner, all count as ours."""
    return not hasattr(os, "getuid") or owner == os.getuid()
