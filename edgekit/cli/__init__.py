"""The front door: one `edgekit` command. What a verb does is imported only when it is used.

The command itself is built when it is asked for, because `python -m edgekit.train` uses this folder without typer.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from edgekit.edge_runtime.errors import EdgekitError
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
        what = f"edgekit[{extra}]" if extra else "edgekit"
        _complain(f"this needs {error.name}, which is not installed. Run: pip install '{what}'")
        sys.exit(1)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output (`| head`) is gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{place}")
        sys.exit(1)


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
    print(f"error: {message}", file=sys.stderr)
