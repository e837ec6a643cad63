"""`edgekit …` in a process of its own that need not import torch first: a fork of one that has.

Importing torch and what lowers programs takes 4 to 10 s, and the tests start the command some two hundred times. The
server imports libraries only, nothing of edgekit, and runs nothing with them; each command is a fork that goes on as
`python -m edgekit` begins. Run as a program, this file is the server.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

# What the verbs that make bundles import, of other people's. Without one of them a fork imports it itself. Not among
# them: rich and typer, which look at the terminal when they are imported, and onnxruntime, whose thread no fork has.
LIBRARIES = (
    "numpy", "PIL.Image", "torch", "torchvision", "torch.export", "torch.onnx", "torch._inductor.lowering",
    "torch.utils.tensorboard", "lightning.fabric", "sklearn.datasets", "scipy.stats", "safetensors.torch", "onnx",
    "onnxscript", "torchao.quantization.pt2e.quantize_pt2e",
    "executorch.backends.xnnpack.partition.xnnpack_partitioner",
    "executorch.backends.xnnpack.quantizer.xnnpack_quantizer", "executorch.devtools.backend_debug",
    "matplotlib.figure", "h5py", "pydicom",
)  # fmt: skip
# What Python, OpenMP, a library or the loader reads when a process begins or imports it, so that no fork could obey it.
AT_START = ("PYTHON", "OMP_", "MKL_", "KMP_", "LD_", "LC_", "LANG", "MALLOC", "TORCH", "MPL", "TMPDIR")


class WarmCommand:
    """Starts the server when the first command is run; `close` ends it."""

    def __init__(self, around: dict[str, str]):
        """`around` is the environment of the server, in which `edgekit` is found."""
        self._around = around
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, arguments: Sequence[object], *, env: dict[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run(..., capture_output=True, text=True)` of the command. Raises TimeoutExpired."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "stdout", Path(folder) / "stderr"
            server = self._ask(arguments, env, cwd, timeout, str(out), str(err))
            status, words = self._answer(server), ["edgekit", *map(str, arguments)]
            if status == TIMED_OUT:
                raise subprocess.TimeoutExpired(words, timeout, out.read_bytes(), err.read_bytes())
            texts = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
            return subprocess.CompletedProcess(words, status, *texts)

    def run_in_terminal(
        self, arguments: Sequence[object], terminal: str, read: Callable[[], bytes], *, env: dict[str, str], cwd: Path,
        timeout: float,
    ) -> tuple[bytes, int]:  # fmt: skip
        """What the command wrote to the terminal device of this path, and its status. Raises TimeoutExpired.

        `read` waits for no more than a moment, and gives what was written since.
        """
        server = self._ask(arguments, env, cwd, timeout, terminal, terminal)
        said = b""
        while not select.select([server.stdout], [], [], 0)[0]:
            said += read()
        status = self._answer(server)
        while rest := read():
            said += rest
        if status == TIMED_OUT:
            raise subprocess.TimeoutExpired(["edgekit", *map(str, arguments)], timeout, said)
        return said, status

    def close(self) -> None:
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            self._server.wait(30)
        self._server = None

    def _ask(
        self, arguments: Sequence[object], env: dict[str, str], cwd: Path, timeout: float, out: str, err: str
    ) -> subprocess.Popen[str]:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, __file__], env=self._around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        asked = {"arguments": list(map(str, arguments)), "env": env, "cwd": str(cwd), "timeout": timeout}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(asked | {"out": out, "err": err}) + "\n")
        self._server.stdin.flush()
        return self._server

    def _answer(self, server: subprocess.Popen[str]) -> int:
        assert server.stdout is not None
        return int(server.stdout.readline())


TIMED_OUT = 1000


def serve() -> dict | None:
    """Forks for each line on stdin. Returns in the fork, with what it is to run, and at the end of stdin with None."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError), contextlib.redirect_stderr(None):
            importlib.import_module(name)
    gc.freeze()  # else the first collection in each fork would write to, and so copy, every object
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            return asked
        print(_ended(child, asked["timeout"]), flush=True)
    return None


def _ended(child: int, timeout: float) -> int:
    """The status that `subprocess` would give, or TIMED_OUT."""
    fired = False

    def kill(*_: object) -> None:
        nonlocal fired
        fired = True
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return TIMED_OUT if fired else os.waitstatus_to_exitcode(status)


def become(asked: dict) -> None:
    """Turns a fork into the command, as far as a new process would differ from it."""
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        with open(asked[name], "wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["edgekit", *asked["arguments"]]
    sys.path[0] = asked["cwd"]  # where `python -m` puts it


def finish(error: BaseException | None) -> None:
    """Ends a fork as Python ends, but takes nothing apart, which would copy every page of the libraries."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error.code, int | None):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__" and (order := serve()) is not None:
    ended: BaseException | None = None
    try:
        become(order)
        runpy.run_module("edgekit", run_name="__main__", alter_sys=True)
    except BaseException as error:
        ended = error
    finish(ended)
