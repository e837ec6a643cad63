"""A `.pte` without torch beside an ONNX file: the disk that each takes, and each process until it answers.

    uv venv /tmp/onnx && uv pip install --python /tmp/onnx/bin/python '.[onnx]'
    uv venv /tmp/pte && uv pip install --python /tmp/pte/bin/python . && \
        uv pip install --python /tmp/pte/bin/python --no-deps executorch
    python -m experiments.torch_free bundles --onnx /tmp/onnx --pte /tmp/pte

`bundles` is a folder filled by `edgekit quickstart`. The two run in turns, in fresh processes, and every sample is
kept. Processor time is that of the whole process, interpreter and numpy included; a busy machine changes it little.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.cli.terminal import out
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import EngineError
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from experiments.footprint import ONNX, PTE, _bundle, _disk

_ROOT = Path(__file__).resolve().parent.parent
_PREDICT = """
import json, sys
from edgekit.edge_runtime import Bundle, load_engine
from edgekit.edge_runtime.machine.memory import peak_rss_bytes, rss_bytes
with Bundle.open(sys.argv[1]) as bundle:
    sample, before = bundle.golden().sample(0), rss_bytes()
    with load_engine(bundle) as engine:
        engine.run(sample)
        added = rss_bytes() - before
assert "torch" not in sys.modules
print(json.dumps([engine.version, added, peak_rss_bytes()]), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One of the two ways."""

    engine: str
    """Its library, with the version."""
    disk_bytes: dict[str, int]
    """Of the environment: all of it, and its largest entries."""
    wall_ms: tuple[float, ...]
    """From the start of each process to its first answer."""
    processor_ms: tuple[float, ...]
    """Processor time of each process."""
    rss_added_bytes: tuple[int, ...]
    """What loading and running the model added to the memory of each process."""
    peak_rss_bytes: tuple[int, ...]
    """The most memory that each process held."""


def measure(bundle: Path, python: Path) -> tuple[str, float, float, int, int]:
    """One fresh process: its engine, and a value of each sample in `Way`. Raises EngineError."""
    around = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    around |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    start = time.perf_counter()
    command = [str(python), "-c", _PREDICT, str(bundle)]
    process = subprocess.Popen(command, env=around, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    line = process.stdout.readline()
    wall_ms = (time.perf_counter() - start) * 1e3
    _, status, used = os.wait4(process.pid, 0)
    if status or not line:
        raise EngineError(f"{python} ended with status {status}, and no answer")
    engine, added, peak = json.loads(line)
    return engine, wall_ms, (used.ru_utime + used.ru_stime) * 1e3, added, peak


def measure_ways(ways: dict[str, tuple[Path, Path]], *, repeats: int) -> dict[str, Way]:
    """Every way, by its name: a bundle, and the environment that runs it. The first start of each is not counted."""
    samples: dict[str, list[tuple[str, float, float, int, int]]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, (bundle, environment) in ways.items():
            found = measure(bundle, environment / "bin" / "python")
            if turn:
                samples[name].append(found)
    made = {}
    for name, rows in samples.items():
        engines, walls, processors, added, peaks = zip(*rows, strict=True)
        made[name] = Way(
            engine=engines[0],
            disk_bytes=_disk(ways[name][1]),
            wall_ms=walls,
            processor_ms=processors,
            rss_added_bytes=added,
            peak_rss_bytes=peaks,
        )
    return made


def torch_free_table(path: Path) -> str:
    """The table of docs/INSTALL.md."""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        "| | environment on disk | processor time to the first answer | memory added by the model | peak memory |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for way in found["ways"].values():
        processor, added, peak = (
            statistics.median(way[key]) for key in ("processor_ms", "rss_added_bytes", "peak_rss_bytes")
        )
        cells = [f"{way['disk_bytes']['all'] / 1e6:.0f} MB", f"{processor:.0f} ms", f"{added / 1e6:.1f} MB"]
        rows.append(f"| {way['engine']} | {' | '.join(cells)} | {peak / 1e6:.0f} MB |")
    starts = len(found["ways"]["pte"]["processor_ms"])
    about = f"The same int8 net (digits_cnn), the median of {starts} starts in turns, on {found['machine']['cpu']}"
    return "\n".join(rows) + f"\n\n{about}. Measured {found['measured_at'][:10]}."


@program()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.torch_free")
    parser.add_argument("bundles", type=Path)
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--pte", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("results/torch-free.json"))
    asked = parser.parse_args()
    ways = {"onnx": (_bundle(asked.bundles, ONNX), asked.onnx), "pte": (_bundle(asked.bundles, PTE), asked.pte)}
    made = measure_ways(ways, repeats=asked.repeats)
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    plain = {name: to_plain(way) for name, way in made.items()}
    write_bytes(asked.out, canonical_json({"ways": plain, "machine": machine(), "measured_at": when}))
    for way in made.values():
        wall, processor = statistics.median(way.wall_ms), statistics.median(way.processor_ms)
        added, peak = statistics.median(way.rss_added_bytes) / 1e6, statistics.median(way.peak_rss_bytes) / 1e6
        out.print(
            f"{way.engine}: {way.disk_bytes['all'] / 1e6:.0f} MB on disk, {wall:.0f} ms ({processor:.0f} ms of a "
            f"processor) to the first answer, {added:.1f} MB of memory added, {peak:.0f} MB at most",
            soft_wrap=True,
        )


if __name__ == "__main__":
    sys.exit(main())
