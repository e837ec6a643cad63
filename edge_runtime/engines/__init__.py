"""Engines run arrays; they know nothing about images.

A format names the engines that can run it; `load(bundle)` takes one of them and imports it only then, so that a device
needs only the engines of its bundles. It returns an `Engine`. Which one is fastest is not known here: see `choice`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence

from ..bundle import versions
from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from ..command_line import EDGEKIT, install
from ..errors import (
    BundleError,
    EdgekitError,
    EngineError,
    InputError,
    MissingDependency,
    RunsCode,
    UsageError,
    shown,
    unknown,
)
from .engine import Engine, OpenSession, Options, Precision, Session

__all__ = ["ENGINES", "RUNS_CODE", "Engine", "OpenSession", "Options", "Precision", "Session", "load"]

# format in the manifest -> its engines by their packages, the usual one first: (module with `open_session`, extra that
# installs it)
ENGINES: dict[str, dict[str, tuple[str, str]]] = {
    "onnx": {
        "onnxruntime": ("edgekit.edge_runtime.engines.onnx", "onnx"),
        "openvino": ("edgekit.edge_runtime.engines.openvino", "openvino"),
    },
    "executorch": {"executorch": ("edgekit.edge_runtime.engines.executorch", "executorch")},
    "torchscript": {"torch": ("edgekit.edge_runtime.engines.torchscript", "torch")},
    "aot": {"torch": ("edgekit.edge_runtime.engines.aot", "torch")},
    "torch_export": {"torch": ("edgekit.edge_runtime.engines.torch_export", "torch")},
}
# What an engine can compute floats in besides float32.
PRECISIONS: dict[str, tuple[Precision, ...]] = {"openvino": ("bfloat16",)}
# Loading one of these formats runs code from the file, so it must be allowed by name.
RUNS_CODE = ("torchscript", "aot", "torch_export")


def load(
    bundle: Bundle,
    *,
    engine: str | None = None,
    program: str | None = None,
    num_threads: int = 1,
    spin: bool = False,
    precision: Precision = "float32",
    allow: Sequence[str] = (),
    check_finite: bool = True,
) -> Engine:
    """Loads a bundle's model into one of the engines of its format.

    Args:
        engine: its package, such as "openvino"; without one the first of the format that is installed.
        program: which of several programs; not needed where there is only one, or one is called "main".
        num_threads: CPU threads that the engine may use inside one `run`.
        spin: lets several threads wait for the next run at full speed. Runs get shorter, and the cores are busy in
            between: for a process that does nothing else.
        precision: "bfloat16" for an engine that can; its answers differ from those that were verified.
        allow: formats of `RUNS_CODE` that may run code from their files.
        check_finite: whether `run` refuses NaN and infinite values in float inputs.
    Raises:
        MissingDependency: the engine's library is not installed.
        BundleError: the format runs code and is not in `allow`, or the installed library cannot run this file.
        EngineError: the library refused the file.
        UsageError: there is no such program, or there are several and none was named; or no such engine.
    """
    manifest, source = bundle.manifest.only(program), str(bundle.source)
    path, format = bundle.folder / manifest.artifact.file, manifest.artifact.format
    if num_threads < 1:
        raise InputError(f"num_threads should be 1 or more, found {num_threads}")
    check_allowed(manifest, source, allow)
    name = engine_name(format, source, engine)
    if precision != "float32" and precision not in PRECISIONS.get(name, ()):
        others = "; ".join(f"{one}: {', '.join(known)}" for one, known in PRECISIONS.items())
        raise UsageError(
            f"{name} computes in float32, not in {shown(repr(precision), 80)}. Engines with more: {others}"
        )
    open_session = open_session_of(format, source, name)
    try:
        notes = versions.check(manifest, path, name)
    except OSError as error:  # taken away since the bundle was opened
        raise EngineError(f"{bundle.source}: {path.name} cannot be read: {error.strerror or error}") from None
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=3)  # the caller of `load_engine`
    try:
        session = open_session(path, manifest, Options(num_threads=num_threads, spin=spin, precision=precision))
    except EdgekitError:
        raise
    except Exception as error:
        reason = shown(error, 1000)
        raise EngineError(
            f"{bundle.source}: {manifest.artifact.file} could not be loaded: {reason}. "
            + (versions.newer_advice(manifest, name) or f"Run `{EDGEKIT} verify` on it")
        ) from None
    return Engine(format, session, manifest.inputs, manifest.outputs, check_finite=check_finite)


def check_allowed(manifest: Manifest, source: str, allow: Sequence[str]) -> None:
    """Raises RunsCode where loading a model runs code from its file and `allow` does not name its format.

    Raises:
        UsageError: `allow` names something that is not a format of `RUNS_CODE`.
    """
    for name in allow:
        if name not in RUNS_CODE:
            raise unknown("format to allow", name, RUNS_CODE)
    for format in (program.artifact.format for program in manifest.programs):
        if format in RUNS_CODE and format not in allow:
            raise RunsCode(
                f"{source} has the format {format!r}: loading it runs code from the file. If you trust its maker, add "
                f'--allow {format}, or in Python: load_engine(bundle, allow=("{format}",))'
            )


def engines_of(format: str, source: str) -> dict[str, tuple[str, str]]:
    """The format's entry in `ENGINES`. Raises BundleError, naming `source`, where there is none."""
    if format not in ENGINES:
        raise BundleError(
            f"{source} has the format {format[:80]!r}, for which this edgekit has no engine. "
            f"Known: {', '.join(sorted(ENGINES))}. Upgrade edgekit, or pack the bundle in a known format"
        )
    return ENGINES[format]


def engine_name(format: str, source: str, asked: str | None = None) -> str:
    """Which engine runs a format: the one asked for, else the first that is installed, else the first.

    Raises:
        BundleError: the format is unknown.
        UsageError: it has no such engine.
    """
    known = engines_of(format, source)
    if asked is None:
        return (installed_engines(format) or tuple(known))[0]
    if asked not in known:
        raise UsageError(
            f"{source} has the format {format}, which no engine called {shown(repr(asked), 80)} runs. "
            f"Engines that run it: {', '.join(known)}"
        )
    return asked


def installed_engines(format: str) -> tuple[str, ...]:
    """The engines of a format that are installed, the usual one first. Imports none."""
    return tuple(name for name in ENGINES.get(format, ()) if _is_installed(name))


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def row_name(bundle: str, format: str, engine: str) -> str:
    """What a bundle is called that an engine runs: by its own name, and `NAME@ENGINE` if it is not the usual one."""
    return bundle if engine == next(iter(ENGINES.get(format, {engine: ()}))) else f"{bundle}@{engine}"


def open_session_of(format: str, source: str, engine: str | None = None) -> OpenSession:
    """The `open_session` of an engine, chosen as `engine_name` does.

    Raises:
        BundleError: the format is unknown.
        MissingDependency: the engine's library is not installed.
        UsageError: the format has no such engine.
    """
    name = engine_name(format, source, engine)
    module, extra = ENGINES[format][name]
    try:
        open_session: OpenSession = importlib.import_module(module).open_session
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edgekit"):
            raise
        raise MissingDependency(f"{source} needs {error.name}, which is not installed. Run: {install(extra)}") from None
    return open_session
