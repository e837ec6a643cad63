"""Whether the installed engine can run a model file, checked before its native code sees the file.

The manifest's `tools` say what made the bundle. What is installed is read from the packages' metadata, so nothing is
imported. Refused, because it would fail inside the engine or, worse, run wrongly:

- executorch: made by a newer ExecuTorch. 1.5.1 runs what 1.4 and 1.5.0 made, not what 1.5.2 made.
- onnx: an IR version or opset, read from the file, above what the installed onnxruntime loads; numbers in other files.
- torchscript, torch_export: made by a torch that is newer by a minor version or more.
- aot: made by any other torch, or by one that the bundle does not name.
- any other engine of a format: the bundle asks for a newer one.

Only noted: an onnx bundle was proven on an onnxruntime newer by a minor version or more; an executorch, torchscript or
torch_export bundle does not say what made it. Not checked: what has no metadata, such as an engine built by hand.

A bundle of format 2 says what it needs (`requires`), which `requirements` finds out when it is packed. For an older
bundle, the versions that made it are used instead.

By their own policy, ExecuTorch and TorchScript read older files but not newer ones; an AOTInductor file is native code
for one torch. Development builds count as the release they lead to. `tools` is the packer's word: this guards against
mistakes. Signatures and the worker process guard against lies.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from ..command_line import PIP
from ..errors import BundleError
from .manifest import Manifest
from .onnx_file import names_other_files, onnx_versions

Release = tuple[int, ...]

# format -> the package of its usual engine
ENGINE_PACKAGES = {
    "onnx": "onnxruntime",
    "executorch": "executorch",
    "torchscript": "torch",
    "aot": "torch",
    "torch_export": "torch",
}

# onnxruntime release -> highest ONNX IR version and highest opset of the default domain that it loads, found by trying
# each release from 1.15 on. A release that is not listed loads what the one before it loads. A newer one says itself.
_ONNX_LIMITS: dict[Release, tuple[int, int]] = {
    (1, 15): (9, 19),
    (1, 17): (9, 20),
    (1, 18): (10, 21),
    (1, 21): (10, 22),
    (1, 23): (11, 23),
    (1, 24): (13, 25),
    (1, 25): (13, 26),
    (1, 32): (14, 28),
}


def check(manifest: Manifest, path: Path, engine: str = "") -> tuple[str, ...]:
    """What is worth saying about the installed engine, usually nothing.

    Args:
        engine: its package; the format's usual one if it is empty.
    Raises:
        BundleError: the engine cannot take this file; both versions are named. Or the file names others, which no
            checksum covers, and which may be anybody's.
    """
    if manifest.artifact.format == "onnx" and names_other_files(path):
        raise BundleError(
            f"{manifest.name}: {path.name} has some of its numbers in another file, which no checksum covers. It was "
            "not loaded. Pack the bundle again, with all numbers inside"
        )
    if engine not in ("", ENGINE_PACKAGES.get(manifest.artifact.format)):
        _check_required(manifest, engine)
        return ()
    known = _CHECKS.get(manifest.artifact.format)
    return known(manifest, path) if known else ()


def newer_advice(manifest: Manifest, engine: str) -> str:
    """What to install where an engine cannot load a file and is older than the one that made it; "" otherwise."""
    made, installed = manifest.tools.get(engine, ""), installed_version(engine)
    if not installed or not _newer(made, installed):
        return ""
    return f"It was made with {engine} {made}, and {installed} is installed. Run: {PIP} install '{engine}>={made}'"


def requirements(format: str, path: Path, tools: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a model file needs: the lowest version of each engine that can run it, and what in the file requires that.

    Args:
        tools: the versions that made it.
    Returns:
        a program's `requires` and `features`; empty if nothing is known.
    """
    if format == "onnx":
        ir, opset = onnx_versions(path)
        lowest = _lowest_onnxruntime(ir, opset)
        found = {"onnx_ir_version": str(ir), "onnx_opset": str(opset)}
        return ({"onnxruntime": lowest} if lowest else {}), found
    engine = ENGINE_PACKAGES.get(format, "")
    made = release(tools.get(engine, ""))
    if not made:
        return {}, {}
    # TorchScript and torch.export read files of any patch release of the same minor version.
    parts = 2 if format in ("torchscript", "torch_export") else len(made)
    return {engine: ".".join(map(str, made[:parts]))}, {}


def release(version: str) -> Release | None:
    """(1, 5, 1) of "1.5.1", "1.5.1+cpu" or "1.5.1.dev3"; None of what is no version."""
    # All of it is looked at, since messages quote it in commands.
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9}){0,5})[A-Za-z0-9.+_-]{0,60}", version)
    return tuple(map(int, found[1].split("."))) if found else None


def _executorch(manifest: Manifest, path: Path) -> tuple[str, ...]:
    made, installed = _needed(manifest, "executorch"), installed_version("executorch")
    if not installed:
        return ()
    if not release(made):
        return (f"{manifest.name} does not say which ExecuTorch made it; executorch {installed} is installed",)
    if _newer(made, installed):
        raise _too_new(manifest, "ExecuTorch", made, f"executorch {installed}", f"{PIP} install 'executorch=={made}'")
    return ()


def _onnx(manifest: Manifest, path: Path) -> tuple[str, ...]:
    made, installed = manifest.tools.get("onnxruntime", ""), installed_version("onnxruntime")
    if not installed:
        return ()
    limits = _onnx_limits((release(installed) or ())[:2])
    if limits:
        versions = onnx_versions(path)
        for what, found, most in zip(("IR version", "opset"), versions, limits, strict=True):
            if found > most:
                lowest = _lowest_onnxruntime(*versions)
                newer = f"onnxruntime {lowest} or newer" if lowest else "a newer onnxruntime"
                raise BundleError(
                    f"{manifest.name} has ONNX {what} {found}; the installed onnxruntime {installed} reads up to "
                    f"{most}. Install {newer}, or export the model again for an older one"
                )
    _check_required(manifest, "onnxruntime")
    if _newer(made, installed, parts=2):
        return (f"{manifest.name} was proven on onnxruntime {made}; the older {installed} is installed",)
    return ()


def _check_required(manifest: Manifest, engine: str) -> None:
    """Raises BundleError where the bundle says that it needs a newer engine."""
    needed, installed = manifest.program().requires.get(engine, ""), installed_version(engine)
    if _newer(needed, installed):
        raise BundleError(
            f"{manifest.name} needs {engine} {needed} or newer; {installed} is installed. "
            f"Run: {PIP} install '{engine}>={needed}'"
        )


def _torchscript(manifest: Manifest, path: Path) -> tuple[str, ...]:
    made, installed = _needed(manifest, "torch"), installed_version("torch")
    if not installed:
        return ()
    if not release(made):
        return (f"{manifest.name} does not say which torch made it; torch {installed} is installed",)
    if _newer(made, installed, parts=2):
        raise _too_new(manifest, "torch", made, f"torch {installed}", f"{PIP} install 'torch=={made}'")
    return ()


def _aot(manifest: Manifest, path: Path) -> tuple[str, ...]:
    made, installed = _needed(manifest, "torch"), installed_version("torch")
    if installed and release(made) != release(installed):
        raise BundleError(
            f"{manifest.name} was compiled against torch {made[:60] or '(it does not say which)'} and runs with just "
            f"that one; torch {installed} is installed. Pack the bundle again with it, or install the other"
        )
    return ()


def _needed(manifest: Manifest, engine: str) -> str:
    """The lowest version of an engine that runs the only program; for an older bundle, the version that made it."""
    return manifest.program().requires.get(engine) or manifest.tools.get(engine, "")


def _onnx_limits(installed: Release) -> tuple[int, int] | None:
    """What an onnxruntime release loads; None for one that is older or newer than those that were tried."""
    listed = [release for release in _ONNX_LIMITS if release <= installed]
    return _ONNX_LIMITS[listed[-1]] if listed and installed <= max(_ONNX_LIMITS) else None


def _lowest_onnxruntime(ir: int, opset: int) -> str:
    """The first release that loads such a file; "" if none of those that were tried does."""
    fitting = [release for release, (most, highest) in _ONNX_LIMITS.items() if ir <= most and opset <= highest]
    return ".".join(map(str, fitting[0])) if fitting else ""


_CHECKS: dict[str, Callable[[Manifest, Path], tuple[str, ...]]] = {
    "executorch": _executorch,
    "onnx": _onnx,
    "torchscript": _torchscript,
    "aot": _aot,
    "torch_export": _torchscript,
}


@functools.cache
def installed_version(package: str) -> str:
    """The version of an installed package, "" of one that is not there or does not say."""
    # Importing importlib.metadata costs a cold start 14 ms; pip and uv write the version into this folder's name.
    named = re.compile(rf"{package}-([^-]+)\.dist-info")
    for folder in sys.path:
        with contextlib.suppress(OSError):
            found = next(filter(None, map(named.fullmatch, os.listdir(folder or "."))), None)
            if found:
                return found[1]
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _newer(made: str, installed: str, parts: int = 9) -> bool:
    left, right = release(made), release(installed)
    if left is None or right is None:
        return False
    return _padded(left[:parts]) > _padded(right[:parts])


def _padded(numbers: Release) -> Release:
    return numbers + (0,) * (9 - len(numbers))  # 1.5 is 1.5.0


def _too_new(manifest: Manifest, what: str, made: str, installed: str, remedy: str) -> BundleError:
    return BundleError(
        f"{manifest.name} was made with {what} {made}; the installed {installed} is older and cannot be relied on to "
        f"read it. Run: {remedy}, or pack the bundle again with {installed}"
    )
