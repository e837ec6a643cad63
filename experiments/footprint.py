"""What the device side costs beside the model: overhead of `Engine.run`, imports, disk, cold start, memory.

    uv venv /tmp/device && uv pip install --python /tmp/device/bin/python '.[onnx]'
    python -m experiments.footprint bundles --environment /tmp/device --out results/footprint.json

`bundles` is a folder that `edgekit quickstart` filled. The environment is one without torch; the same prediction
through torch runs in this one. What is compared runs in turn, in fresh processes, and every sample is kept.
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

_OVERHEAD = """
import json, statistics, sys, time
from edgekit.edge_runtime import Bundle, load_engine
with Bundle.open(sys.argv[1]) as bundle, load_engine(bundle) as engine:
    sample = bundle.golden().sample(0)
    session = engine._session
    ordered = [sample[spec.name] for spec in bundle.manifest.inputs]
    if engine.name == "onnx":
        call, arguments = session._session.run, (session._outputs, sample)
    else:
        session.run(ordered)  # leaves the inputs' addresses where the library looks for them
        call, arguments = session._library.edgekit_run, session._arguments
    def once(count, call, *arguments):
        found = []
        for _ in range(count):
            start = time.perf_counter_ns()
            call(*arguments)
            found.append(time.perf_counter_ns() - start)
        return statistics.median(found)
    once(300, engine.run, sample)
    rounds = [(once(200, engine.run, sample), once(200, call, *arguments)) for _ in range(int(sys.argv[2]))]
print(json.dumps(rounds))
"""


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """`Engine.run` beside the library's own call on the same arrays, in turn; the median ns of each round of 200."""

    engine_ns: tuple[float, ...]
    library_ns: tuple[float, ...]

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
    """From the start of a process to its first answer, and the most memory it held until then."""

    name: str
    engine: str
    torch_loaded: bool
    milliseconds: tuple[float, ...]
    peak_rss_bytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """All of it, with where and when it was measured. `disk_bytes` by package of the environment without torch."""

    overhead: dict[str, Overhead]
    import_numpy_ms: tuple[float, ...]
    import_edge_runtime_ms: tuple[float, ...]  # what comes on top of numpy
    cold_starts: tuple[ColdStart, ...]
    disk_bytes: dict[str, int]
    machine: dict[str, str]
    versions: dict[str, str]
    commit: str | None
    measured_at: str  # UTC, ISO 8601


def measure(bundles: Path, environment: Path | None, *, repeats: int) -> Footprint:
    """Measures all of it; what needs the environment is left out where none is given.

    Raises:
        UsageError: a bundle or the environment is not there.
        EngineError: a process failed; its last words are in the text.
    """
    paths = {kind: _bundle(bundles, kind) for kind in (ONNX, PTE, TORCHSCRIPT)}
    here, imports = sys.executable, [_python(sys.executable, _IMPORT).split() for _ in range(repeats)]
    candidates = [
        ("torchscript, through torch", here, paths[TORCHSCRIPT], {}),
        ("executorch, native", here, paths[PTE], {"EDGEKIT_EXECUTORCH": "native"}),
        ("executorch, Python runtime", here, paths[PTE], {"EDGEKIT_EXECUTORCH": "python"}),
    ]
    if environment is not None:
        device = environment / "bin" / "python"
        if not device.exists():
            raise UsageError(f"{environment} is no virtual environment; the first lines of this module make one")
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
    found = sorted(folder.glob(f"*-{kind}"))
    if not found:
        raise UsageError(f"{folder} holds no bundle *-{kind}. `edgekit quickstart` makes one")
    with Bundle.open(found[0]):
        return found[0].resolve()


def _overhead(path: Path, *, rounds: int) -> Overhead:
    pairs = json.loads(_python(sys.executable, _OVERHEAD, str(path), str(rounds)))
    return Overhead(engine_ns=tuple(engine for engine, _ in pairs), library_ns=tuple(raw for _, raw in pairs))


def _cold_starts(candidates: Sequence[tuple[str, str, Path, dict[str, str]]], repeats: int) -> tuple[ColdStart, ...]:
    found: dict[str, list[tuple[float, list]]] = {name: [] for name, *_ in candidates}
    order = random.Random(0)
    for turn in range(repeats + 1):
        for name, python, path, variables in order.sample(candidates, len(candidates)):
            start = time.perf_counter()
            answer = json.loads(_python(python, _PREDICT, str(path), environment=variables))
            if turn:  # the first reads files that the system had not read yet
                found[name].append(((time.perf_counter() - start) * 1e3, answer))
    return tuple(
        ColdStart(
            name=name,
            engine=rows[0][1][0],
            torch_loaded=rows[0][1][2],
            milliseconds=tuple(ms for ms, _ in rows),
            peak_rss_bytes=tuple(answer[1] for _, answer in rows),
        )
        for name, rows in found.items()
    )


def _python(python: str, code: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Standard output of a fresh interpreter, at its first line: how long it takes to end is nobody's wait."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [python, "-c", code, *arguments],
        env=variables | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    _, errors = process.communicate()
    if not line or process.returncode:
        raise EngineError(f"{python} failed: {' | '.join(errors.strip().splitlines()[-2:])}")
    return line


def _disk(environment: Path) -> dict[str, int]:
    """Bytes of each top-level folder of the environment's site-packages, the largest first; "all" is their sum."""
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
    found = measure(arguments.bundles, arguments.environment, repeats=arguments.repeats)
    write_bytes(arguments.out, canonical_json(to_plain(found)))
    for kind, overhead in found.overhead.items():
        out.print(f"Engine.run on {kind}: {overhead.us:.1f} us ({overhead.share:.1%}) over the library's own call")
    ours, numpy = (statistics.median(ms) for ms in (found.import_edge_runtime_ms, found.import_numpy_ms))
    out.print(f"import edge_runtime: {ours:.0f} ms on top of numpy's {numpy:.0f} ms")
    for row in found.cold_starts:
        rss = statistics.median(row.peak_rss_bytes) / 1e6
        out.print(f"{row.name}: first answer after {statistics.median(row.milliseconds):.0f} ms, peak RSS {rss:.0f} MB")
    if found.disk_bytes:
        out.print(f"the environment without torch: {found.disk_bytes['all'] / 1e6:.0f} MB on disk")


if __name__ == "__main__":
    sys.exit(main())
