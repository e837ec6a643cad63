"""What of edgekit works on this machine: each engine, found, asked and tried with a tiny int8 model. Never prints.

Everything of an engine happens in processes of its own: a library that is broken ends its process and not this one.
Nothing here imports an engine; whether one is installed is asked of its package's metadata.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..bundle.versions import ENGINE_PACKAGES
from ..engines import ENGINES
from ..errors import EdgekitError, InputError
from ..machine import cpu
from ..python_child import run
from ..worker.replay import replay

MODELS = Path(__file__).with_name("models")
PROBE_TIMEOUT_S = 600.0  # of which compiling a model takes the most
DEEP = ("aot",)  # engines whose tiny model is compiled first, which takes half a minute

State = Literal["works", "broken", "not installed", "not tried"]


@dataclass(frozen=True, kw_only=True)
class EngineReport:
    """One engine. `said` is how its int8 model came out, or what is wrong; `remedy` is what to do, "" when nothing.

    `provides` are onnxruntime's providers, ExecuTorch's backends and kernels, torch's int8 libraries.
    """

    engine: str
    state: State
    version: str
    provides: tuple[str, ...]
    said: str
    remedy: str
    facts: dict[str, str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where this is. `int8_isa` are the instructions that make 8-bit arithmetic fast; without one it gains little."""

    cpu: str
    int8_isa: tuple[str, ...]
    vector_isa: tuple[str, ...]
    cores: int
    memory_bytes: int
    system: str
    python: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All of it. What is not installed is not broken."""

    machine: Machine
    engines: tuple[EngineReport, ...]

    @property
    def healthy(self) -> bool:
        return all(report.state != "broken" for report in self.engines)


def diagnose(names: Iterable[str] = ENGINES, *, deep: bool = False) -> Diagnosis:
    """Looks at this machine and tries the named engines, one after the other.

    Args:
        deep: also try those that compile a model first.
    """
    return Diagnosis(machine=machine(), engines=tuple(examine(name, deep=deep) for name in names))


def examine(name: str, *, deep: bool = False) -> EngineReport:
    """Finds out about one engine; whatever goes wrong is in the report."""
    start = time.monotonic()
    version = installed(ENGINE_PACKAGES[name])
    if version is None:
        remedy = f"pip install 'edgekit[{ENGINES[name][1]}]'"
        return _report(name, "not installed", said=f"{ENGINE_PACKAGES[name]} is not installed", remedy=remedy)
    if name in DEEP and not deep:
        return _report(name, "not tried", version, said="compiles first, which takes a while", remedy="add --deep")
    try:
        facts = probe(name)
        said, right = (facts.pop("said"), facts.pop("right")) if "right" in facts else _run(name)
    except EdgekitError as error:
        return _report(name, "broken", version, said=str(error), remedy=_again(name), start=start)
    return _report(
        name,
        "works" if right else "broken",
        facts.pop("version"),
        provides=tuple(facts.pop("provides")),
        said=said,
        remedy="" if right else _again(name),
        facts=facts,
        start=start,
    )


def model_path(name: str) -> Path:
    """The tiny int8 bundle of an engine; the torch engines make theirs on the spot."""
    return MODELS / f"{name}.zip"


def installed(package: str) -> str | None:
    """The installed version of a package, which is not imported; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def probe(name: str) -> dict[str, Any]:
    """What the engine's library says of itself, in a process of its own. Raises InputError with what went wrong."""
    try:
        done = run("edgekit.edge_runtime.doctor.probe", [name], timeout_s=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise InputError(f"gave no answer within {PROBE_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        number = done.returncode
        how = f"was killed by {signal.Signals(-number).name}" if number < 0 else f"ended with status {number}"
        last = " | ".join(done.stderr.strip().splitlines()[-2:])
        raise InputError(f"its process {how}. {last}".strip())
    facts: dict[str, Any] = json.loads(done.stdout)
    if "error" in facts:
        raise InputError(facts["error"])
    return facts


def machine() -> Machine:
    """This machine, as its system describes it."""
    flags = cpu.flags()
    return Machine(
        cpu=cpu.name(),
        int8_isa=tuple(flag for flag in cpu.INT8_ISA if flag in flags),
        vector_isa=tuple(flag for flag in cpu.VECTOR_ISA if flag in flags),
        cores=cpu.cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def _run(name: str) -> tuple[str, bool]:
    """Replays the engine's tiny int8 bundle in a worker: what came out, and whether it is right."""
    found = replay(model_path(name))
    return f"SQNR {found.sqnr_db:.1f} dB (held to {found.held_to}) on {found.engine}", found.passed


def _again(name: str) -> str:
    return f"pip install --force-reinstall 'edgekit[{ENGINES[name][1]}]'"


def _report(
    name: str,
    state: State,
    version: str = "",
    *,
    provides: tuple[str, ...] = (),
    said: str,
    remedy: str,
    facts: dict[str, str] | None = None,
    start: float | None = None,
) -> EngineReport:
    return EngineReport(
        engine=name,
        state=state,
        version=version,
        provides=provides,
        said=said,
        remedy=remedy,
        facts=facts or {},
        seconds=0.0 if start is None else round(time.monotonic() - start, 2),
    )
