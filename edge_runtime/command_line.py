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


_IN_CHECKOUT = (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "edgekit" / "__init__.py").is_file()
# uv sets this for what `uv run` starts.
_BY_UV = "UV_RUN_RECURSION_DEPTH" in os.environ or (_IN_CHECKOUT and shutil.which("edgekit") is None)

EDGEKIT = "uv run edgekit" if _BY_UV else "edgekit"
"""How the command is called here: the start of every command that a message names."""
PIP = "uv pip" if _BY_UV else "pip"
"""What installs packages here."""


def install(extra: str = "", *, again: bool = False) -> str:
    """The command that installs edgekit with one of its extras; `again`: anew, where what is there is broken."""
    force = ("--reinstall " if _BY_UV else "--force-reinstall ") if again else ""
    name, editable = (".", "-e ") if _IN_CHECKOUT else ("edgekit", "")
    return f"{PIP} install {force}{editable}'{name}[{extra}]'" if extra else f"{PIP} install {force}{editable}{name}"


def command_line(*words: object) -> str:
    """The command with these words, each quoted where a shell would take it apart."""
    texts = list(map(str, words))
    if os.name == "nt":
        from subprocess import list2cmdline  # its import is not free, and other systems quote otherwise

        return f"{EDGEKIT} {list2cmdline(texts)}"
    return f"{EDGEKIT} {shlex.join(texts)}"
