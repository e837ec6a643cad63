"""ExecuTorch programs (`.pte`): chooses which of two runtimes runs them, and knows nothing about how they work.

The native one (`executorch_native`) is the C++ runtime that devices use, and needs no torch. Where it cannot be built,
the Python one (`executorch_python`) runs instead, and the session's version says why. The environment variable
EDGEKIT_EXECUTORCH=native or =python asks for one of them by name; then the other is not tried.
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path

from ..bundle.manifest import Manifest
from ..errors import EngineError, MissingDependency, unknown
from . import executorch_native
from .engine import OpenSession, Options, Session
from .executorch_build import neither, package_folder

VARIABLE = "EDGEKIT_EXECUTORCH"


def _native(path: Path, manifest: Manifest, options: Options) -> Session:
    return executorch_native.open_session(path, manifest, options)


def _python(why: str = "") -> OpenSession:
    try:
        from . import executorch_python  # imports torch
    except ModuleNotFoundError as error:
        if error.name != "torch":  # whoever asked for this engine names what is missing
            raise
        raise neither(why or f"{VARIABLE}=python is set") from None
    return partial(executorch_python.open_session, why=why)


def _choose() -> OpenSession:
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "native", "python"):
        raise unknown(VARIABLE, asked, ["native", "python"])
    try:
        package_folder()
    except MissingDependency:  # without it there is nothing to choose from; whoever asked for this engine names it
        raise ModuleNotFoundError("No module named 'executorch'", name="executorch") from None
    if asked == "python":
        return _python()
    reason = executorch_native.missing()
    if reason is None:
        try:
            executorch_native.prepare()
            return _native
        except EngineError as error:
            if asked:
                raise
            warnings.warn(f"ExecuTorch falls back on its Python runtime: {error}", RuntimeWarning, stacklevel=2)
            reason = "the native one could not be built"
    if asked:
        raise MissingDependency(f"{VARIABLE}=native is set, but {reason}. Unset it to use the Python runtime")
    return _python(reason)


# Chosen, built and loaded when the engine is imported, so that the load time of a model is the model's own.
open_session = _choose()
