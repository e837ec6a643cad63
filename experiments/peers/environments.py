"""The virtual environments of the raw libraries: made by uv in the user's cache, each with the packages it names."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from edgekit.edge_runtime.errors import EdgekitError, MissingDependency
from edgekit.edge_runtime.files import user_cache, write_bytes

from .candidates import ENVIRONMENTS, HERE

_TIMEOUT_S = 1800


def python_of(environment: str) -> str:
    """The interpreter of an environment, which is made where it is missing or of other packages; "" for this one.

    Raises:
        MissingDependency: uv is not installed.
        EdgekitError: the packages could not be installed; says why.
    """
    if environment == HERE:
        return ""
    folder = user_cache() / "peers" / environment
    packages, made = list(ENVIRONMENTS[environment]), folder / "edgekit-made.json"
    python = folder / "bin" / "python"
    if python.exists() and made.is_file() and json.loads(made.read_text(encoding="utf-8")) == packages:
        return str(python)
    uv = shutil.which("uv")
    if uv is None:
        raise MissingDependency("uv is not installed, which makes the libraries' environments. Run: pip install uv")
    made.unlink(missing_ok=True)
    _call([uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)], environment)
    _call([uv, "pip", "install", "--quiet", "--python", str(python), *packages], environment)
    write_bytes(made, json.dumps(packages).encode())
    return str(python)


def versions_of(environment: str) -> dict[str, str]:
    """The packages of an environment that are named in `ENVIRONMENTS`, by name."""
    return dict(package.split("==") for package in ENVIRONMENTS.get(environment, ()))


def _call(command: list[str], environment: str) -> None:
    # In a folder without a project of its own: uv would take its settings.
    folder = Path(user_cache())
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        last = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise EdgekitError(f"the environment {environment!r} could not be made: {last}. Mend it, and run again")
