"""What to type to run our own command, as this machine has it. Messages name commands through this one place.

In a source checkout `edgekit` is not on the path and `uv run edgekit` works; where it is installed it is `edgekit`. The
one that printed a command is the one that runs it.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def _called() -> str:
    if "UV_RUN_RECURSION_DEPTH" in os.environ:  # uv sets it for what `uv run` starts
        return "uv run edgekit"
    in_checkout = (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "edgekit" / "__init__.py").is_file()
    return "uv run edgekit" if in_checkout and shutil.which("edgekit") is None else "edgekit"


EDGEKIT = _called()
"""How the command is called here: the start of every command that a message names."""


def command_line(*words: object) -> str:
    """The command with these words, each quoted where a shell would take it apart."""
    texts = list(map(str, words))
    if os.name == "nt":
        from subprocess import list2cmdline  # its import is not free, and other systems quote otherwise

        return f"{EDGEKIT} {list2cmdline(texts)}"
    return f"{EDGEKIT} {shlex.join(texts)}"
