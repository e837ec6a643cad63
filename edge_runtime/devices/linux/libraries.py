"""Where the runtimes' libraries and headers are: in the packages installed here, or, for another processor, in wheels
that are fetched once, by their hash, into the user's cache. Compiles nothing.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ...command_line import install
from ...engines.executorch_build import package_folder, version_of
from ...errors import MissingDependency, shown
from ...files import folder_atomically, user_cache
from ...temporary import temporary_folder

_FETCH_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A package for another processor, of which only libraries and headers are used."""

    package: str
    """Its name."""
    version: str
    """Its version."""
    sha256: str
    """Of the file."""
    keep: re.Pattern[str]
    """The names inside that are used."""


_EXECUTORCH = re.compile(r"executorch/(include/.*|lib/lib[a-z_]+\.so|lib/cmake/.*|share/cmake/.*|version\.py)")
_ONNXRUNTIME = re.compile(r"onnxruntime/capi/libonnxruntime\.so\.[0-9.]+")
# What `pip download` gives for manylinux_2_28_aarch64. The Python in the name does not matter: none is run.
ARM64 = {
    "executorch": Wheel(
        package="executorch",
        version="1.5.1",
        sha256="8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a",
        keep=_EXECUTORCH,
    ),
    "onnxruntime": Wheel(
        package="onnxruntime",
        version="1.32.0",
        sha256="2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        keep=_ONNXRUNTIME,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime's files for one processor."""

    version: str
    """Of the package."""
    folder: Path
    """The package's folder."""


def native(machine: str) -> bool:
    """Whether programs for this processor ("x86_64", "aarch64") run here."""
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return sys.platform == "linux" and here == machine


def executorch(machine: str) -> Runtime:
    """ExecuTorch's headers and libraries. Raises MissingDependency."""
    if native(machine):
        package = package_folder()
        return Runtime(version=version_of(package), folder=package)
    return _fetched("executorch", machine)


def onnxruntime(machine: str) -> Runtime:
    """ONNX Runtime's library. Raises MissingDependency."""
    if not native(machine):
        return _fetched("onnxruntime", machine)
    spec = importlib.util.find_spec("onnxruntime")
    for folder in (spec and spec.submodule_search_locations) or ():
        if library := next((Path(folder) / "capi").glob("libonnxruntime.so.*"), None):
            return Runtime(version=library.name.removeprefix("libonnxruntime.so."), folder=Path(folder))
    raise MissingDependency(f"onnxruntime is not installed. Run: {install('onnx')}")


def onnxruntime_library(runtime: Runtime) -> Path:
    """Its shared library."""
    return runtime.folder / "capi" / f"libonnxruntime.so.{runtime.version}"


def _fetched(package: str, machine: str) -> Runtime:
    if machine != "aarch64":
        raise MissingDependency(f"an app for {machine} is made on such a machine: its libraries come with {package}")
    wheel = ARM64[package]
    folder = user_cache() / "wheels" / f"{package}-{wheel.version}-{machine}-{wheel.sha256[:12]}"
    if not folder.is_dir():
        _fetch(wheel, machine, folder)
    return Runtime(version=wheel.version, folder=folder / package)


def _fetch(wheel: Wheel, machine: str, target: Path) -> None:
    pip = _pip()
    with temporary_folder() as temporary:
        wanted = temporary / "wanted.txt"
        wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
        # The hash is checked by pip, and nothing of the package is run.
        options = ("--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--dest", str(temporary))
        command = [*pip, "download", "--quiet", *options, "--platform", f"manylinux_2_28_{machine}", "-r", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=_FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise MissingDependency(
                f"{wheel.package} {wheel.version} for {machine} did not arrive within {_FETCH_TIMEOUT_S} s. Try again"
            ) from None
        found = list(temporary.glob("*.whl"))
        if done.returncode or len(found) != 1:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
            raise MissingDependency(
                f"{wheel.package} {wheel.version} for {machine} could not be fetched: {shown(said[-1])}. Check pip's "
                "connection, and try again"
            )
        with folder_atomically(target, replace=True) as staging, zipfile.ZipFile(found[0]) as archive:
            archive.extractall(staging, [name for name in archive.namelist() if wheel.keep.fullmatch(name)])


def _pip() -> list[str]:
    if found := shutil.which("pip") or shutil.which("pip3"):
        return [found]
    if found := shutil.which("uvx"):
        return [found, "pip"]
    raise MissingDependency("pip is needed to fetch the libraries for another processor. Install pip, or uv")
