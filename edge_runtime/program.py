"""How a program `python -m …` ends: whatever is expected to go wrong is one line and an exit status, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from .errors import EdgekitError

GOES_ON = "interrupted; the same command goes on"
_P = ParamSpec("_P")


def program(*, interrupted: str = "interrupted") -> Callable[[Callable[_P, None]], Callable[_P, int]]:
    """Makes of a `main` one that returns its exit status: 0, that of an `EdgekitError`, or 130 after Ctrl-C.

    Args:
        interrupted: what is said after Ctrl-C; `GOES_ON` where what was finished is kept.
    """

    def made(main: Callable[_P, None]) -> Callable[_P, int]:
        @wraps(main)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
            try:
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
