"""The child's half of `scenarios`: LoadGen and one engine in one process, with only Python between them.

Knows the engine and the samples it is given. Knows nothing of bundles, and never judges an answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlperf_loadgen
import numpy as np

from ..arrays import Arrays
from ..engines import Engine
from ..errors import EngineError, UsageError
from ..format import percent_text
from .log import DETAIL, read_log

SERVER_LOAD = 0.6  # the rate, as a share of the measured throughput, where the user gives none
SERVER_LATENCY_MS = 15.0  # MLPerf's bound for its image classifiers
SERVER_LATENCIES = 10.0  # the bound is at least this many times one inference

_ANSWERS, _SPEED = mlperf_loadgen.TestMode.AccuracyOnly, mlperf_loadgen.TestMode.PerformanceOnly
_MOST = 4.0  # the highest rate, in times the measured throughput: LoadGen would wait for every query beyond it


class _Subject:
    """The system under test: runs queries on the engine, keeps the last answer to each sample, reports them done."""

    def __init__(self, engine: Engine, samples: Sequence[Arrays]):
        self._engine = engine
        self._samples = samples
        self.answers: list[Arrays | None] = [None] * len(samples)
        self.error: Exception | None = None
        self.count = 0

    def run(self, queries: Sequence[Any]) -> None:
        """Answers each query as soon as it is done. Keeps an error for later: nothing may be raised into LoadGen."""
        for query in queries:
            if self.error is None:
                try:
                    self.answers[query.index] = self._engine.run(self._samples[query.index])
                except Exception as error:
                    self.error = error
            # LoadGen copies the buffer while we wait; it lives until `answers` is written again at this index.
            buffer = _joined(self.answers[query.index])
            address = buffer.__array_interface__["data"][0] if buffer.nbytes else 0
            mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(query.id, address, buffer.nbytes)])
            self.count += 1


def run(engine: Engine, samples: Sequence[Arrays], asked: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Runs LoadGen twice, for the answers and for the speed.

    Args:
        asked: the fields of `LoadgenSettings`, and `logs`, the folder for `accuracy` and `performance`.
    Returns:
        what was used and measured, and the last answers (N, …) of the performance run.
    Raises:
        EngineError: the engine failed under load.
        UsageError: a rate far beyond what the engine can do.
    """
    logs, is_server = Path(asked["logs"]), asked["scenario"] == "Server"
    inference_ns = _calibrate(engine, samples, asked["duration_s"])
    settings, used = _settings(asked["scenario"], asked["duration_s"], inference_ns), {}
    if is_server:
        alone = _settings("Offline", asked["duration_s"] / 10, inference_ns)
        _start(alone, _SPEED, engine, samples, logs / "offline", is_server=False)
        able = read_log(logs / "offline" / DETAIL)["result_samples_per_second"]
        used = _server(settings, asked, able, float(np.median(inference_ns)) / 1e6)
    accuracy, _ = _start(settings, _ANSWERS, engine, samples, logs / "accuracy", is_server=is_server)
    subject, seconds = _start(settings, _SPEED, engine, samples, logs / "performance", is_server=is_server)
    used |= {"seconds": seconds, "samples": subject.count}
    # A short run may not reach every sample; the accuracy run has answers to those.
    last = [late or early for late, early in zip(subject.answers, accuracy.answers, strict=True)]
    answers = [answer for answer in last if answer is not None]
    return used, {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _start(
    settings: Any, mode: Any, engine: Engine, samples: Sequence[Arrays], folder: Path, *, is_server: bool
) -> tuple[_Subject, float]:
    """Runs one test of LoadGen; returns the subject that answered it and how many seconds it took."""
    folder.mkdir(parents=True, exist_ok=True)  # without the folder, LoadGen ends the process
    settings.mode = mode
    subject = _Subject(engine, samples)
    output = mlperf_loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    log = mlperf_loadgen.LogSettings()
    log.log_output = output
    log.enable_trace = False
    issue, stop = _threaded(subject) if is_server else (subject.run, lambda: None)
    system = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(len(samples), len(samples), lambda _: None, lambda _: None)
    # LoadGen obeys an audit.config in the working directory; this names one that does not exist.
    start = time.perf_counter()
    mlperf_loadgen.StartTestWithLogSettings(system, library, settings, log, str(folder / "audit.config"))
    seconds = time.perf_counter() - start
    stop()
    mlperf_loadgen.DestroyQSL(library)
    mlperf_loadgen.DestroySUT(system)
    if subject.error is not None:
        raise EngineError(f"the engine failed under LoadGen: {subject.error}")
    return subject, seconds


def _threaded(subject: _Subject) -> tuple[Callable[[Sequence[Any]], None], Callable[[], None]]:
    """Server sends queries on a clock that must not wait for answers, so another thread answers them."""
    waiting: queue.SimpleQueue[Sequence[Any] | None] = queue.SimpleQueue()

    def work() -> None:
        while (queries := waiting.get()) is not None:
            subject.run(queries)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def stop() -> None:
        waiting.put(None)
        thread.join()

    return waiting.put, stop


def _calibrate(engine: Engine, samples: Sequence[Arrays], duration_s: float) -> np.ndarray:
    """Nanoseconds of single inferences, warmed up, for a tenth of the duration. LoadGen plans its queries from them."""
    for i in range(5):
        engine.run(samples[i % len(samples)])
    taken: list[int] = []
    end = time.perf_counter() + min(1.0, duration_s / 10)
    while len(taken) < 20 or time.perf_counter() < end:
        start = time.perf_counter_ns()
        engine.run(samples[len(taken) % len(samples)])
        taken.append(time.perf_counter_ns() - start)
    return np.array(taken)


def _settings(scenario: str, duration_s: float, inference_ns: np.ndarray) -> Any:
    """LoadGen's settings for a run of `duration_s`.

    LoadGen prepares its queries from the latency it is told to expect, and a run that uses them up too early is not
    valid. So it is told to expect faster inferences than those seen.
    """
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = getattr(mlperf_loadgen.TestScenario, scenario)
    settings.min_duration_ms = max(1, round(duration_s * 1000))
    fastest_ns = float(inference_ns.min()) / 1.5
    settings.single_stream_expected_latency_ns = max(1, int(fastest_ns))
    settings.multi_stream_expected_latency_ns = max(1, int(fastest_ns * settings.multi_stream_samples_per_query))
    # Offline runs all prepared queries, however long that takes, and LoadGen itself adds a tenth to them.
    settings.offline_expected_qps = 1e9 / float(np.percentile(inference_ns, 10))
    return settings


def _server(settings: Any, asked: dict[str, Any], able: float, inference_ms: float) -> dict[str, Any]:
    """Sets rate and latency bound: the user's, or ones that fit the throughput of a short Offline run.

    Args:
        able: that throughput, in samples per second.
    Raises:
        UsageError: a rate far beyond `able`.
    """
    qps, bound_ms, chosen = asked["qps"], asked["latency_ms"], []
    if qps is not None and qps > _MOST * able:
        raise UsageError(
            f"--qps {qps:,.4g} is out of reach: this bundle answers {able:,.4g} queries/s here. Give a lower rate"
        )
    if qps is None:
        qps = SERVER_LOAD * able
        chosen.append(f"rate: {percent_text(SERVER_LOAD, 0)} of the {able:,.4g} samples/s of a short Offline run")
    if bound_ms is None:
        bound_ms = max(SERVER_LATENCY_MS, SERVER_LATENCIES * inference_ms)
        chosen.append(
            f"bound: {SERVER_LATENCY_MS:g} ms, or the time of {SERVER_LATENCIES:g} inferences if that is longer"
        )
    settings.server_target_qps = qps
    settings.server_target_latency_ns = round(bound_ms * 1e6)
    return {"target_qps": qps, "latency_bound_ms": bound_ms, "chosen": "; ".join(chosen)}


def _joined(answer: Arrays | None) -> np.ndarray:
    """All outputs of one sample as one buffer; the array itself where there is only one."""
    if answer is None:
        return np.empty(0, np.uint8)
    if len(answer) == 1:
        return np.ascontiguousarray(next(iter(answer.values())))
    return np.concatenate([np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in answer.values()])
