"""What the tests share: the way a user starts the command, and one quickstart that many tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

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
    folder = tmp_path_factory.mktemp("quickstart")
    bundles, runs = folder / "bundles", folder / "runs"
    done = run_edgekit("quickstart", "--out", bundles, "--runs", runs)
    return Quickstart(done.stdout, done.stderr, done.returncode, bundles, runs)


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
