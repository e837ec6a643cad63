"""What native code writes to standard error, caught, so that its reason becomes part of a message of ours."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()  # standard error belongs to the whole process
_MOST_BYTES = 65_536


@contextlib.contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Yields a list that holds, once the block has ended, the lines that were written to standard error within it.

    Only for short calls of a library that says its reasons there: what other threads write meanwhile is caught too.
    """
    lines: list[str] = []
    with _LOCK, contextlib.ExitStack() as opened:
        try:
            kept = os.dup(2)
        except OSError:  # a process without standard error has nothing to catch
            yield lines
            return
        opened.callback(os.close, kept)
        try:
            file = opened.enter_context(tempfile.TemporaryFile())
        except OSError:  # nowhere to keep them: they are dropped
            file = opened.enter_context(open(os.devnull, "r+b"))
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            file.seek(0)
            lines += file.read(_MOST_BYTES).decode(errors="replace").splitlines()
