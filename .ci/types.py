"""Runs mypy over the source checkout, whose folders at the top are packages of `edgekit`.

mypy knows no import hook, so it reads a folder of links in which the four parts lie inside `edgekit`, as in a wheel.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("edge_runtime", "train", "optimize", "demo_app")


def linked(place: Path) -> Path:
    """Links to the source under `place`, as an installed copy is laid out."""
    package = place / "edgekit"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in (ROOT / "edgekit").iterdir() if path.name != "__pycache__"}
    wanted |= {part: ROOT / part for part in PARTS}
    for link in package.iterdir():
        _remove(link)
    for name, path in wanted.items():
        _show(path, package / name)
    experiments = place / "experiments"
    _remove(experiments)
    _show(ROOT / "experiments", experiments)
    return place


def _show(path: Path, at: Path) -> None:
    """A link, or a copy where the system allows no links, as Windows does to most."""
    try:
        at.symlink_to(path)
    except OSError:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, at)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    place = linked(ROOT / "build" / "types")
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    sys.exit(subprocess.call([sys.executable, "-m", "mypy", *config, "edgekit", "experiments"], cwd=place))
