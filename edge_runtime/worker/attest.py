"""Turns a replay into an attestation, and puts it beside the bundle."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from pathlib import Path

from ..bundle.attestation import (
    ATTESTATION_VERSION,
    SUFFIX,
    Attestation,
    Device,
    OutputResult,
    beside,
    find_attestations,
)
from ..bundle.bundle import Bundle
from ..errors import UsageError
from ..files import write_bytes
from ..machine import cpu
from .replay import ReplayResult


def attestation_of(bundle: Bundle, replayed: ReplayResult, *, num_threads: int = 1) -> Attestation:
    """The result of a replay on this machine, as a record that can be passed on."""
    return Attestation(
        attestation_version=ATTESTATION_VERSION,
        bundle=bundle.name,
        manifest_sha256=bundle.sha256,
        when=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        runtime=f"edgekit {_edgekit_version()}, Python {platform.python_version()}",
        device=Device(
            processor=cpu.name(), system=f"{platform.system()} {platform.machine()}", num_threads=num_threads
        ),
        results=tuple(
            OutputResult(
                program=output.program,
                output=output.output,
                engine=output.engine,
                samples=output.samples,
                sqnr_db=output.sqnr_db,
                agreement=output.agreement,
                max_abs=output.max_abs,
                max_abs_since_packed=output.max_abs_since_packed,
                passed=output.passed,
            )
            for output in replayed.outputs
        ),
        passed=replayed.passed,
    )


def write_attestation(path: str | Path, bundle: Bundle, made: Attestation) -> Path:
    """Writes an attestation beside the bundle at `path`; the bundle itself is not changed.

    Replaces one of the same device and engines, or of another bundle. Those of other devices stay: this one is then
    `NAME.2.attest.json`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    first = beside(path)
    taken = {
        one.path.name for one in find_attestations(path, bundle.sha256) if _stays(one.attestation, one.unfit, made)
    }
    names = [first.name, *(f"{first.name.removesuffix(SUFFIX)}.{i}{SUFFIX}" for i in range(2, len(taken) + 2))]
    target = first.with_name(next(name for name in names if name not in taken))
    try:
        write_bytes(target, made.to_bytes())
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}. Copy the bundle to a folder of your own"
        ) from None
    return target


def _stays(there: Attestation | None, unfit: str, made: Attestation) -> bool:
    if there is None or unfit:
        return False
    engines = [sorted({result.engine for result in one.results}) for one in (there, made)]
    return there.device != made.device or engines[0] != engines[1]


def _edgekit_version() -> str:
    try:
        return importlib.metadata.version("edgekit")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
