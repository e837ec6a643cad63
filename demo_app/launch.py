"""Starts the app's server, for this machine only, and ends it. Knows nothing about what the app shows.

Streamlit runs in a process of its own, since it takes over the main thread and the signals.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import threading
import time
import tomllib
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekit.edge_runtime.bundle.bundle import find_bundles
from edgekit.edge_runtime.command_line import EDGEKIT, install
from edgekit.edge_runtime.errors import BundleError, EdgekitError, MissingDependency, UsageError
from edgekit.edge_runtime.python_child import PythonChild

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
KEY_WORD = "--key="  # before the key's path, among the words that the app is given
_APP = Path(__file__).resolve().parent / "app.py"
_CONFIG = _APP.parent / ".streamlit" / "config.toml"


def launch(
    bundles: Path,
    *,
    port: int | None = None,
    open_browser: bool = True,
    allow: Sequence[str] = (),
    key: Path | None = None,
) -> None:
    """Serves the demo for a folder of bundles until Ctrl-C or SIGTERM. Prints the address once the server answers.

    Args:
        port: on 127.0.0.1, the only address it serves; None takes a free one.
        allow: formats that may run code from their files; other bundles that would run code are not offered.
        key: the public key that bundles must be signed for; others are not offered.
    Raises:
        BundleError: there is no such folder, or no bundle in it.
        MissingDependency: streamlit is not installed.
        UsageError: the port is in use or impossible.
        EdgekitError: the server ended on its own.
    """
    if not find_bundles(bundles):
        raise BundleError(f"no bundles in {bundles}. `{EDGEKIT} quickstart` makes some in bundles/")
    if importlib.util.find_spec("streamlit") is None:
        raise MissingDependency(f"the demo needs streamlit, which is not installed. Run: {install('demo')}")
    port = _free_port() if port is None else _checked_port(port)
    url = f"http://{HOST}:{port}"
    words = [*([] if key is None else [f"{KEY_WORD}{key.resolve()}"]), *allow]
    with _server(Path(bundles), port, words) as process:
        _wait_until_up(process, port)
        print(f"The demo is at {url}   (press Ctrl-C to end it)", flush=True)
        if open_browser:
            webbrowser.open(url)
        process.wait()
        raise EdgekitError(
            f"the demo's server ended with status {process.returncode}; its messages are above. Start it again"
        )


@contextlib.contextmanager
def _server(bundles: Path, port: int, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The running server; Ctrl-C and SIGTERM end the block quietly, and nothing is left behind."""
    child = PythonChild(
        "streamlit",
        ["run", str(_APP), f"--server.port={port}", *_stated_settings(), "--", str(bundles.resolve()), *words],
        # A visitor's STREAMLIT_* variables name further settings; so does .streamlit/ in their current folder.
        environment={name: value for name, value in os.environ.items() if not name.startswith("STREAMLIT_")},
        in_own_folder=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Streamlit's banner; errors go to stderr
    )
    try:
        with _signals_interrupt():
            yield child.process
    except KeyboardInterrupt:
        print("\nThe demo has ended.", flush=True)
    finally:
        child.end(grace_s=10)


def _stated_settings() -> list[str]:
    """The settings of the config file but the theme, as flags: these outrank the file in the user's home as well."""
    sections = tomllib.loads(_CONFIG.read_text(encoding="utf-8"))
    stated = []
    for section in sections.keys() - {"theme"}:
        for name, value in sections[section].items():
            for one in value if isinstance(value, list) else [value]:
                stated.append(f"--{section}.{name}={str(one).lower() if isinstance(one, bool) else one}")
    return sorted(stated)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Makes SIGTERM a KeyboardInterrupt too, since a terminated command would otherwise leave its server running.

    Sets SIGINT as well, since children that a script starts in the background ignore it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EdgekitError(
                f"the demo's server ended with status {process.returncode} before it answered; its messages are above. "
                f"If streamlit is damaged, run: {install('demo', again=True)}"
            )
        if _healthy(port):
            return
        time.sleep(0.1)
    raise EdgekitError(
        f"the demo's server did not answer on {HOST}:{port} within {START_TIMEOUT_S:.0f} s and was ended. Try again "
        "when the machine is less busy"
    )


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _checked_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise UsageError(f"--port should be a number from 1 to 65535, found {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself binds
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} on {HOST} cannot be used: {error.strerror}. Give another --port, or leave it out"
            ) from None
    return port
