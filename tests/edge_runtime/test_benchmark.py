"""A real measurement of two tiny bundles: what is kept of it, what is derived, and what it costs to get it wrong."""

import itertools
import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from engine_bundles import early_exit_bundle
from tiny_bundle import make_bundle

from edgekit.cli.benchmark import from_bundles
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, BenchmarkResult
from edgekit.edge_runtime.benchmark.measure import Candidate, bundle_candidate, measure
from edgekit.edge_runtime.benchmark.rows import Subject, scaling_point
from edgekit.edge_runtime.benchmark.rows import row as row_of
from edgekit.edge_runtime.benchmark.stats import medians_by_input_ms
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import BundleError, InputError, UsageError
from edgekit.edge_runtime.worker.parent import Worker

SUBJECT = Subject(status="verified", recipe="fp32", exporter="onnx", metric=None)
SHORT = replace(QUICK, rounds=5, round_ms=4, min_samples=40, warmup_rounds=2, cold_starts=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder, name=f"quarters-onnx-{recipe}", recipe=recipe) for recipe in ("fp32", "w8")]


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def powercap(tmp_path_factory):
    """A counter that goes up by a millijoule about every millisecond, and wraps around now and then."""
    folder = tmp_path_factory.mktemp("powercap")
    zone, stop = folder / "intel-rapl:0", threading.Event()
    zone.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "50000"), ("energy_uj", "0"), ("next", "")):
        (zone / name).write_text(text)

    def count():
        for uj in itertools.cycle(range(0, 50_000, 1000)):
            (zone / "next").write_text(str(uj))
            (zone / "next").replace(zone / "energy_uj")
            if stop.wait(0.001):
                return

    thread = threading.Thread(target=count)
    thread.start()
    yield folder
    stop.set()
    thread.join()


@pytest.fixture(scope="module")
def results(folders, steps, powercap):
    candidates = [bundle_candidate(folder) for folder in folders]
    return measure(candidates, SHORT, on_progress=lambda *step: steps.append(step), powercap=powercap)


@pytest.fixture(scope="module")
def saved(folders, results, tmp_path_factory):
    measured = from_bundles([Bundle.open(f).manifest for f in folders], results, results[0])
    path = tmp_path_factory.mktemp("results") / "results.json"
    measurement.save(measured, results, path)
    return measured, path


def test_every_run_is_kept_and_figures_follow_from_them(results):
    first = results[0]
    assert [len(first.rounds_wall_ns), len(first.rounds_cpu_ns)] == [5, 5]
    assert len(first.wall_ns) >= 40
    assert first.percentile_ms(50) <= first.percentile_ms(99) <= first.percentile_ms(100)
    assert first.per_second == pytest.approx(1e9 / first.wall_ns.mean())
    assert first.cpu_ms == pytest.approx(np.concatenate(first.rounds_cpu_ns).mean() / 1e6)


def test_cold_starts_are_fresh_processes_and_take_longer_than_a_load(results):
    for result in results:
        assert len(result.cold_starts_ms) == SHORT.cold_starts
        assert min(result.cold_starts_ms) > result.load_ms
        assert result.cold_start_ms > 50 * result.percentile_ms(50)


def test_memory_is_told_apart_from_an_empty_process(results):
    for result in results:
        assert 5_000_000 < result.empty_rss_bytes < result.peak_rss_bytes
        assert result.rss_added_bytes == result.peak_rss_bytes - result.empty_rss_bytes > 1_000_000


def test_energy_is_counted_round_by_round(results, saved):
    for result in results:
        assert len(result.rounds_uj) == SHORT.rounds
        assert all(0 <= uj < 50_000 for uj in result.rounds_uj)
        assert result.energy_mj == pytest.approx(sum(result.rounds_uj) / 1000 / len(result.wall_ns))
    assert saved[0].rows[0].energy_mj == results[0].energy_mj > 0
    with np.load(saved[1].with_suffix(".npz")) as raw:
        assert tuple(raw["quarters-onnx-fp32/uj"]) == results[0].rounds_uj


def test_the_machine_was_read_before_and_after_every_round(results):
    assert results[0].state is results[1].state
    assert len(results[0].state.readings) == SHORT.rounds + 1
    own = [reading.own_cpu_s for reading in results[0].state.readings]
    assert own == sorted(own)


def test_figures_of_a_batch_are_those_of_its_samples():
    ms = 1_000_000
    batch = BenchmarkResult(
        name="a", engine="by hand 1", model_bytes=1, load_ms=1.0, peak_rss_bytes=1, settings=SHORT, batch=8,
        rounds_wall_ns=(np.full(10, 2 * ms), np.full(10, 2 * ms)), rounds_cpu_ns=(np.full(20, 4 * ms),),
        rounds_uj=(1600, 1600),
    )  # fmt: skip
    assert batch.percentile_ms(50) == 2  # of one run, which is a whole batch
    assert batch.per_second == 8 * 20 / 0.040
    assert batch.cpu_ms == 4 / 8
    assert batch.energy_mj == 3.2 / (20 * 8)
    single = replace(batch, batch=1, rounds_wall_ns=(np.full(10, ms), np.full(10, ms)))
    point = scaling_point(single, batch)
    assert (point.per_second, point.throughput.value) == (4000, pytest.approx(4))  # 8 in 2 ms against 1 in 1 ms
    assert row_of(SUBJECT, batch, single).per_second == 4000


def test_every_input_has_its_turn_and_a_slow_one_is_told_from_noise(tmp_path):
    path = early_exit_bundle(tmp_path)
    settings = replace(SHORT, rounds=6, round_ms=1, min_samples=6 * 5, warmup_rounds=1, cold_starts=1)
    [found] = measure([bundle_candidate(path)], settings)  # a round runs 5 of 12 inputs or a few more
    assert found.inputs == 12
    medians = medians_by_input_ms(found.wall_ns, 12)
    bright = {0, 4, 8}
    assert min(medians[i] for i in bright) > 3 * np.median([ms for i, ms in enumerate(medians) if i not in bright])
    [result] = measure([bundle_candidate(path)], replace(settings, min_samples=120))
    assert result.slow_inputs > 3
    assert result.p90_inputs_ms > 3 * result.percentile_ms(50)
    assert row_of(SUBJECT, result, result).depends_on_input


def test_a_short_measurement_is_not_valid(results):
    assert not any(result.valid for result in results)
    assert "too short" in results[0].invalid_because[0]


def test_progress_ends_where_it_said(steps, results):
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert {total for _, total in steps} == {len(steps)} == {2 * (5 + 2)}


def test_what_is_written_is_read_back(saved, results):
    measured, path = saved
    assert measurement.load(path) == measured
    raw = measurement.load_raw(path)
    assert raw.rounds_p50_ms["quarters-onnx-w8"] == results[1].rounds_p50_ms
    answers = raw.answers["quarters-onnx-fp32"]
    assert (answers.split, answers.labels[0], answers.scores.mean()) == ("golden", "top left", 1.0)


def test_rows_relate_to_the_baseline_and_to_each_other(saved):
    measured, _ = saved
    assert measured.rows[0].times_faster == 1.0
    (pair,) = measured.pairs
    assert {pair.name, pair.other} == {"quarters-onnx-fp32", "quarters-onnx-w8"}
    assert pair.faster.low <= pair.faster.value <= pair.faster.high
    assert pair.faster.value >= 1


def test_raw_readings_lie_in_the_json(saved):
    data = json.loads(saved[1].read_text())
    assert len(data["state"]["readings"]) == SHORT.rounds + 1
    assert len(data["rows"][0]["cold_starts_ms"]) == SHORT.cold_starts
    assert data["empty_rss_bytes"] > 5_000_000


def test_files_of_older_versions_are_read(tmp_path, saved):
    """As far back as the rows' first fields: what came later has a default."""
    data = json.loads(saved[1].read_text())
    for name in ("pairs", "scaling", "state", "empty_rss_bytes", "energy_missing", "edgekit_version", "batch"):
        del data[name]
    for row in data["rows"]:
        for name in ("max_ms", "per_second", "cpu_ms", "cold_start_ms", "cold_starts_ms", "rounds_p50_ms"):
            del row[name]
    (tmp_path / "old.json").write_text(json.dumps(data))
    assert measurement.load(tmp_path / "old.json").rows[0].cold_start_ms is None
    assert measurement.load_raw(tmp_path / "old.json").answers == {}


def test_raw_samples_of_another_measurement_are_not_compared_with(tmp_path, saved):
    """As a run leaves them that was killed after it had written the one, and before the other."""
    measured, path = saved
    shutil.copy(path.with_suffix(".npz"), tmp_path / "results.npz")
    measurement.save_rows(replace(measured, measured_at="2026-01-01T00:00:00+00:00"), tmp_path / "results.json")
    with pytest.raises(UsageError, match=r"results\.npz is not of the measurement in results\.json"):
        measurement.load_raw(tmp_path / "results.json")
    measurement.save_rows(measured, tmp_path / "results.json")
    assert measurement.load_raw(tmp_path / "results.json").rounds_p50_ms == measurement.load_raw(path).rounds_p50_ms


def test_damaged_raw_samples_are_named(tmp_path):
    (tmp_path / "results.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UsageError, match=r"cannot read .*results.npz.* delete it to compare without"):
        measurement.load_raw(tmp_path / "results.json")


def test_nothing_and_the_same_twice_cannot_be_measured(folders):
    for candidates in ([], [bundle_candidate(folders[0])] * 2):
        with pytest.raises(InputError, match="candidates with different names"):
            measure(candidates, SHORT)


def test_a_worker_that_refuses_its_model_ends_the_measurement(folders, tmp_path):
    candidate = bundle_candidate(folders[0])
    gone = Candidate(
        name="gone", start=lambda n: Worker.for_bundle(tmp_path / "gone"), samples=candidate.samples, model_bytes=1
    )
    with pytest.raises(BundleError, match="no bundle at"):
        measure([gone], SHORT)
