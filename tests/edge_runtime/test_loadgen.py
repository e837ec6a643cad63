"""LoadGen, the real one, on a small bundle: four scenarios, its verdict, its logs, answers held to the golden ones."""

import json
import re
import time

import numpy as np
import pytest
from tiny_bundle import make_bundle, quarter_weights
from typer.testing import CliRunner

from edgekit import cli as command
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import EngineError, MissingDependency, UsageError, VerificationError
from edgekit.edge_runtime.loadgen import child as loadgen_worker
from edgekit.edge_runtime.loadgen.scenarios import (
    SCENARIOS,
    LoadgenSettings,
    read_answers,
    read_log,
    require_loadgen,
    run_scenario,
    run_scenarios,
)

SHORT = 0.3  # seconds


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles"), name="quarters-onnx-fp32")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def results(bundle, logs):
    slow = {"Server": {"qps": 200.0, "latency_ms": 250.0}}  # what even a busy machine can do
    asked = [LoadgenSettings(scenario=name, duration_s=SHORT, **slow.get(name, {})) for name in SCENARIOS]
    return {settings.scenario: run_scenario(bundle, settings, logs) for settings in asked}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_scenario_runs_as_long_as_asked_and_says_what_loadgen_says(results, logs, scenario):
    result, folder = results[scenario], logs / "quarters-onnx-fp32" / scenario / "performance"
    summary = (folder / "mlperf_log_summary.txt").read_text()
    assert f"Result is : {result.verdict}" in summary
    assert f"Scenario : {scenario}" in summary
    assert result.valid == (result.invalid_because == ())
    assert result.seconds > 0.8 * SHORT
    assert result.samples > 20
    assert result.logs == str(folder.parent)


def test_the_metric_is_that_of_the_summary(results, logs):
    def said(scenario, pattern):
        path = logs / "quarters-onnx-fp32" / scenario / "performance" / "mlperf_log_summary.txt"
        return float(re.search(pattern, path.read_text())[1])

    single = said("SingleStream", r"90.0th percentile latency \(ns\) : (\S+)")
    assert results["SingleStream"].value == pytest.approx(single / 1e6)
    multi = said("MultiStream", r"99.0th percentile latency \(ns\) : (\S+)")
    assert results["MultiStream"].value == pytest.approx(multi / 1e6)
    assert results["Offline"].value == pytest.approx(said("Offline", r"Samples per second: (\S+)"), rel=1e-4)
    assert results["Server"].value == pytest.approx(said("Server", r"Completed samples per second +: (\S+)"), rel=1e-4)


def test_server_is_asked_for_the_rate_and_bound_given(results):
    server = results["Server"]
    assert (server.target_qps, server.latency_bound_ms, server.chosen) == (200.0, 250.0, "")
    assert server.value == pytest.approx(200, rel=0.5)  # arrivals are random


def test_answers_under_load_are_the_golden_ones(results):
    assert min(result.sqnr_db for result in results.values()) > 60
    assert {(result.agreement, result.golden_samples) for result in results.values()} == {(1.0, 12)}


def test_wrong_answers_are_an_error_and_no_speed(tmp_path):
    wrong = make_bundle(tmp_path / "bundles", name="wrong", weights=quarter_weights()[:, ::-1])
    with pytest.raises(VerificationError, match=r"wrong gave wrong answers one by one \(Offline\).*agrees on 0 %"):
        run_scenario(wrong, LoadgenSettings(scenario="Offline", duration_s=0.05), tmp_path)


def test_an_unverified_bundle_is_held_to_its_own_answers_and_stamped(tmp_path):
    name = {"name": "wrong", "status": "unverified", "weights": quarter_weights()[:, ::-1]}
    path = make_bundle(tmp_path / "bundles", **name)
    result = run_scenario(path, LoadgenSettings(scenario="Offline", duration_s=0.05), tmp_path)
    assert (result.status, result.agreement) == ("unverified", 1.0)


def test_options_that_do_not_go_together_are_refused(bundle):
    for options, said in (
        (["--scenario", "Offline", "--profile"], "give only one of them"),
        (["--qps", "5"], "belong to --scenario"),
    ):
        done = CliRunner().invoke(command.app, ["benchmark", str(bundle), *options])
        assert isinstance(done.exception, UsageError)
        assert said in str(done.exception)


def test_server_without_a_rate_takes_three_fifths_of_what_offline_makes(bundle, tmp_path):
    result = run_scenario(bundle, LoadgenSettings(scenario="Server", duration_s=0.05), tmp_path)
    offline = read_log(tmp_path / bundle.name / "Server" / "offline" / "mlperf_log_detail.txt")
    assert result.target_qps == pytest.approx(0.6 * offline["result_samples_per_second"], rel=1e-6)
    assert result.latency_bound_ms >= 15
    assert result.chosen.startswith("rate: 60 % of the ")


def test_a_rate_out_of_reach_is_refused_before_it_takes_hours(bundle, tmp_path):
    settings = LoadgenSettings(scenario="Server", duration_s=0.05, qps=1e9)
    with pytest.raises(UsageError, match=r"--qps 1e\+09 is out of reach"):
        run_scenario(bundle, settings, tmp_path)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="unknown scenario 'Stream'. Known: MultiStream, Offline, Server, Single"):
        LoadgenSettings(scenario="Stream")
    with pytest.raises(UsageError, match="belong to the scenario Server, not to Offline"):
        LoadgenSettings(scenario="Offline", qps=5)
    with pytest.raises(UsageError, match="duration should be above 0, found 0"):
        LoadgenSettings(scenario="Offline", duration_s=0)


def test_two_bundles_of_one_name_would_share_their_logs(bundle, tmp_path):
    with pytest.raises(UsageError, match="so the names must differ"):
        run_scenarios([bundle, bundle], LoadgenSettings(scenario="Offline"), tmp_path)


class FailsLater:
    """An engine that answers in a millisecond, and after being tried out no longer."""

    def __init__(self):
        self.left = 35

    def run(self, arrays):
        time.sleep(0.001)
        self.left -= 1
        if self.left < 0:
            raise EngineError("out of memory")
        return {"answer": np.zeros(1, np.float32)}


@pytest.mark.parametrize("scenario", ["SingleStream", "Server"])
def test_an_engine_that_fails_under_load_ends_the_run_with_its_own_words(tmp_path, scenario):
    asked = {"scenario": scenario, "duration_s": 0.05, "logs": str(tmp_path), "qps": 50.0, "latency_ms": 9.0}
    with pytest.raises(EngineError, match="failed under LoadGen: out of memory"):
        loadgen_worker.run(FailsLater(), [{"image": np.zeros(1)}] * 4, asked)


def test_logs_that_are_none_are_named(tmp_path):
    (tmp_path / "detail.txt").write_text(':::MLLOG {"key": "error_runtime", "value": "no queries"}\n')
    (tmp_path / "cut.txt").write_text(':::MLLOG {"key": "error_run')
    (tmp_path / "accuracy.json").write_text(json.dumps([{"qsl_idx": 0, "data": "00ff"}]))
    with pytest.raises(EngineError, match="reached no verdict: no queries"):
        read_log(tmp_path / "detail.txt")
    with pytest.raises(EngineError, match="log cannot be read"):
        read_log(tmp_path / "cut.txt")
    with pytest.raises(EngineError, match="accuracy log cannot be read"):
        read_answers(tmp_path / "none.json", [("a", "uint8", (2,))])
    with pytest.raises(EngineError, match="should hold 4 bytes for each sample"):
        read_answers(tmp_path / "accuracy.json", [("a", "float32", (1,))])


class TwoOutputs:
    """Answers with the sample's number and twice that, in two types."""

    def run(self, arrays):
        number = arrays["number"]
        return {"same": number.astype(np.int64), "twice": (2 * number).astype(np.float32)}


def test_several_outputs_go_through_loadgen_and_come_back(tmp_path):
    samples = [{"number": np.full((1, 3), i)} for i in range(5)]
    asked = {"scenario": "Offline", "duration_s": 0.05, "logs": str(tmp_path), "qps": None, "latency_ms": None}
    _, under_load = loadgen_worker.run(TwoOutputs(), samples, asked)
    outputs = [("same", "int64", (3,)), ("twice", "float32", (3,))]
    logged = read_answers(tmp_path / "accuracy" / "mlperf_log_accuracy.json", outputs)
    for found in (under_load, logged):
        assert found["same"].tolist() == [[i] * 3 for i in range(5)]
        assert found["twice"].tolist() == [[2 * i] * 3 for i in range(5)]


def test_several_outputs_are_told_apart_in_the_accuracy_log(tmp_path):
    rows = [{"qsl_idx": 1, "data": "0203" + "0400"}, {"qsl_idx": 0, "data": "0001" + "0500"}]
    (tmp_path / "log.json").write_text(json.dumps(rows))
    found = read_answers(tmp_path / "log.json", [("pair", "uint8", (2,)), ("one", "int16", ())])
    assert found["pair"].tolist() == [[0, 1], [2, 3]]
    assert found["one"].tolist() == [5, 4]


def test_without_the_package_the_command_to_install_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.path", [str(tmp_path)])  # where nothing is installed
    monkeypatch.delitem(__import__("sys").modules, "mlperf_loadgen", raising=False)
    with pytest.raises(MissingDependency, match=re.escape(install("loadgen"))):
        require_loadgen()


def test_the_command_prints_verdict_metric_and_logs(bundle, tmp_path):
    arguments = ["benchmark", str(bundle), "--scenario", "SingleStream", "--duration-s", "0.1", "--out", str(tmp_path)]
    done = CliRunner().invoke(command.app, arguments)
    text = " ".join(done.stdout.split())
    assert done.exit_code == 0, done.output
    assert re.search(r"(IN)?VALID quarters-onnx-fp32: p90 latency [\d.]+ (µs|ms)", text)
    assert f"logs: {tmp_path / 'quarters-onnx-fp32' / 'SingleStream'}" in text
    assert "Not an MLPerf submission" in text
