"""How a program `python -m …` ends: whatever is expected to go wrong is one line and an exit status, no traceback."""

from __future__ import annotations

import codecs
import io
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
# What the tables and sentences hold beyond ASCII, in the letters of a terminal that has no others.
_PLAIN = str.maketrans(
    {"✓": "ok", "✗": "x", "≥": ">=", "≤": "<=", "→": "->", "×": "x", "·": "-", "…": "...", "µ": "u", "–": "-", "—": "-"}
    | {"Δ": "d", "±": "+-", "²": "2", "’": "'", "“": '"', "”": '"', "█": "#", "▏": "|", "░": "."}
)
_P = ParamSpec("_P")


def survive_any_encoding() -> None:
    """Makes standard output and error print whatever their encoding cannot: in plain letters, else escaped.

    A terminal under `LC_ALL=C`, or one of Latin-1, would otherwise end a command that did its work in a traceback.
    """
    codecs.register_error("edgekit", _in_plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="edgekit")


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode(error.encoding, "backslashreplace").decode(error.encoding), error.end


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
