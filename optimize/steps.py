"""What is being done at the moment, said by whoever does it, so that minutes inside a library are not silent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from .events import OnEvent, StepBegun, ignore

_LISTENER: ContextVar[OnEvent] = ContextVar("listener", default=ignore)


def begin(text: str) -> None:
    """Says what is next, as one reads it beside a clock: "lowering for XNNPACK". It lasts until anything else is said.

    Exporters call this between their stages: what they yield comes only when it is done.
    """
    _LISTENER.get()(StepBegun(text=text))


@contextlib.contextmanager
def heard_by(on_event: OnEvent) -> Iterator[None]:
    """Steps that are begun in here are said to `on_event`."""
    token = _LISTENER.set(on_event)
    try:
        yield
    finally:
        _LISTENER.reset(token)
