"""Compiles the runner, once for each kind, into the user's cache. Knows nothing of bundles."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ...engines.executorch_build import SOURCE as SHIM
from ...engines.executorch_build import find_compiler
from ...errors import EngineError, shown
from ...files import user_cache, write_atomically
from .libraries import Runtime, native

FOLDER = Path(__file__).parent
HEADERS = ("bundle.hpp", "common.hpp", "compare.hpp", "engine.hpp", "json.hpp", "measure.hpp", "picture.hpp")
_ALWAYS = (
    "main.cpp",
    "bundle.cpp",
    "common.cpp",
    "compare.cpp",
    "decode.cpp",
    "engine_onnxruntime.cpp",
    "golden.cpp",
    "json.cpp",
    "measure.cpp",
    "resize.cpp",
)
_AGAINST_EXECUTORCH = ("executorch_shim.cpp", "cast_kernel.cpp")
_BUILD_TIMEOUT_S = 600
_STB = ("/usr/include/stb", "/usr/local/include/stb", "/usr/include", "/usr/local/include", "/opt/homebrew/include/stb")


@dataclass(frozen=True, kw_only=True)
class Build:
    """One kind of runner."""

    device: str
    """What its results say they are of."""
    machine: str
    """The processor: "x86_64" or "aarch64"."""
    executorch: Runtime | None
    """Where the headers and libraries of ExecuTorch are; None for a runner of ONNX files only."""
    libraries: tuple[str, ...] = ()
    """Those of ExecuTorch that are linked, without `lib` and `.so`."""
    own_kernel: bool = False
    """Whether the cast of our own is compiled in."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The files to compile, by name."""
        more = ("engine_executorch.cpp", "executorch_shim.cpp") if self.executorch else ()
        return (*_ALWAYS, *more, *(("cast_kernel.cpp",) if self.own_kernel else ()))

    def flags(self, source: str, package: str, stb: str) -> list[str]:
        """What the compiler is told of a file: only what that file uses, so that builds share what they can.

        Args:
            package: ExecuTorch's folder.
            stb: that of stb_image.h.
        """
        flags = ["-std=c++17", "-O1", "-w"]
        if source == "main.cpp":
            flags.append(f'-DEDGEKIT_DEVICE="{self.device}"')
        if source == "decode.cpp":
            flags.append(f"-I{stb}")
        if self.executorch and source.startswith("engine_"):
            flags.append(f'-DEDGEKIT_EXECUTORCH="{self.executorch.version}"')
        if source in _AGAINST_EXECUTORCH:
            flags += ["-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_USE_THREADPOOL", f"-I{package}/include"]
            flags.append(f"-I{package}/include/executorch/runtime/core/portable_type/c10")
        return flags

    def linking(self, package: str) -> list[str]:
        """What the linker is told."""
        flags = ["-s", "-Wl,-rpath,$ORIGIN/lib"]
        if self.executorch:
            # The linker drops libraries that nothing names, and these register themselves when they are loaded.
            flags += [f"-L{package}/lib", "-Wl,--no-as-needed", *(f"-l{name}" for name in self.libraries)]
        return [*flags, "-ldl"]


def compiler(machine: str) -> list[str] | None:
    """What compiles for this processor here; None where nothing does."""
    if native(machine):
        return find_compiler()
    found = shutil.which(f"{machine}-linux-gnu-g++")
    return [found] if found else None


def compiler_package(machine: str) -> str:
    """What to install where `compiler` finds none."""
    return "g++" if native(machine) else f"g++-{machine.replace('_', '-')}-linux-gnu"


def stb_folder() -> str | None:
    """The folder of stb_image.h, $EDGEKIT_STB before all others; None where it is not installed."""
    chosen = os.environ.get("EDGEKIT_STB")
    places = [chosen] if chosen else _STB
    return next((place for place in places if (Path(place) / "stb_image.h").is_file()), None)


def source_path(name: str) -> Path:
    """Where a source lies."""
    return SHIM if name == SHIM.name else FOLDER / name


def build_line(build: Build) -> str:
    """The compiler's command, for a person who types it in the app's folder; $E is ExecuTorch's folder."""
    every = [flag for source in build.sources for flag in build.flags(source, "$E", "/usr/include/stb")]
    flags = [*dict.fromkeys(every), *build.linking("$E")]
    quoted = [flag if flag.startswith(("-I$E", "-L$E")) else shlex.quote(flag) for flag in flags]
    cut = quoted.index("-s")
    sources = [f"source/{name}" for name in build.sources]
    return " ".join(["g++", *quoted[:cut], *sources, *quoted[cut:], "-o", "edgekit-run"])


def built(build: Build) -> Path:
    """The compiled runner, from the user's cache, where each compiled file is kept for other kinds of runners too.

    Raises:
        EngineError: it did not compile; the compiler's first error is in the text.
    """
    command = compiler(build.machine)
    assert command is not None, "whoever asks has found a compiler"
    package = str(build.executorch.folder) if build.executorch else ""
    stb = stb_folder() or "/usr/include/stb"
    headers = b"".join((FOLDER / name).read_bytes() for name in HEADERS)
    maker = (command, Path(command[0]).resolve().stat().st_mtime_ns)

    def compiled(source: str) -> Path:
        path, flags = source_path(source), build.flags(source, package, stb)
        target = _cache(path.stem, (maker, flags, headers, path.read_bytes()), ".o")
        if not target.is_file():
            _call([*command, "-c", str(path), *flags], target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, build.sources))
    linked = [(Path(package) / "lib" / f"lib{name}.so").stat().st_size for name in build.libraries]
    target = _cache(f"edgekit-run-{build.device}", (maker, build.linking(package), linked, objects), "")
    if not target.is_file():
        _call([*command, *map(str, objects), *build.linking(package)], target)
    target.chmod(0o755)
    return target


def _cache(name: str, made_from: object, suffix: str) -> Path:
    digest = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
    return user_cache() / "native" / f"{name}-{digest}{suffix}"


def _call(command: list[str], target: Path) -> None:
    with write_atomically(target) as part:
        try:
            done = subprocess.run([*command, "-o", str(part)], capture_output=True, timeout=_BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"{command[0]} did not compile the runner within {_BUILD_TIMEOUT_S} s. Try again on a less busy machine"
            ) from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").splitlines()
            errors = [line for line in said if "error" in line or "cannot find" in line] or said
            raise EngineError(f"{command[0]} could not compile the runner: {shown(' | '.join(errors[:2]), 600)}")
