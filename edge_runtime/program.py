"""How a program `python -m …` ends: whatever is expected to go wrong is one line and an exit status, no traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

from .errors import EdgekitError

GOES_ON = "interrupted; the same command goes on"
_P = ParamSpec("_P")


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within it SIGTERM is a KeyboardInterrupt, so that a terminated command cleans up and keeps what it made.

    It would end at once otherwise, and leave temporary folders and child processes behind. Ctrl-C stays as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != owner:  # a forked child, which has nothing to clean up and is ended by its parent
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def program(*, interrupted: str = "interrupted") -> Callable[[Callable[_P, None]], Callable[_P, int]]:
    """Makes of a `main` one that returns its exit status: 0, that of an `EdgekitError`, or 130 after Ctrl-C or SIGTERM.

    Args:
        interrupted: what is said after Ctrl-C; `GOES_ON` where what was finished is kept.
    """

    def made(main: Callable[_P, None]) -> Callable[_P, int]:
        @wraps(main)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
            try:
                with sigterm_interrupts():
                    main(*args, **kwargs)
            except EdgekitError as error:
                print(f"error: {error}", file=sys.stderr)
                return error.exit_status
            except KeyboardInterrupt:
                print(f"error: {interrupted}", file=sys.stderr)
                return 130
            return 0

        return run

    return made
