"""MLPerf's LoadGen as a load on bundles: its four scenarios, its rules, its verdict, its log files.

LoadGen and the engine share one child process (`loadgen_worker`): a pipe between them would cost more than a small
model takes, and a crash still ends only the child. Queries are golden inputs, and the answers given under load are held
to what the bundle promises: wrong answers are an error, not a speed. Short runs: never a submission to MLPerf.

Source: Reddi et al., MLPerf Inference Benchmark (2020), section III; https://github.com/mlcommons/inference, loadgen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..benchmark.table import ms_text
from ..bundle.bundle import Bundle
from ..errors import EngineError, MissingDependency, UsageError, VerificationError, unknown
from ..worker.parent import Worker
from ..worker.replay import judge
from .log import DETAIL, read_answers, read_log

MLPERF_DURATION_S = 600  # what a submission has to run at least

_ACCURACY = "mlperf_log_accuracy.json"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What LoadGen reports of a scenario. `key` is the entry of its log."""

    metric: str
    key: str
    is_latency: bool
    about: str

    def text(self, value: float) -> str:
        """A value of the metric with its unit; latencies are in milliseconds."""
        return ms_text(value) if self.is_latency else f"{value:,.4g} samples/s"


SCENARIOS = {
    "SingleStream": Scenario(
        metric="p90 latency",
        key="result_90.00_percentile_latency_ns",
        is_latency=True,
        about="one sample after the other, as a camera app asks",
    ),
    "MultiStream": Scenario(
        metric="p99 latency of 8 samples",
        key="result_99.00_percentile_per_query_latency_ns",
        is_latency=True,
        about="eight samples at once, one query after the other, as eight cameras ask",
    ),
    "Offline": Scenario(
        metric="throughput",
        key="result_samples_per_second",
        is_latency=False,
        about="all samples at once, as a folder of pictures asks",
    ),
    "Server": Scenario(
        metric="throughput",
        key="result_completed_samples_per_sec",
        is_latency=False,
        about="one sample at random times (Poisson), as users of a service ask",
    ),
}


@dataclass(frozen=True, kw_only=True)
class LoadgenSettings:
    """What is asked of LoadGen. `qps` and `latency_ms` (the bound that 99 % of the answers must keep): Server only.

    `allow`: as in `engines.load`.
    """

    scenario: str
    duration_s: float = 10.0
    qps: float | None = None
    latency_ms: float | None = None
    num_threads: int = 1
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise unknown("scenario", self.scenario, SCENARIOS)
        if self.scenario != "Server" and (self.qps is not None or self.latency_ms is not None):
            raise UsageError(f"a rate and a latency bound belong to the scenario Server, not to {self.scenario}")
        for name, value in (("duration", self.duration_s), ("rate", self.qps), ("latency bound", self.latency_ms)):
            if value is not None and not value > 0:
                raise UsageError(f"the {name} should be more than 0, found {value}")


@dataclass(frozen=True, kw_only=True)
class LoadgenResult:
    """LoadGen's verdict on one bundle in one scenario, as its log says; `value` is in ms or samples/s.

    `target_qps` and `latency_bound_ms` are what was used, `chosen` why where they were not given. `sqnr_db` and
    `agreement` hold the answers given under load against the float model's; for an unverified bundle, against its own
    when it was packed.
    """

    name: str
    status: str
    engine: str
    scenario: str
    verdict: str
    invalid_because: tuple[str, ...]
    metric: str
    value: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    samples: int
    seconds: float
    duration_s: float
    num_threads: int
    target_qps: float | None
    latency_bound_ms: float | None
    chosen: str
    sqnr_db: float
    agreement: float
    golden_samples: int
    loadgen: str
    logs: str

    @property
    def valid(self) -> bool:
        return self.verdict == "VALID"


def require() -> None:
    """Raises MissingDependency unless LoadGen is installed."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise MissingDependency(
            "--scenario needs mlcommons-loadgen, which is not installed. Run: pip install 'edgekit[loadgen]'"
        )


def run_scenario(path: Path, settings: LoadgenSettings, out: Path) -> LoadgenResult:
    """Runs one bundle under LoadGen, first for its answers, then for its speed; the logs stay in `out`.

    They lie in `out/<bundle>/<scenario>/accuracy` and `…/performance`.

    Raises:
        MissingDependency: LoadGen or the bundle's engine is not installed.
        VerificationError: the answers under load miss what the manifest holds the bundle to.
        EngineError: the process died; its last words are in the text.
        UsageError: a rate that the bundle cannot come near.
    """
    require()
    with Bundle.open(path) as bundle:
        manifest, golden = bundle.manifest, bundle.golden()
        logs = (out / manifest.name / settings.scenario).resolve()
        logs.mkdir(parents=True, exist_ok=True)
        limit_s = 600 + 20 * settings.duration_s
        with Worker.for_bundle(
            bundle.folder, num_threads=settings.num_threads, allow=settings.allow, timeout_s=limit_s
        ) as worker:
            engine = worker.load()["version"]
            worker.set_samples(golden.inputs)
            used, under_load = worker.loadgen(asdict(settings) | {"logs": str(logs)})
    own = golden.own_answers(engine)
    if manifest.status != "verified" and own:  # it may miss the float model's: held to its own answers when packed
        golden = replace(golden, outputs=own)
    outputs = [(spec.name, spec.dtype, spec.shape[1:]) for spec in manifest.outputs]
    alone = read_answers(logs / "accuracy" / _ACCURACY, outputs)
    for found, when in ((alone, "one by one"), (under_load, "under load")):
        if golden.samples != len(next(iter(found.values()))):
            raise EngineError(
                f"{manifest.name}: LoadGen logged other samples than it was given; its logs are in {logs}"
            )
        verdict = judge(manifest, golden, found, engine)
        if not verdict.passed:
            raise VerificationError(
                f"{manifest.name} gave wrong answers {when} ({settings.scenario}): SQNR {verdict.sqnr_db:.1f} dB, "
                f"agrees {verdict.agreement:.1%}; held to {verdict.held_to}. No speed is reported. Logs: {logs}"
            )
    log = read_log(logs / "performance" / DETAIL)
    scenario = SCENARIOS[settings.scenario]
    per_query = "per_query_" if settings.scenario == "MultiStream" else ""
    p50, p90, p99 = (log[f"result_{q}.00_percentile_{per_query}latency_ns"] / 1e6 for q in (50, 90, 99))
    return LoadgenResult(
        name=manifest.name,
        status=manifest.status,
        engine=engine,
        scenario=settings.scenario,
        verdict=log["result_validity"],
        invalid_because=_reasons(log),
        metric=scenario.metric,
        value=log[scenario.key] / (1e6 if scenario.is_latency else 1),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        samples=used["samples"],
        seconds=used["seconds"],
        duration_s=settings.duration_s,
        num_threads=settings.num_threads,
        target_qps=used.get("target_qps"),
        latency_bound_ms=used.get("latency_bound_ms"),
        chosen=used.get("chosen", ""),
        sqnr_db=verdict.sqnr_db,
        agreement=verdict.agreement,
        golden_samples=golden.samples,
        loadgen=str(log["loadgen_version"]).split()[0],
        logs=str(logs),
    )


def run_scenarios(
    paths: Sequence[Path],
    settings: LoadgenSettings,
    out: Path,
    *,
    on_result: Callable[[LoadgenResult], None] = lambda result: None,
) -> list[LoadgenResult]:
    """`run_scenario` for one bundle after the other. Raises UsageError when two would write the same log folder."""
    names = [_name(path) for path in paths]
    if len(set(names)) != len(names):
        raise UsageError(f"give bundles with different names, found {', '.join(names)}: each keeps its own logs")
    results = []
    for path in paths:
        results.append(run_scenario(path, settings, out))
        on_result(results[-1])
    return results


def _reasons(log: dict[str, Any]) -> tuple[str, ...]:
    """Why LoadGen calls a run invalid, in its own words, each once."""
    if log["result_validity"] == "VALID":
        return ()
    rules = {
        "result_perf_constraints_met": "more than 1 % of the answers came after the latency bound",
        "result_min_duration_met": "it ended before its duration",
        "result_min_queries_met": "too few queries",
        "early_stopping_met": "too few queries for its percentile to be certain: a longer --duration-s gives more",
    }
    reasons = [text for key, text in rules.items() if log.get(key) is False]
    advice = " ".join(str(log.get("result_invalid_reason", "")).split())
    return (*reasons, *([f"LoadGen advises: {advice}"] if advice else []))


def _name(path: Path) -> str:
    with Bundle.open(path) as bundle:
        return bundle.name
