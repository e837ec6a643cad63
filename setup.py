"""Maps the four folders at the top of the repository to packages of `edgekit`; all else is in pyproject.toml."""

import tempfile

from setuptools import find_packages, setup

PARTS = ("edge_runtime", "train", "optimize", "demo_app")

# In a folder of its own: setuptools never empties `build/`, and a file that was moved since would go into the wheel.
with tempfile.TemporaryDirectory() as build:
    setup(
        packages=[
            "edgekit",
            *(f"edgekit.{name}" for name in find_packages("edgekit")),
            *(f"edgekit.{part}" for part in PARTS),
            *(f"edgekit.{part}.{name}" for part in PARTS for name in find_packages(part)),
        ],
        package_dir={f"edgekit.{part}": part for part in PARTS},
        options={"build": {"build_base": build}},
    )
