"""What the tests share: the way a user starts the command, and one quickstart that many tests look at."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from warm_command import AT_START, WarmCommand

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each of the workers, and for what they start: threads that wait for a core take ten times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "tests" / "helpers"  # modules that several tests or their child processes import
# 160 columns, so that tables are not folded whatever terminal the tests run in.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"COLUMNS": "164"}

Edgekit = Callable[..., subprocess.CompletedProcess]


def run_edgekit(*arguments: object, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout: float = 400):
    """`edgekit …` in a new process, as a user starts it; stdout and stderr as text."""
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | (env or {})
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


@dataclass(frozen=True)
class Quickstart:
    """A finished `edgekit quickstart`: what it printed and where it left things."""

    stdout: str
    stderr: str
    returncode: int
    bundles: Path
    runs: Path

    def bundle(self, name: str) -> Path:
        return self.bundles / f"digits_cnn-{name}"


@functools.cache
def warm_command() -> WarmCommand:
    """What runs `edgekit …` without importing the libraries anew: one for each of the workers."""
    warm = WarmCommand(ENVIRONMENT | {"PYTHONPATH": str(ROOT)})
    atexit.register(warm.close)
    return warm


def can_be_warm(env: dict[str, str] | None) -> bool:
    """Whether nothing in `env` is read only when a process begins."""
    return hasattr(os, "fork") and not any(name.startswith(AT_START) for name in env or {})


@pytest.fixture(scope="session")
def edgekit() -> Edgekit:
    """`edgekit …` in a process of its own, which finds the libraries imported already where it can."""

    def run(*arguments: object, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout: float = 400):
        if not can_be_warm(env):
            return run_edgekit(*arguments, env=env, cwd=cwd, timeout=timeout)
        around = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | (env or {})
        return warm_command().run(arguments, env=around, cwd=cwd, timeout=timeout)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that look at the quickstart come last: it runs beside the others meanwhile."""
    looking = {item.path for item in items if _looks_at_quickstart(item)}
    items.sort(key=lambda item: item.path in looking)


def _looks_at_quickstart(item: pytest.Item) -> bool:
    return "quickstart" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def quickstart_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one quickstart of all workers is, begun by the first of them as soon as the tests begin."""
    is_worker, base = "PYTEST_XDIST_WORKER" in os.environ, tmp_path_factory.getbasetemp()
    folder = (base.parent if is_worker else base) / "quickstart"
    if any(map(_looks_at_quickstart, request.session.items)):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            owner = os.getppid() if is_worker else os.getpid()
            command = [sys.executable, HELPERS / "noted_run.py", folder / "printed.json", owner, sys.executable, "-m"]
            command += ["edgekit", "quickstart", "--out", folder / "bundles", "--runs", folder / "runs"]
            subprocess.Popen(list(map(str, command)), cwd=ROOT, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)})
    return folder


@pytest.fixture(scope="session")
def quickstart(quickstart_folder: Path) -> Quickstart:
    """A finished `edgekit quickstart`."""
    printed = quickstart_folder / "printed.json"
    while not printed.exists():
        time.sleep(0.2)
    return Quickstart(
        **json.loads(printed.read_text()), bundles=quickstart_folder / "bundles", runs=quickstart_folder / "runs"
    )


@pytest.fixture(scope="session")
def pair_bundles(tmp_path_factory: pytest.TempPathFactory):
    """A model of two inputs and two outputs for batches of 1 to 8, and its bundles by the exporter's name."""
    from pair_model import pair_model, unproven_bundle

    from edgekit.optimize.exporters import EXPORTERS

    # The others compile for half a minute; their own tests do so once.
    names = [name for name, exporter in EXPORTERS.items() if exporter.by_default]
    model, folder = pair_model(max_batch=8), tmp_path_factory.mktemp("pair")
    return model, {name: unproven_bundle(model, name, folder / name) for name in names}


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Where the real data lie, as the product looks for them."""
    return Path(os.environ.get("EDGEKIT_DATA") or Path.home() / ".cache" / "edgekit")
