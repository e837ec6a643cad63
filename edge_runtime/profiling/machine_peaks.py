"""What this machine can do at best, in multiplications and bytes per second. Measured in a child, kept for a day.

    python -m edgekit.edge_runtime.profiling.machine_peaks THREADS      measures, prints JSON

Products of large matrices show the arithmetic; copies of arrays, which fit into a cache or into none, the bandwidth.
The best of many short runs counts: a roof is what is possible, and other programs can only make it look lower.

Source: Williams, Waterman, Patterson, Roofline: An Insightful Visual Performance Model (2009); McCalpin, STREAM (copy).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..command_line import EDGEKIT
from ..decode import DecodeError, canonical_json, decode, parse_json, to_plain
from ..errors import EngineError
from ..files import cached, keep
from ..machine.cpu import machine
from ..python_child import run
from .tiny_onnx import Tensor, one_node_model

_THIS = "edgekit.edge_runtime.profiling.machine_peaks"
MAX_AGE_S = 24 * 3600
_SIDE = 512  # of the matrices: a product is short enough to end before another program takes the core
_SECONDS = 0.35  # for each figure
_TIMEOUT_S = 120
_L2_BYTES, _L3_BYTES = 1 << 20, 32 << 20  # where the system does not report its caches
_MOST_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True)
class Peak:
    """One figure of this machine."""

    name: str
    """A precision, or a memory."""
    unit: str
    """GOP/s, where a multiply-accumulate is two operations; or GB/s, read and written."""
    value: float
    """The best of the samples."""
    how: str
    """What was run."""
    holds_bytes: int | None
    """How much this memory holds; None for arithmetic, and for the largest memory."""
    samples: tuple[float, ...]
    """Every run."""


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """All figures of this machine for one number of threads."""

    cpu: str
    """The processor's name."""
    num_threads: int
    """CPU threads used."""
    measured_at: str
    """When, UTC in ISO 8601."""
    peaks: tuple[Peak, ...]
    """Arithmetic first, then memories, the smallest first."""

    def arithmetic(self, precision: str) -> Peak | None:
        """The peak for an `Operator`'s precision: int8's for int8 and int4, else fp32's; None if not measured."""
        wanted = "int8" if precision in ("int8", "int4") else "fp32"
        return next((peak for peak in self.peaks if peak.name == wanted), None)

    def memory(self, working_set_bytes: int) -> Peak:
        """The smallest memory that holds so many bytes: what every run needs stays there."""
        levels = [peak for peak in self.peaks if peak.unit == "GB/s"]
        return next((peak for peak in levels if peak.holds_bytes and working_set_bytes <= peak.holds_bytes), levels[-1])


def peaks_file(num_threads: int) -> Path | None:
    """Where this machine's figures are kept; None where this user has no cache."""
    key = hashlib.sha256(repr(sorted(machine().items())).encode()).hexdigest()[:12]
    return cached(f"peaks-{key}-{num_threads}.json")


def machine_peaks(num_threads: int = 1, *, again: bool = False) -> Peaks:
    """This machine's figures: those of the last day, or else measured now, which takes two seconds.

    Args:
        again: measure in any case, and take the better of old and new figures, since neither can be too high.
    Raises:
        EngineError: the process that measures failed.
    """
    path = peaks_file(num_threads)
    kept = None if path is None else _kept(path)
    if kept is not None and not again:
        return kept
    try:
        done = run(_THIS, [str(num_threads)], timeout_s=_TIMEOUT_S, num_threads=num_threads)
        peaks = decode(Peaks, json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"this machine's peaks were not measured within {_TIMEOUT_S} s. Stop other programs and try again"
        ) from None
    except (ValueError, DecodeError):
        last = " | ".join(done.stderr.strip().splitlines()[-2:])
        raise EngineError(
            f"this machine's peaks could not be measured (status {done.returncode}): {last}. Run `{EDGEKIT} doctor`"
        ) from None
    if kept is not None:
        peaks = better(kept, peaks)
    keep(path, canonical_json(to_plain(peaks)))
    return peaks


def better(before: Peaks, now: Peaks) -> Peaks:
    """The higher figure of each pair, with the date of `now`."""
    known = {peak.name: peak for peak in before.peaks}
    best = (max(peak, known.get(peak.name, peak), key=lambda peak: peak.value) for peak in now.peaks)
    return replace(now, peaks=tuple(best))


def _kept(path: Path) -> Peaks | None:
    try:
        peaks = decode(Peaks, parse_json(path.read_bytes()))
        measured = datetime.datetime.fromisoformat(peaks.measured_at)
    except (OSError, ValueError, DecodeError):  # there is none, or another version wrote it
        return None
    age_s = (datetime.datetime.now(datetime.UTC) - measured).total_seconds()
    return peaks if 0 <= age_s < MAX_AGE_S else None


def measure_peaks(num_threads: int) -> Peaks:
    """Measures in this process, which must have been started with its libraries set to `num_threads`."""
    return Peaks(
        cpu=machine()["cpu"],
        num_threads=num_threads,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        peaks=(*_arithmetic(num_threads), *_bandwidths(num_threads)),
    )


def _arithmetic(num_threads: int) -> list[Peak]:
    draw = np.random.default_rng(0)
    left, right = draw.standard_normal((2, _SIDE, _SIDE), np.float32)
    result = np.empty((_SIDE, _SIDE), np.float32)
    operations = 2 * _SIDE**3
    candidates = [_best("fp32", operations, f"numpy, {_SIDE}³ sgemm", lambda: np.matmul(left, right, out=result))]
    try:
        import onnxruntime
    except ModuleNotFoundError:  # then there is no int8 peak, and numpy's is the fp32 one
        return candidates

    def session(kind: str, given: np.dtype, weights: np.ndarray, gives: np.dtype) -> Callable[[np.ndarray], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        model = one_node_model(
            kind, Tensor("a", given, (_SIDE, _SIDE)), {"b": weights}, Tensor("c", gives, (_SIDE, _SIDE))
        )
        opened = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda array: opened.run(None, {"a": array})

    fp32, uint8, int32 = map(np.dtype, ("float32", "uint8", "int32"))
    run = session("MatMul", fp32, right, fp32)
    candidates.append(_best("fp32", operations, f"onnxruntime, {_SIDE}³ MatMul", lambda: run(left)))
    bytes_left = draw.integers(0, 256, (_SIDE, _SIDE), np.uint8)
    bytes_right = draw.integers(-127, 128, (_SIDE, _SIDE), np.int8)
    run_int8 = session("MatMulInteger", uint8, bytes_right, int32)
    best = max(candidates, key=lambda peak: peak.value)
    how = f"onnxruntime, {_SIDE}³ MatMulInteger"
    return [best, _best("int8", operations, how, lambda: run_int8(bytes_left))]


def _bandwidths(num_threads: int) -> list[Peak]:
    l2, l3 = _cache_bytes(2) or _L2_BYTES, _cache_bytes(3) or _L3_BYTES
    levels: list[tuple[str, int, int | None]] = [
        ("L2", l2 // 4 * num_threads, l2 * num_threads),
        ("L3", l3 // 4, l3),
        ("memory", min(_MOST_BYTES, 4 * l3), None),
    ]
    peaks = []
    with ThreadPoolExecutor(num_threads) as pool:
        for name, size, holds in levels:
            source, target = np.ones((2, size // 4), np.float32)
            # Each thread copies its share: numpy uses one thread, and lets others run meanwhile.
            parts = list(zip(np.array_split(source, num_threads), np.array_split(target, num_threads), strict=True))
            repeats = max(1, (8 << 20) // size)  # so that the time to hand out the work does not matter

            def copy(part: tuple[np.ndarray, np.ndarray], repeats: int = repeats) -> None:
                for _ in range(repeats):
                    np.copyto(part[1], part[0])

            def work(parts: list[tuple[np.ndarray, np.ndarray]] = parts) -> None:
                if len(parts) == 1:
                    copy(parts[0])
                else:
                    list(pool.map(copy, parts))

            how = f"copy of {size / 1e6:.3g} MB, read and written"
            peaks.append(_best(name, 2 * size * repeats, how, work, unit="GB/s", holds_bytes=holds))
    return peaks


def _best(
    name: str, count: int, how: str, work: Callable[[], object], *, unit: str = "GOP/s", holds_bytes: int | None = None
) -> Peak:
    """Repeats `work`, which does `count` operations or moves `count` bytes; the first run does not count."""
    work()
    samples: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(samples) < 5 or time.perf_counter() < end:
        start = time.perf_counter_ns()
        work()
        samples.append(round(count / (time.perf_counter_ns() - start), 4))
    return Peak(name=name, unit=unit, value=max(samples), how=how, holds_bytes=holds_bytes, samples=tuple(samples))


def _cache_bytes(level: int) -> int | None:
    """Size of a cache of the first core, as Linux reports it; None elsewhere."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if (
                int((index / "level").read_text(encoding="utf-8")) == level
                and (index / "type").read_text(encoding="utf-8").strip() != "Instruction"
            ):
                text = (index / "size").read_text(encoding="utf-8").strip()
                return int(text.rstrip("KM")) * {"K": 1 << 10, "M": 1 << 20}.get(text[-1], 1)
        except (OSError, ValueError):
            continue
    return None


if __name__ == "__main__":
    print(json.dumps(to_plain(measure_peaks(int(sys.argv[1])))))
