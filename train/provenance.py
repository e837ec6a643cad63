"""Where a run's numbers come from: versions, device and commit. Knows nothing about models."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("torch", "torchvision", "lightning", "numpy", "scikit-learn", "safetensors", "edgekit")


def versions() -> dict[str, str]:
    """The version of Python, and of each installed package that training uses."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:  # edgekit itself, when it is run from source
            continue
    return installed


def device_name(device: torch.device) -> str:
    """For a person: "cuda: NVIDIA H100", "cpu, 1 thread"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads != 1)}" if device.type == "cpu" else device.type


@functools.cache
def commit() -> str | None:
    """The git commit that this source was checked out from, "-dirty" if it was changed; None outside a checkout.

    Looked up once: the code that runs is the code that was loaded, whatever is checked out later. An installed copy may
    lie inside somebody else's checkout, so the repository's root has to be ours.
    """
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
