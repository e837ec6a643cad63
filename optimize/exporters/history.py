"""What torch keeps of each node's past, which no exporter reads: kept once, not copied in every pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.fx import traceback


@contextlib.contextmanager
def shared_history() -> Iterator[None]:
    """In here a node's history (`torch.fx.traceback.NodeSource`) is not copied together with the node.

    Every pass copies the histories of all nodes, each with those before it, nested ever deeper. Nothing changes a
    history once it is written, so the copies may be one and the same. Does nothing where torch has none.
    """
    record: Any = getattr(traceback, "NodeSource", None)
    if record is None or "__deepcopy__" in vars(record):
        yield
        return
    record.__deepcopy__ = lambda self, memo: self
    try:
        yield
    finally:
        del record.__deepcopy__
