"""The front door: one `edgekit` command. What a verb does is imported only when it is used.

The command itself is built when it is asked for, because `python -m edgekit.train` uses this folder without typer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from edgekit.cli.json_answer import drop, keep_stdout_clean
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import EdgekitError, system_text
from edgekit.edge_runtime.program import sigterm_interrupts, survive_any_encoding
from edgekit.edge_runtime.temporary import sweep_once

if TYPE_CHECKING:
    from .verbs import app

__all__ = ["app", "main"]


def __getattr__(name: str) -> Any:
    if name == "app":
        from .verbs import app

        return app
    raise AttributeError(f"module 'edgekit.cli' has no attribute {name!r}")


def main() -> None:
    """Runs the command. Expected failures are one message and an exit status, never a traceback."""
    survive_any_encoding()
    for name in ("COLUMNS", "LINES"):
        if os.environ.get(name, "").strip("0") == "":  # a terminal of no width, as some editors say, would show nothing
            os.environ.pop(name, None)
    if "--json" in sys.argv[1:]:
        keep_stdout_clean()
    try:
        with sigterm_interrupts():
            sweep_once()  # what a killed command left, also for a verb that makes no temporary folder itself
            from .verbs import app

            app()
    except EdgekitError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _complain(f"this needs {error.name}, which is not installed. Run: {install(extra)}")
        sys.exit(1)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        _leave(1)  # whoever read our output (`| head`) is gone
    except OSError as error:
        # Whoever writes a file names it, so this is about what is printed.
        _complain(system_text(error, unnamed="standard output" if error.errno in (errno.ENOSPC, errno.EIO) else ""))
        _leave(1)


# The extra that a missing package belongs to; "" for the base, which a source checkout without an install may lack.
_EXTRAS = {
    **dict.fromkeys(("numpy", "PIL", "psutil", "rich", "typer"), ""),
    "torch": "optimize",
    "torchvision": "optimize",
    "lightning": "optimize",
    "safetensors": "optimize",
    "sklearn": "optimize",
    "h5py": "optimize",
    "pydicom": "optimize",
    "SimpleITK": "luna",
    "zarr": "luna",
    "ray": "ray",
    "onnx": "optimize",
    "onnxscript": "optimize",
    "torchao": "optimize",
    "executorch": "optimize",
    "matplotlib": "optimize",
    "onnxruntime": "onnx",
    "streamlit": "demo",
    "altair": "demo",
}


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # standard error may be full or closed too
        print(f"error: {message}", file=sys.stderr, flush=True)


def _leave(status: int) -> NoReturn:
    """Ends the program where its output cannot be written: Python would complain again when it flushes at exit."""
    drop()
    sys.exit(status)
