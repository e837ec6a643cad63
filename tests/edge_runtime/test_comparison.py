"""`edgekit compare` on a real measurement of tiny bundles, and on what it would be had something become worse."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import make_bundle

from edgekit.cli.benchmark import compare_files, from_bundles
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.answers import Answers
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK
from edgekit.edge_runtime.benchmark.comparison import Change, compare
from edgekit.edge_runtime.benchmark.judgement import Limits, Run
from edgekit.edge_runtime.benchmark.measure import bundle_candidate, measure
from edgekit.edge_runtime.benchmark.measurement import Raw
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.errors import UsageError

FP32, INT8 = "quarters-onnx-fp32", "quarters-onnx-w8"
TARGETS = np.arange(200) % 4
METRIC = Metric(name="accuracy", value=0.95, low=0.91, high=0.97, samples=200, float_value=0.95, agreement=1.0)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A results file of two bundles as `benchmark --out` writes it."""
    folder = tmp_path_factory.mktemp("compare")
    folders = [make_bundle(folder, name=name, recipe=name.split("-")[-1]) for name in (FP32, INT8)]
    settings = replace(QUICK, rounds=5, round_ms=3, min_samples=40, warmup_rounds=1, cold_starts=1)
    results = measure([bundle_candidate(path) for path in folders], settings)
    measured = from_bundles([Bundle.open(path).manifest for path in folders], results, results[0])
    measurement.save(measured, results, folder / "results.json")
    return folder / "results.json"


@pytest.fixture(scope="module")
def run(real):
    """The same with steady rounds, valid, and answers to 200 validation samples of which ten are wrong."""
    loaded = measurement.load(real)
    steady = tuple(np.linspace(0.98, 1.02, 15))
    rows = tuple(
        replace(
            row, metric=METRIC, invalid_because=(), rounds_p50_ms=tuple(ms * t for t in steady), p50_ms=ms,
            cold_starts_ms=(500.0, 505.0, 510.0, 520.0), peak_rss_bytes=60_000_000, rss_added_bytes=30_000_000,
        )
        for row, ms in zip(loaded.rows, (0.4, 0.2), strict=True)
    )  # fmt: skip
    raw = Raw(rounds_p50_ms={}, answers={row.name: answers(wrong=10) for row in rows})
    return Run(replace(loaded, rows=rows), raw)


def answers(*, wrong: int) -> Answers:
    given = np.where(np.arange(200) < wrong, (TARGETS + 1) % 4, TARGETS)
    return Answers(
        split="validation", samples_sha256="a", given=given, truth=TARGETS,
        scores=(given == TARGETS).astype(float), labels=("n", "e", "s", "w"),
    )  # fmt: skip


def changed(run: Run, name: str = INT8, *, said: Answers | None = None, machine: str = "", **fields) -> Run:
    """The run as it would be had the row `name` these values."""
    rows = tuple(replace(row, **fields) if row.name == name else row for row in run.measured.rows)
    measured = replace(run.measured, rows=rows)
    if machine:
        measured = replace(measured, machine=measured.machine | {"cpu": machine})
    kept = run.raw.answers | ({name: said} if said else {})
    return Run(measured, replace(run.raw, answers=kept))


def slower(run: Run, factor: float, name: str = INT8, **fields) -> Run:
    row = next(row for row in run.measured.rows if row.name == name)
    return changed(run, name, rounds_p50_ms=tuple(ms * factor for ms in row.rounds_p50_ms), **fields)


def of(found, what: str, row: str = INT8) -> Change:
    return next(change for change in found.changes if (change.row, change.what) == (row, what))


def test_a_file_against_itself_is_no_regression(real, capsys):
    assert compare_files(real, real, as_json=False)
    text = capsys.readouterr().out
    assert "No regression" in text
    assert "0 of 12 golden samples flipped" in text


def test_nothing_changed_is_said_of_everything(run):
    found = compare(run, run, Limits())
    assert found.regressions == ()
    assert {change.verdict for change in found.changes} == {"same"}
    assert found.relation == f"each against {FP32} in its own run"


def test_slower_than_its_baseline_is_a_regression_on_any_machine(run):
    found = compare(run, slower(slower(run, 3.0, FP32), 3.6, machine="another"), Limits())
    assert [(c.row, c.what) for c in found.regressions] == [(INT8, "latency")]
    assert "1.20× slower [1.20, 1.20], against quarters-onnx-fp32" in of(found, "latency").text
    assert of(found, "latency", FP32).verdict == of(found, "memory").verdict == "not judged"
    assert any("→ another" in text for text in found.differences)


def test_on_one_machine_the_baseline_itself_is_judged(run):
    found = compare(run, slower(run, 1.5, FP32), Limits())
    assert of(found, "latency", FP32).verdict == "worse"
    assert "in milliseconds, on the same machine" in of(found, "latency", FP32).text
    assert of(found, "latency").verdict == "better"  # against a baseline that became slower


@pytest.mark.parametrize(("factor", "verdict"), [(1.04, "same"), (1.06, "worse"), (0.5, "better")])
def test_the_limit_decides_beyond_noise(run, factor, verdict):
    assert of(compare(run, slower(run, factor), Limits()), "latency").verdict == verdict


def test_within_noise_nothing_is_a_regression(run):
    noisy = tuple(0.2 * t for t in np.exp(np.random.default_rng(0).normal(0.1, 0.5, 15)))
    found = of(compare(run, changed(run, rounds_p50_ms=noisy), Limits()), "latency")
    assert found.verdict == "same"
    assert "no difference beyond noise" in found.text


def test_of_a_run_that_is_not_valid_the_whole_interval_has_to_lie_beyond(run):
    rounds = tuple(0.2 * t for t in np.linspace(0.96, 1.20, 15))
    valid, invalid = (changed(run, rounds_p50_ms=rounds, invalid_because=why) for why in ((), ("noisy",)))
    assert of(compare(run, valid, Limits(max_slower=0.05)), "latency").verdict == "worse"
    found = compare(run, invalid, Limits(max_slower=0.05))
    assert of(found, "latency").verdict == "same"
    assert "1 of 2 rows in the newer file is not valid" in found.differences


def test_without_rounds_the_intervals_decide(run):
    def bare(times: float) -> Run:
        ratios = {"times_faster": times, "times_faster_low": times * 0.98, "times_faster_high": times * 1.02}
        return changed(run, rounds_p50_ms=(), **ratios)

    found = compare(bare(2.0), bare(1.5), Limits())
    assert of(found, "latency").verdict == "worse"
    assert "from the intervals" in of(found, "latency").text
    assert of(compare(bare(2.0), bare(1.97), Limits()), "latency").verdict == "same"


def test_larger_files_memory_and_starts_are_regressions(run):
    size = run.measured.rows[1].model_bytes
    grown = changed(run, model_bytes=2 * size, rss_added_bytes=40_000_000, cold_starts_ms=(800.0, 810.0, 820.0))
    found = compare(run, grown, Limits())
    assert [change.what for change in found.regressions] == ["size", "memory", "cold start"]
    allowed = Limits(max_larger=1.0, max_more_memory=0.5, max_slower_start=1.0)
    assert compare(run, grown, allowed).regressions == ()


def test_less_accurate_is_judged_sample_by_sample_and_flips_are_named(run):
    worse = changed(run, metric=replace(METRIC, value=0.91, low=0.86, high=0.94), said=answers(wrong=18))
    found = compare(run, worse, Limits())
    assert [change.what for change in found.regressions] == ["accuracy"]
    assert "beyond noise: 8 became wrong, 0 became right" in of(found, "accuracy").text
    flips = found.flips[1]
    assert (flips.split, flips.samples, [f.sample for f in flips.flips]) == ("validation", 200, list(range(10, 18)))
    assert (flips.flips[0].before, flips.flips[0].after, flips.flips[0].truth) == ("s", "w", "s")


def test_a_few_flips_are_within_noise_but_named(run):
    found = compare(run, changed(run, metric=replace(METRIC, value=0.935), said=answers(wrong=13)), Limits())
    assert found.regressions == ()
    assert len(found.flips[1].flips) == 3


def test_without_answers_the_intervals_of_the_metric_decide(run):
    bare = Run(run.measured, Raw(rounds_p50_ms={}, answers={}))
    far = changed(bare, metric=replace(METRIC, value=0.80, low=0.74, high=0.85))
    near = changed(bare, metric=replace(METRIC, value=0.93, low=0.89, high=0.96))
    assert of(compare(bare, far, Limits()), "accuracy").verdict == "worse"
    assert of(compare(bare, near, Limits()), "accuracy").verdict == "same"


def test_of_an_error_more_is_worse(run):
    error = replace(METRIC, name="mean_absolute_error", value=10.0, low=9.5, high=10.5)
    before, after = changed(run, metric=error), changed(run, metric=replace(error, value=20.0, low=19.0, high=21.0))
    bare = Raw(rounds_p50_ms={}, answers={})
    found = compare(Run(before.measured, bare), Run(after.measured, bare), Limits())
    assert of(found, "accuracy").verdict == "worse"


def test_rows_that_are_gone_failed_or_no_longer_verified_are_regressions(run):
    gone = Run(replace(run.measured, rows=run.measured.rows[:1]), run.raw)
    broken = changed(run, error="stage 'lower' is wrong")
    for after, text in ((gone, "is missing from the newer file"), (broken, "failed: stage 'lower' is wrong")):
        (regression,) = compare(run, after, Limits()).regressions
        assert text in regression.text
    for status in ("unverified", "undecided", "consistent"):
        (regression,) = compare(run, changed(run, status=status), Limits()).regressions
        assert regression.text == f"was verified, is {status}"
    assert of(compare(changed(run, error="no"), run, Limits()), "row").verdict == "better"


def test_other_threads_are_not_compared(run):
    settings = replace(run.measured.settings, num_threads=2)
    found = compare(run, Run(replace(run.measured, settings=settings), run.raw), Limits())
    assert of(found, "latency").verdict == "not judged"
    assert "threads: 1 → 2" in found.differences


def test_nonsense_in_a_file_is_not_judged(run):
    zeros = {"times_faster": 0.0, "times_faster_low": 0.0, "times_faster_high": 0.0}
    bad = changed(run, rounds_p50_ms=(0.0, 0.1), cold_starts_ms=(0.0, 1.0, 2.0), model_bytes=0, **zeros)
    for before, after in ((bad, run), (run, bad)):
        found = compare(before, after, Limits())
        assert "holds no rounds of it" in of(found, "latency").text
        assert [change.what for change in found.changes if change.row == INT8 and change.what == "cold start"] == []
    assert of(compare(bad, run, Limits()), "size").verdict == "not judged"


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -0.1])
def test_a_limit_that_lets_everything_pass_is_refused(limit):
    with pytest.raises(UsageError, match="--max-slower takes a number from 0 upwards"):
        Limits(max_slower=limit)


def test_files_with_nothing_in_common_are_wrong_usage(run):
    other = Run(replace(run.measured, rows=(replace(run.measured.rows[0], name="another"),)), run.raw)
    with pytest.raises(UsageError, match="the two files have no row in common: the older one has quarters-onnx-fp32"):
        compare(run, other, Limits())


def test_the_exit_status_tells_a_machine(edgekit, real, tmp_path):
    data = json.loads(real.read_text())
    data["rows"][1]["model_bytes"] *= 2
    (tmp_path / "new.json").write_text(json.dumps(data))
    done = edgekit("compare", real, tmp_path / "new.json", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"]) == (1, False)
    assert [(c["row"], c["what"]) for c in found["changes"] if c["verdict"] == "worse"] == [(INT8, "size")]
    missing = edgekit("compare", real, tmp_path / "missing.json")
    assert (missing.returncode, "cannot read" in missing.stderr) == (2, True)


def test_two_different_models_are_refused_even_where_their_rows_have_one_name(run):
    other = Run(replace(run.measured, model="digits_cnn"), run.raw)
    with pytest.raises(UsageError, match="the older file is of the model quarters, the newer one of digits_cnn"):
        compare(run, other, Limits())
    assert compare(run, Run(replace(run.measured, model="digits_cnn, quarters"), run.raw), Limits()).regressions == ()
