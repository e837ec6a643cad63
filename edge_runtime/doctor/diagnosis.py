"""Which engines work on this machine: each is looked up, asked about itself and run on a tiny model. Never prints.

Each engine is tried in processes of its own, so that a broken library ends its process and not this one. Nothing here
imports an engine: its package's metadata tell whether it is installed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..command_line import install
from ..engines import ENGINES, row_name
from ..errors import EdgekitError, InputError, MissingDependency
from ..format import db_text
from ..machine import cpu
from ..machine.memory import total_bytes
from ..python_child import run
from ..worker.replay import replay

MODELS = Path(__file__).with_name("models")
PROBE_TIMEOUT_S = 600.0  # most of it for compiling a model
DEEP = ("aot",)  # engines that compile their tiny model first, which takes half a minute

State = Literal["works", "broken", "not installed", "not tried"]


@dataclass(frozen=True, kw_only=True)
class EngineReport:
    """One engine."""

    engine: str
    """The format that it runs, as in a manifest; FORMAT@ENGINE if it is not the usual one."""
    state: State
    """Whether it works."""
    version: str
    """The version of its library; "" where it is not installed."""
    provides: tuple[str, ...]
    """onnxruntime's providers, OpenVINO's types, ExecuTorch's backends and kernels, or torch's int8 libraries."""
    result: str
    """How its int8 model did, or what is wrong."""
    remedy: str
    """What to do; "" where there is nothing to do."""
    facts: dict[str, str]
    """What else is worth knowing, such as the compiler."""
    seconds: float
    """How long it took to try."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine."""

    cpu: str
    """The processor's name."""
    int8_isa: tuple[str, ...]
    """Its instruction sets that make 8-bit arithmetic fast; without one, int8 gains little."""
    vector_isa: tuple[str, ...]
    """Its other vector instruction sets."""
    cores: int
    """Cores that this process may use."""
    memory_bytes: int
    """Memory of the whole machine."""
    system: str
    """The operating system and its version."""
    python: str
    """Python's version."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The machine and its engines."""

    machine: Machine
    """The machine."""
    engines: tuple[EngineReport, ...]
    """One for each engine, installed or not."""

    @property
    def healthy(self) -> bool:
        """Whether no engine is broken; one that is not installed is not broken."""
        return all(report.state != "broken" for report in self.engines)


# What can be tried: "onnx", "onnx@openvino", …
NAMES = tuple(row_name(format, format, engine) for format, engines in ENGINES.items() for engine in engines)


def diagnose(names: Iterable[str] = NAMES, *, deep: bool = False, models: Path = MODELS) -> Diagnosis:
    """Looks at this machine and tries the named engines, one after another.

    Args:
        deep: also try those that compile a model first.
        models: the folder of the tiny int8 bundles.
    """
    return Diagnosis(machine=machine(), engines=tuple(examine(name, deep=deep, models=models) for name in names))


def examine(name: str, *, deep: bool = False, models: Path = MODELS) -> EngineReport:
    """Tries one engine, one of `NAMES`. Whatever goes wrong is in the report. Arguments as for `diagnose`."""
    start = time.monotonic()
    format, package, extra = _parts(name)
    version = installed(package)
    if version is None:
        remedy = install(extra)
        return _report(name, "not installed", result=f"{package} is not installed", remedy=remedy)
    if name in DEEP and not deep:
        return _report(name, "not tried", version, result="it compiles its model first", remedy="add --deep")
    try:
        facts = probe(name)
        if "right" in facts:
            result, right = facts.pop("result"), facts.pop("right")
        else:
            result, right = _run(model_path(format, models), package)
    except MissingDependency as error:  # its text says what to do
        return _report(name, "broken", version, result=str(error), remedy="", start=start)
    except EdgekitError as error:
        return _report(name, "broken", version, result=str(error), remedy=_reinstall(name), start=start)
    return _report(
        name,
        "works" if right else "broken",
        facts.pop("version"),
        provides=tuple(facts.pop("provides")),
        result=result,
        remedy="" if right else _reinstall(name),
        facts=facts,
        start=start,
    )


def model_path(format: str, models: Path = MODELS) -> Path:
    """The tiny int8 bundle of a format. Those that torch runs have none: their model is made on the spot."""
    return models / f"{format}.zip"


def installed(package: str) -> str | None:
    """The installed version of a package, without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def probe(name: str) -> dict[str, Any]:
    """What an engine's library reports of itself, in a process of its own.

    Raises:
        MissingDependency: it needs something else; the text says what. InputError: what went wrong.
    """
    try:
        done = run("edgekit.edge_runtime.doctor.probe", [name], timeout_s=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise InputError(f"its process gave no answer within {PROBE_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        number = done.returncode
        how = f"was killed by signal {-number}" if number < 0 else f"ended with status {number}"
        with contextlib.suppress(ValueError):
            how = f"was killed by {signal.Signals(-number).name}"
        last = " | ".join(done.stderr.strip().splitlines()[-2:])
        raise InputError(f"its process {how}. {last}".strip())
    facts: dict[str, Any] = json.loads(done.stdout)
    if "error" in facts:
        raise MissingDependency(facts["error"]) if "remedy" in facts else InputError(facts["error"])
    return facts


def machine() -> Machine:
    """This machine, as its system describes it."""
    flags = cpu.flags()
    return Machine(
        cpu=cpu.name(),
        int8_isa=tuple(flag for flag in cpu.INT8_ISA if flag in flags),
        vector_isa=tuple(flag for flag in cpu.VECTOR_ISA if flag in flags),
        cores=cpu.cores(),
        memory_bytes=total_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def _run(bundle: Path, engine: str) -> tuple[str, bool]:
    """Replays a tiny int8 bundle on an engine in a worker: the result in words, and whether it is right."""
    replayed = replay(bundle, engine=engine)
    text = f"SQNR {db_text(replayed.sqnr_db)} (required: {replayed.held_to}) on {replayed.engine}"
    return text, replayed.passed


def _reinstall(name: str) -> str:
    return install(_parts(name)[2], again=True)


def _parts(name: str) -> tuple[str, str, str]:
    """The format, the engine's package and the extra that one of `NAMES` stands for."""
    format, _, engine = name.partition("@")
    package = engine or next(iter(ENGINES[format]))
    return format, package, ENGINES[format][package][1]


def _report(
    name: str,
    state: State,
    version: str = "",
    *,
    provides: tuple[str, ...] = (),
    result: str,
    remedy: str,
    facts: dict[str, str] | None = None,
    start: float | None = None,
) -> EngineReport:
    return EngineReport(
        engine=name,
        state=state,
        version=version,
        provides=provides,
        result=result,
        remedy=remedy,
        facts=facts or {},
        seconds=0.0 if start is None else round(time.monotonic() - start, 2),
    )
