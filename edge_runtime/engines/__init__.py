"""Engines run arrays; they know nothing about images.

`load(bundle)` picks the engine by the manifest's `format` and imports it only then, so that a device needs only the
engines of its bundles. It returns an `Engine`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from ..bundle import versions
from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from ..errors import BundleError, EdgekitError, EngineError, InputError, MissingDependency, shown, unknown
from .engine import Engine, OpenSession, Session

__all__ = ["ENGINES", "RUNS_CODE", "Engine", "OpenSession", "Session", "load"]

# format in the manifest -> (module with `open_session`, extra that installs it)
ENGINES: dict[str, tuple[str, str]] = {
    "onnx": ("edgekit.edge_runtime.engines.onnx", "onnx"),
    "executorch": ("edgekit.edge_runtime.engines.executorch", "executorch"),
    "torchscript": ("edgekit.edge_runtime.engines.torchscript", "executorch"),
    "aot": ("edgekit.edge_runtime.engines.aot", "executorch"),
    "torch_export": ("edgekit.edge_runtime.engines.torch_export", "executorch"),
}
# Loading one of these formats runs code from the file, so it must be allowed by name.
RUNS_CODE = ("torchscript", "aot", "torch_export")


def load(
    bundle: Bundle,
    *,
    program: str | None = None,
    num_threads: int = 1,
    allow: Sequence[str] = (),
    check_finite: bool = True,
) -> Engine:
    """Loads a bundle's model into the engine that its manifest names.

    Args:
        program: which of several programs; not needed where there is only one, or one is called "main".
        num_threads: CPU threads that the engine may use inside one `run`.
        allow: formats of `RUNS_CODE` that may run code from their files.
        check_finite: whether `run` refuses NaN and infinite values in float inputs.
    Raises:
        MissingDependency: the engine's library is not installed.
        BundleError: the format runs code and is not in `allow`, or the installed library cannot run this file.
        EngineError: the library refused the file.
        UsageError: there is no such program, or there are several and none was named.
    """
    manifest = bundle.manifest.only(program)
    path = bundle.folder / manifest.artifact.file
    if num_threads < 1:
        raise InputError(f"num_threads should be 1 or more, found {num_threads}")
    check_allowed(manifest, str(bundle.source), allow)
    open_session = open_session_of(manifest.artifact.format, str(bundle.source))
    for note in versions.check(manifest, path):
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    try:
        session = open_session(path, manifest, num_threads)
    except EdgekitError:
        raise
    except Exception as error:
        reason = shown(error, 1000)
        raise EngineError(
            f"{bundle.source}: {manifest.artifact.file} could not be loaded: {reason}. Run `edgekit verify` on it"
        ) from None
    return Engine(manifest.artifact.format, session, manifest.inputs, manifest.outputs, check_finite=check_finite)


def check_allowed(manifest: Manifest, source: str, allow: Sequence[str]) -> None:
    """Raises BundleError where loading a model runs code from its file and `allow` does not name its format.

    Raises:
        UsageError: `allow` names something that is not a format of `RUNS_CODE`.
    """
    for name in allow:
        if name not in RUNS_CODE:
            raise unknown("format to allow", name, RUNS_CODE)
    for format in (program.artifact.format for program in manifest.programs):
        if format in RUNS_CODE and format not in allow:
            raise BundleError(
                f"{source} has the format {format!r}: loading it runs code from the file. If you trust its maker, add "
                f'--allow {format}, or in Python: load_engine(bundle, allow=("{format}",))'
            )


def open_session_of(format: str, source: str) -> Callable[[Path, Manifest, int], Session]:
    """The `open_session` of a format's engine.

    Raises:
        BundleError: the format is unknown.
        MissingDependency: the engine's library is not installed.
    """
    if format not in ENGINES:
        raise BundleError(
            f"{source} has the format {format[:80]!r}, for which this edgekit has no engine. "
            f"Known: {', '.join(sorted(ENGINES))}. Upgrade edgekit, or pack the bundle in a known format"
        )
    module, extra = ENGINES[format]
    try:
        open_session: Callable[[Path, Manifest, int], Session] = importlib.import_module(module).open_session
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edgekit"):
            raise
        raise MissingDependency(
            f"{source} needs {error.name}, which is not installed. Run: pip install 'edgekit[{extra}]'"
        ) from None
    return open_session
