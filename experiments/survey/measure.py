"""Times what the survey made: float against int8 of each model, interleaved, and which operators make int8 slower.

Each model has a file under the survey's place, so that a run that was stopped continues with the next model.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.benchmark_result import Settings
from edgekit.edge_runtime.benchmark.measure import bundle_candidate, measure
from edgekit.edge_runtime.benchmark.stats import paired_ratio
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.engines import RUNS_CODE
from edgekit.edge_runtime.errors import EdgekitError, Interrupted
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.profiling.profile import Profile, profile_bundle, typical_ns
from edgekit.optimize.exporters import EXPORTERS

from .models import known_models, safe_name
from .rows import Combination, bundle_folder, kept_row

MODES = ("conv", "all")
COMPARED = ("onnx", "executorch_xnnpack")  # the exporters whose int8 is meant to be faster than their float
SMALLEST_MFLOP = 10.0
# About 15 s a model, 12 minutes for all: enough for a ratio of paired rounds with its interval, too short to quote a
# latency. Cold starts are not the question here.
SHORT = Settings(rounds=9, round_ms=50, min_samples=45, warmup_rounds=3, cold_starts=1)
_PROFILED_S = 1.0
_MOST = 3


def measure_all(
    wanted: Sequence[Combination], place: Path, *, mode: str, retry: bool, say: Callable[[str], None]
) -> None:
    """Measures the bundles of each model in one session, and keeps the model's figures at once.

    Raises:
        Interrupted: Ctrl-C; the models that were measured are kept.
    """
    models: dict[str, list[dict[str, Any]]] = {one.model: [] for one in wanted}
    elsewhere = 0
    for one in wanted:
        row = kept_row(one, place)
        if row is None or "bundle" not in row or not _is_asked(row, mode):
            continue
        if bundle_folder(row, place).is_dir():
            models[one.model].append(row)
        else:
            elsewhere += 1
    if elsewhere:
        say(f"{elsewhere} bundles are not in {place}, and left out: --remake makes them again")
    left = {name: rows for name, rows in models.items() if rows and _to_measure(name, place, retry=retry)}
    say(f"{len(left)} models to measure")
    began = time.monotonic()
    for i, (name, rows) in enumerate(left.items()):
        try:
            figures = _measured(rows, place)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted at {name}. {i} models measured now are kept") from None
        except EdgekitError as error:
            figures = {"error": str(error)}
        keep_latency(name, place, figures)
        minutes = (time.monotonic() - began) / (i + 1) * (len(left) - i - 1) / 60
        ratios = ", ".join(f"{engine} int8 {one['ratio']:.2f}x" for engine, one in figures.get("int8", {}).items())
        say(f"[{i + 1}/{len(left)}, {minutes:.0f} min left] {name}: {figures.get('error') or ratios or 'measured'}")


def keep_latency(name: str, place: Path, figures: dict[str, Any]) -> None:
    path = _file(name, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, canonical_json(figures))


def kept_latency(place: Path) -> dict[str, Any]:
    """What was measured, by the model's name in the survey."""
    files = {name: _file(name, place) for name in known_models()}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}


def why_slower(floating: Profile, quantized: Profile) -> str:
    """The three kinds of operators that slow int8 down most, compared with float, in a sentence.

    Kinds are compared, not single operators, because quantizing renames, splits and fuses these.
    """
    before, after = _ns_by_kind(floating), _ns_by_kind(quantized)
    extra = sorted(((after[kind] - before.get(kind, 0.0), kind) for kind in after), reverse=True)
    parts = []
    for ns, kind in extra[:_MOST]:
        if ns <= 0:
            continue
        held = f"{before[kind] / 1e6:.3f} ms in float" if kind in before else "not there in float"
        parts.append(f"{kind} {after[kind] / 1e6:.3f} ms ({held})")
    if not parts:
        return "No kind of operator takes longer in int8: the time lies between operators."
    return f"Where int8 takes longer than float: {'; '.join(parts)}."


def _ns_by_kind(profile: Profile) -> Counter[str]:
    totals: Counter[str] = Counter()
    for operator in profile.operators:
        totals[plain_kind(operator.kind)] += typical_ns(operator)  # type: ignore[assignment]
    return totals


def plain_kind(kind: str) -> str:
    """The kind of an operator without the words for its implementation: QLinearConv and FusedConv are Conv."""
    for word in ("QLinear", "Fused", "Nhwc", "Q"):
        if kind.startswith(word) and kind[len(word) : len(word) + 1].isupper() and kind != "QuantizeLinear":
            return plain_kind(kind.removeprefix(word))
    return kind.split(" (")[0]


def _is_asked(row: dict[str, Any], mode: str) -> bool:
    if not EXPORTERS[row["exporter"]].runs_here:
        return False
    if mode == "all":
        return True
    compared = row["exporter"] in COMPARED and row["recipe"] != "w8_dynamic"
    return compared and row["convolutional"] and row["mflop"] > SMALLEST_MFLOP


def _to_measure(name: str, place: Path, *, retry: bool) -> bool:
    path = _file(name, place)
    if not path.is_file():
        return True
    kept = json.loads(path.read_text(encoding="utf-8"))
    return retry and ("error" in kept or any(one["disturbed"] for one in kept["bundles"].values()))


def _file(name: str, place: Path) -> Path:
    return place / "latency" / f"{safe_name(name)}.json"


def _measured(rows: Sequence[dict[str, Any]], place: Path) -> dict[str, Any]:
    paths = {(row["exporter"], row["recipe"]): bundle_folder(row, place) for row in rows}
    candidates = [bundle_candidate(path, allow=RUNS_CODE) for path in paths.values()]
    results = dict(zip(paths, measure(candidates, SHORT), strict=True))
    figures: dict[str, Any] = {
        "bundles": {
            f"{exporter}-{recipe}": {
                "p50_ms": round(one.percentile_ms(50), 4),
                "engine": one.engine,
                "runs": len(one.wall_ns),
                "disturbed": [why for why in one.invalid_because if not why.startswith("too short")],
            }
            for (exporter, recipe), one in results.items()
        },
        "int8": {},
    }
    for exporter in dict.fromkeys(exporter for exporter, _ in results):
        before, after = (exporter, "fp32"), (exporter, "w8a8_static")
        if before not in results or after not in results:
            continue
        ratio = paired_ratio(results[before].rounds_p50_ms, results[after].rounds_p50_ms)
        said = {"ratio": round(ratio.value, 4), "low": round(ratio.low, 4), "high": round(ratio.high, 4), "why": ""}
        if ratio.value < 1:
            said["why"] = _explained(paths[before], paths[after])
        figures["int8"][exporter] = said
    return figures


def _explained(floating: Path, quantized: Path) -> str:
    try:
        profiles = [profile_bundle(path, seconds=_PROFILED_S, allow=RUNS_CODE) for path in (floating, quantized)]
    except EdgekitError as error:
        return f"Not explained: {error}"
    return why_slower(*profiles)
