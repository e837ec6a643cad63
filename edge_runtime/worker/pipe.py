"""Reads a pipe with a deadline: a descriptor that `select` takes, or a thread where it takes only sockets (Windows)."""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time

_PIECE = 1 << 20


class SelectingReader:
    """Waits with `select`, reads in the caller's thread."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def read(self, count: int, deadline: float) -> bytes | None:
        """Up to `count` bytes as they come; b"" at the end of the pipe, None if there are none before `deadline`.

        Args:
            deadline: as `time.monotonic` counts.
        """
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        # os.read and not a buffered reader: select cannot see what sits in a Python buffer.
        return os.read(self._descriptor, min(count, _PIECE)) if ready else None


class ThreadedReader:
    """A thread reads all the time; the caller takes what it has read."""

    def __init__(self, descriptor: int):
        self._pieces: queue.Queue[bytes] = queue.Queue(maxsize=16)
        self._rest = b""
        self._ended = False
        threading.Thread(target=self._fill, args=(descriptor,), name="edgekit-pipe", daemon=True).start()

    def read(self, count: int, deadline: float) -> bytes | None:
        """As `SelectingReader.read`."""
        if not self._rest and not self._ended:
            try:
                self._rest = self._pieces.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                return None
            self._ended = not self._rest
        piece, self._rest = self._rest[:count], self._rest[count:]
        return piece

    def _fill(self, descriptor: int) -> None:
        piece = b"."
        while piece:
            try:
                piece = os.read(descriptor, _PIECE)
            except OSError:  # closed under it
                piece = b""
            self._pieces.put(piece)


PipeReader = ThreadedReader if sys.platform == "win32" else SelectingReader
