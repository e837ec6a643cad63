"""Temporary folders that do not outlive the process they belong to, not even where it was killed.

A folder is locked as long as a process lives that holds its descriptor. Whoever makes the next one removes those that
nobody locks any more, unless they are so young that their maker may not have locked them yet and still lives (its mark
is in the name). Knows nothing about what is in them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from .locking import is_ours, lock_folder
from .owner import is_gone, mark

PREFIX = "edgekit-process-"
YOUNG_S = 60.0  # younger folders of processes that may live are left alone: one just made is not locked yet


class LockedFolder:
    """A temporary folder of this user alone, removed by `remove`, at exit, or by a later process after a kill.

    `path` is where it is; `descriptor` holds its lock, and a child that inherits it keeps the folder as well.
    """

    def __init__(self) -> None:
        sweep_once()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{mark()}-"))
        self.descriptor = lock_folder(self.path)
        self._finalizer = weakref.finalize(self, _remove, self.path, self.descriptor, os.getpid())

    def remove(self) -> None:
        """Removes the folder with all that is in it; again does nothing."""
        self._finalizer()

    def __enter__(self) -> LockedFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """The path of a `LockedFolder`, which is removed at the end of the block."""
    with LockedFolder() as folder:
        yield folder.path


def _remove(path: Path, descriptor: int, owner: int) -> None:
    if os.getpid() == owner:  # a fork of the owner, which ends before it, leaves the folder alone
        if not hasattr(os, "O_DIRECTORY"):  # the descriptor is of a file inside, which Windows would not let go
            os.close(descriptor)
        shutil.rmtree(path, ignore_errors=True)
        if hasattr(os, "O_DIRECTORY"):
            os.close(descriptor)


@functools.cache
def sweep_once() -> None:
    """`sweep`, the first time that it is called."""
    sweep()


def sweep() -> None:
    """Removes this user's folders that no process locks any more."""
    try:
        folders = list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    except OSError:  # a system without a place for temporary files: whoever needs one will say so
        return
    for path in folders:
        with contextlib.suppress(OSError):  # locked, another user's, or gone meanwhile
            about = path.lstat()
            is_young = time.time() - about.st_mtime < YOUNG_S
            if not is_ours(about.st_uid) or (is_young and not is_gone(path.name)):
                continue
            _remove(path, lock_folder(path), os.getpid())
