"""How a program `python -m …` ends: an expected failure is one line and an exit status, not a traceback."""

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

from .errors import EdgekitError, system_text

GOES_ON = "interrupted. Run the same command again to continue"
# The characters beyond ASCII in our tables and sentences, for a terminal that has none of them.
_PLAIN = str.maketrans(
    {"✓": "ok", "✗": "x", "≥": ">=", "≤": "<=", "→": "->", "×": "x", "·": "-", "…": "...", "µ": "u", "–": "-", "—": "-"}
    | {"Δ": "d", "±": "+-", "²": "2", "’": "'", "“": '"', "”": '"', "█": "#", "▏": "|", "░": "."}
)
_P = ParamSpec("_P")


def survive_any_encoding() -> None:
    """Makes standard output and error replace what their encoding lacks: with plain characters, else escaped.

    Otherwise a terminal with `LC_ALL=C` or Latin-1 would end a command that did its work with a traceback.
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
    """Turns SIGTERM into a KeyboardInterrupt, so that a terminated command cleans up and keeps what it made.

    Otherwise it would end at once, and leave temporary folders and child processes behind. Ctrl-C works as always.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != owner:  # a forked child has nothing to clean up, and its parent ends it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    # Windows has SIGBREAK for what a parent or Ctrl-Break asks; SIGTERM is never sent there.
    numbers = [signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def program(*, interrupted: str = "interrupted") -> Callable[[Callable[_P, None]], Callable[_P, int]]:
    """Makes `main` return its exit status: 0, that of an `EdgekitError`, or 130 after Ctrl-C or SIGTERM.

    Args:
        interrupted: the message after Ctrl-C; `GOES_ON` if the finished work is kept.
    """

    def wrap(main: Callable[_P, None]) -> Callable[_P, int]:
        @wraps(main)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
            survive_any_encoding()
            try:
                with sigterm_interrupts():
                    main(*args, **kwargs)
            except EdgekitError as error:
                print(f"error: {error}", file=sys.stderr)
                return error.exit_status
            except OSError as error:
                print(f"error: {system_text(error)}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                print(f"error: {interrupted}", file=sys.stderr)
                return 130
            return 0

        return run

    return wrap
