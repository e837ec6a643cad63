"""ExecuTorch programs (`.pte`): decides which of two runtimes runs them and knows neither from inside.

The native one (`executorch_native`) is the C++ runtime of a device and needs no torch. Where it cannot be built, the
Python one (`executorch_python`) runs instead, and the session's version says so and why. The environment variable
EDGEKIT_EXECUTORCH=native or =python asks for one of them by name; then nothing else is tried.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from ..bundle.manifest import Manifest
from ..errors import EngineError, MissingDependency, unknown
from . import Session, executorch_native

VARIABLE = "EDGEKIT_EXECUTORCH"


def _native(path: Path, manifest: Manifest, num_threads: int) -> Session:
    return executorch_native.open_session(path, manifest, num_threads)


def _python(why: str = "") -> Callable[[Path, Manifest, int], Session]:
    # Imports torch. A missing package is named by whoever asked for this engine.
    from . import executorch_python

    def open_python(path: Path, manifest: Manifest, num_threads: int) -> Session:
        session = executorch_python.open_session(path, manifest, num_threads)
        if why:
            session.version = session.version.replace("Python runtime", f"Python runtime: {why}")
        return session

    return open_python


def _choose() -> Callable[[Path, Manifest, int], Session]:
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "native", "python"):
        raise unknown(VARIABLE, asked, ["native", "python"])
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
            warnings.warn(f"ExecuTorch runs through its Python runtime: {error}", RuntimeWarning, stacklevel=2)
            reason = "the native one could not be built"
    if asked:
        raise MissingDependency(f"{VARIABLE}=native, but {reason}. Unset it to use the Python runtime")
    return _python(reason)


# Decided, built and loaded when the engine is imported, so that the time to load a model is that of the model.
open_session = _choose()
