"""Bundles under load from MLPerf's LoadGen: its four scenarios, its rules, its verdict, its log files.

LoadGen and the engine share one child process (`child`): a pipe between them would take longer than a small model does,
and a crash still ends only the child. The queries are golden inputs, and the answers under load must be as close as the
bundle promises: wrong answers are an error, not a speed. Runs are short, so they are never MLPerf submissions.

Source: Reddi et al., MLPerf Inference Benchmark (2020), section III; https://github.com/mlcommons/inference, loadgen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.status import PROVEN
from ..choice import engine_for
from ..command_line import EDGEKIT, install
from ..engines import row_name
from ..errors import EngineError, MissingDependency, UsageError, VerificationError, unknown
from ..format import db_text, ms_text, percent_text
from ..worker.parent import Worker
from ..worker.replay import judge
from .log import DETAIL, read_answers, read_log

MLPERF_DURATION_S = 600  # the shortest run that MLPerf accepts

_ACCURACY = "mlperf_log_accuracy.json"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What LoadGen reports of a scenario."""

    metric: str
    """The name of its figure."""
    key: str
    """Its entry in LoadGen's log."""
    is_latency: bool
    """Whether it is in nanoseconds; otherwise it is in samples per second."""
    about: str
    """How queries come, in words."""

    def text(self, value: float) -> str:
        """A value of the metric with its unit; latencies are in milliseconds."""
        return ms_text(value) if self.is_latency else f"{value:,.4g} samples/s"


SCENARIOS = {
    "SingleStream": Scenario(
        metric="p90 latency",
        key="result_90.00_percentile_latency_ns",
        is_latency=True,
        about="one sample after another, as from a camera app",
    ),
    "MultiStream": Scenario(
        metric="p99 latency of 8 samples",
        key="result_99.00_percentile_per_query_latency_ns",
        is_latency=True,
        about="eight samples at a time, one query after another, as from eight cameras",
    ),
    "Offline": Scenario(
        metric="throughput",
        key="result_samples_per_second",
        is_latency=False,
        about="all samples at once, as from a folder of pictures",
    ),
    "Server": Scenario(
        metric="throughput",
        key="result_completed_samples_per_sec",
        is_latency=False,
        about="single samples at random times (Poisson), as from the users of a service",
    ),
}


@dataclass(frozen=True, kw_only=True)
class LoadgenSettings:
    """What LoadGen should do."""

    scenario: str
    """One of `SCENARIOS`."""
    duration_s: float = 10.0
    """How long to run, at least."""
    qps: float | None = None
    """Queries per second; only for Server."""
    latency_ms: float | None = None
    """How long 99 % of the answers may take; only for Server."""
    num_threads: int = 1
    """CPU threads for one inference."""
    engine: str | None = None
    """Which engine of the bundle's format, as in `choice.engine_for`."""
    allow: tuple[str, ...] = ()
    """Formats that may run code from their files, as in `engines.load`."""

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise unknown("scenario", self.scenario, SCENARIOS)
        if self.scenario != "Server" and (self.qps is not None or self.latency_ms is not None):
            raise UsageError(
                f"--qps and --latency-ms belong to the scenario Server, not to {self.scenario}: leave them out"
            )
        for name, value in (("duration", self.duration_s), ("rate", self.qps), ("latency bound", self.latency_ms)):
            if value is not None and not value > 0:
                raise UsageError(f"the {name} should be above 0, found {value}")


@dataclass(frozen=True, kw_only=True)
class LoadgenResult:
    """LoadGen's verdict on one bundle in one scenario, from its log."""

    name: str
    """The bundle."""
    status: str
    """What was proven of it."""
    engine: str
    """The library that ran it, and its version."""
    scenario: str
    """One of `SCENARIOS`."""
    verdict: str
    """"VALID" or "INVALID"."""
    invalid_because: tuple[str, ...]
    """Which rules the run broke, and LoadGen's advice."""
    metric: str
    """The name of the scenario's figure."""
    value: float
    """The figure, in milliseconds or samples per second."""
    p50_ms: float
    """Latency of a query: half took no longer."""
    p90_ms: float
    """Nine of ten took no longer."""
    p99_ms: float
    """All but one in a hundred took no longer."""
    samples: int
    """How many samples were answered."""
    seconds: float
    """How long the run took."""
    duration_s: float
    """How long it should take, at least."""
    num_threads: int
    """CPU threads for one inference."""
    target_qps: float | None
    """Queries per second that were sent; only for Server."""
    latency_bound_ms: float | None
    """How long 99 % of the answers might take; only for Server."""
    chosen: str
    """How rate and bound were chosen, where the user gave none."""
    sqnr_db: float
    """The answers under load against the float model's; of an unverified bundle, against its own when it was packed."""
    agreement: float
    """The share of samples with the same answer, against the same reference."""
    golden_samples: int
    """How many different samples there are."""
    loadgen: str
    """LoadGen's version."""
    logs: str
    """The folder of its logs."""

    @property
    def valid(self) -> bool:
        return self.verdict == "VALID"


def require_loadgen() -> None:
    """Raises MissingDependency unless LoadGen is installed."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise MissingDependency(
            f"--scenario needs mlcommons-loadgen, which is not installed. Run: {install('loadgen')}"
        )


def run_scenario(path: Path, settings: LoadgenSettings, out: Path) -> LoadgenResult:
    """Runs one bundle under LoadGen, first for its answers, then for its speed.

    The logs stay in `out/<bundle>/<scenario>/accuracy` and `…/performance`.

    Raises:
        MissingDependency: LoadGen or the bundle's engine is not installed.
        VerificationError: the answers under load are further off than the manifest allows.
        EngineError: the process died; its last messages are in the text.
        UsageError: a rate far beyond what the bundle can answer.
    """
    require_loadgen()
    with Bundle.open(path) as bundle:
        manifest, golden = bundle.manifest, bundle.golden()
        chosen = engine_for(bundle, settings.engine, num_threads=settings.num_threads, allow=settings.allow)
        name = row_name(manifest.name, manifest.artifact.format, chosen)
        logs = (out / name / settings.scenario).resolve()
        logs.mkdir(parents=True, exist_ok=True)
        limit_s = 600 + 20 * settings.duration_s
        with Worker.for_bundle(
            bundle.folder,
            engine=chosen,
            num_threads=settings.num_threads,
            allow=settings.allow,
            timeout_s=limit_s,
        ) as worker:
            engine = worker.load()["version"]
            worker.set_samples(golden.inputs)
            used, under_load = worker.loadgen(asdict(settings) | {"logs": str(logs)})
    own = golden.own_answers(engine)
    if manifest.status not in PROVEN and own:  # may differ from the float model: compared with itself when packed
        golden = replace(golden, outputs=own)
    outputs = [(spec.name, spec.dtype, spec.shape[1:]) for spec in manifest.outputs]
    alone = read_answers(logs / "accuracy" / _ACCURACY, outputs)
    for answers, when in ((alone, "one by one"), (under_load, "under load")):
        if golden.samples != len(next(iter(answers.values()))):
            raise EngineError(f"{name}: LoadGen logged other samples than it was given. Its logs are in {logs}")
        verdict = judge(manifest, golden, answers, engine)
        if not verdict.passed:
            raise VerificationError(
                f"{name} gave wrong answers {when} ({settings.scenario}): SQNR {db_text(verdict.sqnr_db)}, "
                f"agrees on {percent_text(verdict.agreement)}; required: {verdict.held_to}. So no speed is reported. "
                f"Run `{EDGEKIT} verify` on the bundle. Logs: {logs}"
            )
    log = read_log(logs / "performance" / DETAIL)
    scenario = SCENARIOS[settings.scenario]
    per_query = "per_query_" if settings.scenario == "MultiStream" else ""
    p50, p90, p99 = (log[f"result_{q}.00_percentile_{per_query}latency_ns"] / 1e6 for q in (50, 90, 99))
    return LoadgenResult(
        name=name,
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
    """`run_scenario` for one bundle after another. Raises UsageError where two would write to the same log folder."""
    names = [_name(path) for path in paths]
    if len(set(names)) != len(names):
        raise UsageError(f"each bundle keeps logs under its name, so the names must differ; found {', '.join(names)}")
    results = []
    for path in paths:
        results.append(run_scenario(path, settings, out))
        on_result(results[-1])
    return results


def _reasons(log: dict[str, Any]) -> tuple[str, ...]:
    """Why LoadGen calls a run invalid, and its advice in its own words."""
    if log["result_validity"] == "VALID":
        return ()
    rules = {
        "result_perf_constraints_met": "more than 1 % of the answers exceeded the latency bound",
        "result_min_duration_met": "it ended too early",
        "result_min_queries_met": "too few queries",
        "early_stopping_met": "too few queries for a certain percentile: raise --duration-s",
    }
    reasons = [text for key, text in rules.items() if log.get(key) is False]
    advice = " ".join(str(log.get("result_invalid_reason", "")).split())
    return (*reasons, *([f"LoadGen advises: {advice}"] if advice else []))


def _name(path: Path) -> str:
    with Bundle.open(path) as bundle:
        return bundle.name
