"""What the tests share: the way a user starts the command, and one quickstart that many tests look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each of the workers, and for what they start: threads that wait for a core take ten times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "tests" / "helpers"  # modules that several tests or their child processes import
# 160 columns, so that tables are not folded whatever terminal the tests run in.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"COLUMNS": "164"}

Edgekit = Callable[..., subprocess.CompletedProcess]


def run_edgekit(*arguments: object, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout: float = 400):
    """`edgekit …` in a process of its own; stdout and stderr as text."""
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


@pytest.fixture(scope="session")
def edgekit() -> Edgekit:
    return run_edgekit


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    """One for all workers: the first that asks runs it, the others wait for what it printed."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "quickstart"
    bundles, runs, printed = folder / "bundles", folder / "runs", folder / "printed.json"
    try:
        folder.mkdir()
    except FileExistsError:
        while not printed.exists():
            time.sleep(0.2)
    else:
        done = run_edgekit("quickstart", "--out", bundles, "--runs", runs)
        text = json.dumps({"stdout": done.stdout, "stderr": done.stderr, "returncode": done.returncode})
        printed.with_suffix(".part").write_text(text)
        printed.with_suffix(".part").rename(printed)
    return Quickstart(**json.loads(printed.read_text()), bundles=bundles, runs=runs)


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
