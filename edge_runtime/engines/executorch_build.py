"""Compiles `executorch_shim.cpp` against the installed executorch package, once, into the user's cache.

The package is looked at as files and never imported: its Python half needs torch. This module knows nothing of what
the shim does.
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

from ..errors import EngineError, MissingDependency
from ..files import user_cache, write_atomically

SOURCE = Path(__file__).with_name("executorch_shim.cpp")
BUILD_TIMEOUT_S = 300
_COMPILERS = ("g++", "clang++", "c++")
# All kernels, always: the two libraries cost a start 1.2 MB and 1.5 ms, and most programs keep an operator or two
# outside the delegate.
_LIBRARIES = (
    "executorch",
    "executorch_backend_xnnpack",
    "executorch_kernels_optimized",
    "executorch_kernels_quantized",
    "executorch_threadpool",
)


def missing() -> str | None:
    """What keeps programs from running natively here, in a few words; None when the shim is built or can be."""
    try:
        package = package_folder()
    except MissingDependency:
        return "executorch is not installed"
    if sys.platform != "linux":
        return "only tried on Linux so far"
    wanted = [package / "include" / "executorch", *(package / "lib" / f"lib{name}.so" for name in _LIBRARIES)]
    if absent := [path.name for path in wanted if not path.exists()]:
        return f"executorch {version_of(package)} came without {', '.join(absent)}"
    try:
        if _built(package) is None and find_compiler() is None:
            return "no C++ compiler"
    except RuntimeError:  # from pathlib: a container's user may have none
        return "no home folder to build in, and no XDG_CACHE_HOME"
    return None


def build(source: Path = SOURCE) -> Path:
    """The compiled shim in the user's cache; compiles it where there is none for this executorch and this compiler.

    Args:
        source: another file beside the shim that includes it and is to be loaded in its place.
    Raises:
        MissingDependency: executorch or a C++ compiler is not installed.
        EngineError: it did not compile; the compiler's first error is in the text.
    """
    package = package_folder()
    if reason := missing():
        remedy = "Install g++ or set CXX to your compiler" if "compiler" in reason else "Use the Python runtime"
        raise MissingDependency(f"ExecuTorch cannot be used without torch here: {reason}. {remedy}")
    found = _built(package, source)
    if found is None:
        found = _cache() / _file_name(package, find_compiler(), source)
        _compile(package, source, found)
    return found


def _compile(package: Path, source: Path, target: Path) -> None:
    import subprocess  # only the first use on a machine pays for it

    command = [*(find_compiler() or []), str(source), *_flags(package)]
    try:
        with write_atomically(target) as part:
            done = subprocess.run([*command, "-o", str(part)], capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
                raise EngineError(f"{command[0]} could not compile {source.name}: {' | '.join(errors[:2])}")
    except OSError as error:
        raise EngineError(f"the ExecuTorch shim could not be written to {target.parent}: {error}") from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} did not finish {source.name} within {BUILD_TIMEOUT_S} s") from None


def _flags(package: Path) -> list[str]:
    include, libraries = package / "include", package / "lib"
    return [
        *("-std=c++17", "-O2", "-w", "-shared", "-fPIC", "-fvisibility=hidden"),
        *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_USE_THREADPOOL"),
        *(f"-I{include}", f"-I{include}/executorch/runtime/core/portable_type/c10"),
        *(f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-Wl,--no-as-needed", *(f"-l{name}" for name in _LIBRARIES)),
    ]


def _built(package: Path, source: Path = SOURCE) -> Path | None:
    compiler = find_compiler()
    if compiler is not None:
        found = [_cache() / _file_name(package, compiler, source)]
    else:  # an image whose compiler was removed after the build keeps working
        found = sorted(_cache().glob(_file_name(package, None, source)))
    # A library is code: one that somebody else could have put there is not loaded.
    return next((path for path in found if path.is_file() and path.stat().st_uid in (os.getuid(), 0)), None)


def _file_name(package: Path, compiler: list[str] | None, source: Path) -> str:
    """The source's name + what it was made from + what made it. A `*` stands for the maker where there is none."""
    library = (package / "lib" / "libexecutorch.so").stat()
    sources = SOURCE.read_bytes() if source == SOURCE else SOURCE.read_bytes() + source.read_bytes()
    made_from = (sources, _flags(package), library.st_size, library.st_mtime_ns, platform.machine())
    maker = "*"
    if compiler is not None:
        # Its file stands for its version: to ask it would cost each start of a program a process.
        program = Path(compiler[0]).resolve()
        maker = _digest(compiler, program, program.stat().st_size, program.stat().st_mtime_ns)
    return f"{source.stem}-{version_of(package)}-{_digest(*made_from)}-{maker}.so"


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _cache() -> Path:
    return user_cache() / "native"


def find_compiler() -> list[str] | None:
    """$CXX where it is set, else the first compiler on the path, with its full name; None when there is none."""
    chosen = os.environ.get("CXX")
    for candidate in [chosen] if chosen else _COMPILERS:
        words = shlex.split(candidate)
        if words and (program := shutil.which(words[0])):
            return [program, *words[1:]]
    return None


def package_folder() -> Path:
    """The folder of the installed executorch, which is not imported."""
    spec = importlib.util.find_spec("executorch")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "version.py").is_file():
            return Path(folder)
    raise MissingDependency("executorch is not installed. Run: pip install 'edgekit[executorch]'")


def version_of(package: Path) -> str:
    # Read from the file and not through importlib.metadata, whose import costs a cold start 14 ms.
    found = re.search(r"__version__ = \"([^\"+]+)", (package / "version.py").read_text())
    return found[1] if found else "of unknown version"
