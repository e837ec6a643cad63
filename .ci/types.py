"""Runs mypy over the source checkout, whose folders at the top are packages of `edgekit`.

mypy knows no import hook, so it reads a folder of links in which the four parts lie inside `edgekit`, as in a wheel.
"""

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
        link.unlink()
    for name, path in wanted.items():
        (package / name).symlink_to(path)
    experiments = place / "experiments"
    experiments.unlink(missing_ok=True)
    experiments.symlink_to(ROOT / "experiments")
    return place


if __name__ == "__main__":
    place = linked(ROOT / "build" / "types")
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    sys.exit(subprocess.call([sys.executable, "-m", "mypy", *config, "edgekit", "experiments"], cwd=place))
