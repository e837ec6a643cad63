"""JSON on standard output, and nothing else there: what libraries and a user's own code print goes to standard error.

Imports the standard library alone, so that `python -m edgekit.train` needs neither rich nor typer for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from typing import Any, TextIO

_answers: TextIO | None = None
# What a terminal acts on or hides, in a text from a file: the other controls, and marks of direction. JSON escapes only
# those below 0x20.
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def keep_stdout_clean() -> None:
    """From now on standard output is for `print_json` alone, in this process and in those that it starts.

    Native code writes to descriptor 1, whatever Python's `sys.stdout` is, so that leads to standard error as well.
    """
    global _answers
    if _answers is not None or sys.stdout is None:
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a closed one needs no care
        sys.stdout.flush()
        kept = os.dup(sys.stdout.fileno())
        _answers = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        sys.stdout = sys.stderr


def print_json(value: object, *, sort_keys: bool = False) -> None:
    """Prints a machine-readable answer, the only thing on standard output."""
    stream = sys.stdout if _answers is None else _answers
    is_utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    # Escaped where the encoding lacks characters; a replaced one would change the answer.
    text = json.dumps(_finite(value), indent=2, sort_keys=sort_keys, ensure_ascii=not is_utf8, allow_nan=False)
    print(_UNPRINTABLE.sub(_escaped, text), file=stream, flush=True)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def drop() -> None:
    """Takes what is still to be printed to nowhere, once its reader has gone or its disk is full."""
    for stream in (_answers, sys.stdout):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON does not have: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
