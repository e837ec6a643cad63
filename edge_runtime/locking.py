"""Locks on files and folders that end with the process that holds them, in each system's own way."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .errors import UsageError

_FILE = ".lock"  # in a folder, where a folder itself cannot be opened
# How systems say that another process has a lock.
_HELD = (errno.EACCES, errno.EDEADLK) if sys.platform == "win32" else (errno.EWOULDBLOCK, errno.EAGAIN)


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


@contextlib.contextmanager
def alone_in(folder: Path, *, make: bool = True) -> Iterator[None]:
    """Keeps other processes of ours out of a folder for as long as the block lasts.

    Where a folder cannot be locked, as on some network disks, the block runs all the same: who writes into it says what
    is wrong.

    Args:
        make: makes the folder where it is missing, and removes it again if nothing came into it.

    Raises:
        UsageError: another process works in it.
    """
    descriptor = None
    make = make and not folder.exists()
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = lock_folder(folder.resolve())
    except OSError as error:
        if error.errno in _HELD:
            raise UsageError(
                f"another process works in {folder}, and two would mix their files. Wait for it, stop it, or give "
                "another --runs"
            ) from None
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
        if make:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()


def is_ours(owner: int) -> bool:
    """Whether a file of this owner (`st_uid`) is this user's; where files have no such owner, all count as ours."""
    return not hasattr(os, "getuid") or owner == os.getuid()
