"""Compiles `executorch_shim.cpp` against the installed executorch package, once, into the user's cache.

Reads the package's files and never imports it, since its Python half needs torch. Knows nothing of what the shim does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import sys
from pathlib import Path

from ..command_line import install
from ..errors import EngineError, MissingDependency, NoHome, shown
from ..files import user_cache, write_atomically
from ..locking import is_ours

SOURCE = Path(__file__).with_name("executorch_shim.cpp")
BUILD_TIMEOUT_S = 300
_COMPILERS = ("clang++", "c++", "g++") if sys.platform == "darwin" else ("g++", "clang++", "c++")
_SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
# Always all kernels: the two libraries add 1.2 MB and 1.5 ms to a start, and most programs have an operator or two
# outside the delegate.
_LIBRARIES = (
    "executorch",
    "executorch_backend_xnnpack",
    "executorch_kernels_optimized",
    "executorch_kernels_quantized",
    "executorch_threadpool",
)


def missing() -> str | None:
    """Why programs cannot run natively here, in a few words; None where the shim is built or can be."""
    try:
        package = package_folder()
    except MissingDependency:
        return "executorch is not installed"
    if sys.platform not in ("linux", "darwin"):
        return "the native runtime is built by g++ or clang++, on Linux and macOS"
    wanted = [package / "include" / "executorch", *(package / "lib" / _library(name) for name in _LIBRARIES)]
    if absent := [path.name for path in wanted if not path.exists()]:
        return f"executorch {version_of(package)} lacks {', '.join(absent)}"
    try:
        if _built(package) is None and find_compiler() is None:
            chosen = os.environ.get("CXX")
            unfit = f"CXX names no C++ compiler that is there ({shown(chosen, 80)})"
            return unfit if chosen else "there is no C++ compiler"
    except NoHome:
        return "there is no home folder to build in, and XDG_CACHE_HOME is not set"
    return None


def neither(why: str) -> MissingDependency:
    """The error where the native runtime cannot be built and the Python one lacks its torch.

    Args:
        why: what `missing` answered.
    """
    remedy = f"Install torch, which takes 0.5 GB and more: {install('torch')}"
    if "=python" in why:
        remedy = f"Unset that. {remedy.replace('Install', 'Or install', 1)}"
    if "compiler" in why:
        remedy = (
            "Install g++ or clang++, or set CXX to your compiler, or copy edgekit's native folder in the user's cache "
            f"from a machine of the same kind. {remedy.replace('Install', 'Or install', 1)}"
        )
    return MissingDependency(
        f"ExecuTorch cannot run natively here: {why}. Its Python runtime needs torch, which is not installed. {remedy}"
    )


def build(source: Path = SOURCE) -> Path:
    """The compiled shim in the user's cache. Compiles it if there is none for this executorch and this compiler.

    Args:
        source: a file beside the shim that includes it, to be compiled instead.
    Raises:
        MissingDependency: executorch or a C++ compiler is not installed.
        EngineError: it did not compile; the compiler's first error is in the text.
    """
    package = package_folder()
    if reason := missing():
        remedy = "Install g++ or set CXX to your compiler" if "compiler" in reason else "Use the Python runtime"
        raise MissingDependency(f"ExecuTorch cannot run natively here: {reason}. {remedy}")
    library = _built(package, source)
    if library is None:
        library = _cache() / _file_name(package, find_compiler(), source)
        _compile(package, source, library)
    return library


def _compile(package: Path, source: Path, target: Path) -> None:
    import subprocess  # only the first use on a machine needs it

    command = [*(find_compiler() or []), str(source), *_flags(package)]
    try:
        with write_atomically(target) as part:
            done = subprocess.run([*command, "-o", str(part)], capture_output=True, timeout=BUILD_TIMEOUT_S)
            if done.returncode:
                said = done.stderr.decode(errors="replace").splitlines()
                errors = [line for line in said if "error" in line] or said
                raise EngineError(
                    f"{command[0]} could not compile {source.name}: {' | '.join(errors[:2])}. Try another CXX"
                )
    except OSError as error:
        raise EngineError(
            f"cannot write the ExecuTorch shim to {target.parent}: {error}. Free space there, or set XDG_CACHE_HOME"
        ) from None
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"{command[0]} did not compile {source.name} within {BUILD_TIMEOUT_S} s. Try again on a less busy machine"
        ) from None


def _flags(package: Path) -> list[str]:
    include, libraries = package / "include", package / "lib"
    on_mac = sys.platform == "darwin"
    # The linker of Linux drops libraries that nothing names, and these register their kernels when they are loaded.
    keep = [] if on_mac else ["-Wl,--no-as-needed"]
    return [
        *("-std=c++17", "-O2", "-w", "-dynamiclib" if on_mac else "-shared", "-fPIC", "-fvisibility=hidden"),
        *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_USE_THREADPOOL"),
        *(f"-I{include}", f"-I{include}/executorch/runtime/core/portable_type/c10"),
        *(f"-L{libraries}", f"-Wl,-rpath,{libraries}", *keep, *(f"-l{name}" for name in _LIBRARIES)),
    ]


def _built(package: Path, source: Path = SOURCE) -> Path | None:
    compiler = find_compiler()
    if compiler is not None:
        candidates = [_cache() / _file_name(package, compiler, source)]
    else:  # an image whose compiler was removed after the build keeps working
        candidates = sorted(_cache().glob(_file_name(package, None, source)))
    # A library is code, so one that another user could have put there is not loaded.
    mine = (path for path in candidates if path.is_file() and (is_ours(owner := path.stat().st_uid) or owner == 0))
    return next(mine, None)


def _file_name(package: Path, compiler: list[str] | None, source: Path) -> str:
    """The source's name, a digest of what it was made from, and one of the compiler: `*` where there is none."""
    library = (package / "lib" / _library("executorch")).stat()
    sources = SOURCE.read_bytes() if source == SOURCE else SOURCE.read_bytes() + source.read_bytes()
    made_from = (sources, _flags(package), library.st_size, library.st_mtime_ns, platform.machine())
    maker = "*"
    if compiler is not None:
        # Its file stands for its version: asking the compiler would take a process at every start.
        program = Path(compiler[0]).resolve()
        maker = _digest(compiler, program, program.stat().st_size, program.stat().st_mtime_ns)
    return f"{source.stem}-{version_of(package)}-{_digest(*made_from)}-{maker}{_SUFFIX}"


def _library(name: str) -> str:
    return f"lib{name}{_SUFFIX}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _cache() -> Path:
    return user_cache() / "native"


def find_compiler() -> list[str] | None:
    """$CXX if it is set, else the first compiler on the path, with its full path; None where there is none."""
    chosen = os.environ.get("CXX")
    for candidate in [chosen] if chosen else _COMPILERS:
        words = shlex.split(candidate)
        if words and (program := shutil.which(words[0])):
            return [program, *words[1:]]
    return None


def package_folder() -> Path:
    """The folder of the installed executorch, without importing it."""
    spec = importlib.util.find_spec("executorch")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "version.py").is_file():
            return Path(folder)
    raise MissingDependency(f"executorch is not installed. Run: {install('executorch')}")


def version_of(package: Path) -> str:
    # Read from the file, because importing importlib.metadata would add 14 ms to a cold start.
    match = re.search(r"__version__ = \"([^\"+]+)", (package / "version.py").read_text(encoding="utf-8"))
    return match[1] if match else "of unknown version"
