"""What the device side costs in addition to the model: overhead of `Engine.run`, imports, disk, cold start, memory.

    uv venv /tmp/device && uv pip install --python /tmp/device/bin/python '.[onnx]'
    python -m experiments.footprint bundles --environment /tmp/device --out results/footprint.json

`bundles` is a folder filled by `edgekit quickstart`. The environment has no torch; the same prediction through torch
runs in this one. Candidates run in turn, in fresh processes, and every sample is kept.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.cli.terminal import out
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import EngineError, UsageError
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.format import percent_text
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.train.provenance import commit

PACKAGES = ("edgekit", "numpy", "onnxruntime", "executorch", "torch")
ONNX, PTE, TORCHSCRIPT = "onnx-w8a8_static", "executorch_xnnpack-w8a8_static", "torchscript_traced-fp32"

_IMPORT = """
import sys, time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
import edgekit.edge_runtime
end = time.perf_counter()
assert not {"onnxruntime", "torch", "PIL"} & set(sys.modules)
print((middle - start) * 1e3, (end - middle) * 1e3)
"""

_PREDICT = """
import json, sys
from edgekit.edge_runtime import Bundle, load_engine
from edgekit.edge_runtime.machine.memory import peak_rss_bytes
with Bundle.open(sys.argv[1]) as bundle:
    allow = [name for name in ("torchscript",) if bundle.manifest.artifact.format == name]
    sample = bundle.golden().sample(0)
    with load_engine(bundle, allow=allow) as engine:
        engine.run(sample)
    print(json.dumps([engine.version, peak_rss_bytes(), "torch" in sys.modules]), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """`Engine.run` and the library's own call on the same arrays, in turn."""

    engine_ns: tuple[float, ...]
    """Of `Engine.run`: the median of each round of 200 calls."""
    library_ns: tuple[float, ...]
    """Of the library's own call, likewise."""

    @property
    def share(self) -> float:
        pairs = zip(self.engine_ns, self.library_ns, strict=True)
        return statistics.median(engine / library for engine, library in pairs) - 1

    @property
    def us(self) -> float:
        pairs = zip(self.engine_ns, self.library_ns, strict=True)
        return statistics.median(engine - library for engine, library in pairs) / 1e3


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """A fresh process up to its first answer."""

    name: str
    """The candidate."""
    engine: str
    """Its library, with the version."""
    torch_loaded: bool
    """Whether torch was imported."""
    milliseconds: tuple[float, ...]
    """From the start of each process to its first answer."""
    peak_rss_bytes: tuple[int, ...]
    """The most memory that each process held until then."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """All of it."""

    overhead: dict[str, Overhead]
    """By exporter and recipe."""
    import_numpy_ms: tuple[float, ...]
    """Of each fresh process."""
    import_edge_runtime_ms: tuple[float, ...]
    """On top of numpy."""
    cold_starts: tuple[ColdStart, ...]
    """Of each candidate."""
    disk_bytes: dict[str, int]
    """By package of the environment without torch."""
    machine: dict[str, str]
    """Where it was measured."""
    versions: dict[str, str]
    """Of the packages."""
    commit: str | None
    """Of edgekit's source."""
    measured_at: str
    """UTC, ISO 8601."""


def measure(bundles: Path, environment: Path | None, *, repeats: int) -> Footprint:
    """Measures all of it; without an environment, what needs one is left out.

    Raises:
        UsageError: a bundle or the environment is missing.
        EngineError: a process failed; the message has its last lines.
    """
    paths = {kind: _bundle(bundles, kind) for kind in (ONNX, PTE, TORCHSCRIPT)}
    here, imports = sys.executable, [_python(sys.executable, "-c", _IMPORT).split() for _ in range(repeats)]
    candidates = [
        ("torchscript, through torch", here, paths[TORCHSCRIPT], {}),
        ("executorch, native", here, paths[PTE], {"EDGEKIT_EXECUTORCH": "native"}),
        ("executorch, Python runtime", here, paths[PTE], {"EDGEKIT_EXECUTORCH": "python"}),
    ]
    if environment is not None:
        device = environment / "bin" / "python"
        if not device.exists():
            raise UsageError(f"{environment} is not a virtual environment; the first lines of this module make one")
        candidates.insert(0, ("onnx, without torch", str(device), paths[ONNX], {}))
    return Footprint(
        overhead={kind: _overhead(paths[kind], rounds=5 * repeats) for kind in (ONNX, PTE)},
        import_numpy_ms=tuple(float(numpy) for numpy, _ in imports),
        import_edge_runtime_ms=tuple(float(ours) for _, ours in imports),
        cold_starts=_cold_starts(candidates, repeats),
        disk_bytes=_disk(environment) if environment else {},
        machine=machine(),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        commit=commit(),
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _bundle(folder: Path, kind: str) -> Path:
    folders = sorted(folder.glob(f"*-{kind}"))
    if not folders:
        raise UsageError(f"{folder} holds no bundle *-{kind}. `edgekit quickstart` makes one")
    with Bundle.open(folders[0]):
        return folders[0].resolve()


def _overhead(path: Path, *, rounds: int) -> Overhead:
    pairs = json.loads(_python(sys.executable, "-m", "experiments.footprint_overhead", str(path), str(rounds)))
    return Overhead(engine_ns=tuple(engine for engine, _ in pairs), library_ns=tuple(raw for _, raw in pairs))


def _cold_starts(candidates: Sequence[tuple[str, str, Path, dict[str, str]]], repeats: int) -> tuple[ColdStart, ...]:
    samples: dict[str, list[tuple[float, list]]] = {name: [] for name, *_ in candidates}
    order = random.Random(0)
    for turn in range(repeats + 1):
        for name, python, path, variables in order.sample(candidates, len(candidates)):
            start = time.perf_counter()
            answer = json.loads(_python(python, "-c", _PREDICT, str(path), environment=variables))
            if turn:  # the first run reads files that are not in the system's cache yet
                samples[name].append(((time.perf_counter() - start) * 1e3, answer))
    return tuple(
        ColdStart(
            name=name,
            engine=rows[0][1][0],
            torch_loaded=rows[0][1][2],
            milliseconds=tuple(ms for ms, _ in rows),
            peak_rss_bytes=tuple(answer[1] for _, answer in rows),
        )
        for name, rows in samples.items()
    )


def _python(python: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """The first line that a fresh interpreter prints; what it takes to end is not measured."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [python, *arguments],
        env=variables | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    _, errors = process.communicate()
    if not line or process.returncode:
        raise EngineError(f"{python} failed: {' | '.join(errors.strip().splitlines()[-2:])}")
    return line


def _disk(environment: Path) -> dict[str, int]:
    """Bytes of the largest entries of the environment's site-packages, the largest first; "all" is the sum of all."""
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes = {
        path.name: sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
        for path in packages.iterdir()
    }
    return {"all": sum(sizes.values())} | dict(sorted(sizes.items(), key=lambda item: -item[1])[:8])


@program()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.footprint")
    parser.add_argument("bundles", type=Path)
    parser.add_argument("--environment", type=Path, help="a virtual environment with '.[onnx]' and without torch")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/footprint.json"))
    arguments = parser.parse_args()
    footprint = measure(arguments.bundles, arguments.environment, repeats=arguments.repeats)
    write_bytes(arguments.out, canonical_json(to_plain(footprint)))
    for kind, overhead in footprint.overhead.items():
        share = percent_text(overhead.share)
        out.print(f"Engine.run on {kind}: {overhead.us:.1f} µs ({share}) over the library's own call")
    ours, numpy = (statistics.median(ms) for ms in (footprint.import_edge_runtime_ms, footprint.import_numpy_ms))
    out.print(f"import edge_runtime: {ours:.0f} ms on top of numpy's {numpy:.0f} ms")
    for row in footprint.cold_starts:
        rss = statistics.median(row.peak_rss_bytes) / 1e6
        out.print(f"{row.name}: first answer after {statistics.median(row.milliseconds):.0f} ms, peak RSS {rss:.0f} MB")
    if footprint.disk_bytes:
        out.print(f"the environment without torch: {footprint.disk_bytes['all'] / 1e6:.0f} MB on disk")


if __name__ == "__main__":
    sys.exit(main())
