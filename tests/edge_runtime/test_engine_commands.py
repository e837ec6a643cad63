"""`--engine` and `--spin`: what the commands do with them, and what they say of an engine that does not fit."""

import json

import pytest
from engine_bundles import onnxruntime_only_bundle
from PIL import Image
from tiny_bundle import make_bundle, quarter_pictures
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.cli.benchmark import Printing, benchmark
from edgekit.edge_runtime.benchmark.measurement import load
from edgekit.edge_runtime.benchmark.rows import Subject
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import EngineRun, Verdict
from edgekit.edge_runtime.choice import kept_choice
from edgekit.edge_runtime.errors import UsageError, VerificationError

run = CliRunner().invoke
NAME = "quarters-onnx-fp32"
VERDICT = Verdict(
    status="verified", basis="hits", metric="accuracy", higher_is_better=True, float_value=1.0, value=1.0, samples=400,
    groups=0, loss=0.0, low=-0.01, high=0.005, budget=0.01, flips=0, lost=0, won=0, unlabelled=0, needed=0,
    needed_unlabelled=0, helps="", reason="nothing lost",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny"), name=NAME)


@pytest.fixture(scope="module")
def measured(bundle, tmp_path_factory):
    """Measured with both engines, two threads that may spin."""
    path = tmp_path_factory.mktemp("results") / "results.json"
    words = ["benchmark", str(bundle), "--engine", "all", "--threads", "2", "--spin", "--quick", "--out", str(path)]
    done = run(app, words)
    assert done.exit_code == 0, done.output
    return load(path), done.output


def test_each_engine_has_a_row_and_the_usual_one_keeps_its_name(measured):
    rows = measured[0].rows
    assert [row.name for row in rows] == [NAME, f"{NAME}@openvino"]
    assert [row.engine.split()[0] for row in rows] == ["onnxruntime", "openvino"]
    assert measured[0].baseline == NAME
    assert "fp32@openvino" in measured[1]  # a name may be folded after a hyphen


def test_memory_and_cold_start_are_those_of_the_engine(measured):
    usual, other = measured[0].rows
    assert usual.rss_added_bytes > 10e6
    assert other.rss_added_bytes > 1.5 * usual.rss_added_bytes  # about 30 and 100 MB
    for row in (usual, other):
        assert len(row.cold_starts_ms) == 1
        assert min(row.cold_starts_ms) > row.load_ms > 0


def test_accuracy_is_not_taken_over_from_the_usual_engine(measured):
    assert [row.metric is None for row in measured[0].rows] == [False, True]
    assert [row.status for row in measured[0].rows] == ["verified", "consistent"]


def test_that_threads_may_spin_is_kept_and_said(measured):
    assert measured[0].settings.spin
    assert "Batch 1, 2 threads that may spin, candidates interleaved" in measured[1]


def test_a_verdict_on_another_engine_is_that_of_its_row(bundle):
    manifest = Bundle.open(bundle).manifest
    for status, shown in (("verified", "verified"), ("undecided", "undecided"), ("refused", "unverified")):
        found = VERDICT if status == "verified" else None
        verdict = found or Verdict(**(vars(VERDICT) | {"status": status, "high": 0.02}))
        run = EngineRun(name="openvino", version="2026.4.1", precision="float32", verdict=verdict)
        program = manifest.program()
        changed = type(manifest)(
            **vars(manifest) | {"programs": (type(program)(**vars(program) | {"engines": (*program.engines, run)}),)}
        )
        assert (Subject.of(changed, "openvino").status, Subject.of(changed, "openvino").verdict) == (shown, verdict)
        assert Subject.of(changed).verdict is None


def test_auto_measures_and_says_why_and_inspect_shows_it(bundle):
    before = run(app, ["inspect", str(bundle)]).output
    assert "engine here  onnxruntime 1." in before
    assert "also installed: openvino 20" in before
    done = run(app, ["benchmark", str(bundle), "--engine", "auto", "--quick", "--json"])
    chosen = kept_choice(Bundle.open(bundle))
    assert [row["engine"].split()[0] for row in json.loads(done.stdout)["rows"]] == [chosen.engine]
    assert chosen.text in done.stderr
    assert f"auto takes {chosen.text}" in run(app, ["inspect", str(bundle)]).output
    assert json.loads(run(app, ["inspect", str(bundle), "--json"]).stdout)["engines_here"]["main"].endswith(chosen.text)


def test_an_engine_that_misses_its_golden_replay_is_a_failed_row(tmp_path):
    broken, path = onnxruntime_only_bundle(tmp_path), tmp_path / "results.json"
    benchmark([broken], quick=True, engine="onnxruntime,openvino", printing=Printing(save_to=path))
    assert [(row.name, row.status) for row in load(path).rows] == [(NAME, "verified"), (f"{NAME}@openvino", "failed")]
    assert "operations: Det" in load(path).rows[1].error
    with pytest.raises(VerificationError, match=f"{NAME}@openvino: .*operations: Det"):
        benchmark([broken], quick=True, engine="openvino")


def test_verify_replays_on_each(bundle):
    done = run(app, ["verify", str(bundle), "--engine", "all", "--json"])
    assert [one["engine"].split()[0] for one in json.loads(done.stdout)] == ["onnxruntime", "openvino"]
    assert done.exit_code == 0


def test_verify_fails_where_one_engine_does_and_goes_on(bundle, tmp_path):
    broken = onnxruntime_only_bundle(tmp_path, name="broken")
    done = run(app, ["verify", str(broken), str(bundle), "--engine", "openvino"])
    assert done.exit_code == 1
    assert "✗" in done.stdout.splitlines()[0]
    assert "operations: Det" in done.stdout
    assert f"✓ {NAME}" in done.stdout


def test_predict_runs_on_the_engine_that_is_named(bundle, tmp_path):
    Image.fromarray(quarter_pictures()[0][1, :, :, 0]).save(tmp_path / "picture.png")
    words = ["predict", str(bundle), str(tmp_path / "picture.png"), "--json", "--engine"]
    said = [json.loads(run(app, [*words, engine]).stdout) for engine in ("onnxruntime", "openvino", "auto")]
    answers = [one["answers"][0] for one in said]
    assert [answer["label"] for answer in answers] == ["top right"] * 3
    assert [one["engine"].split()[0] for one in said[:2]] == ["onnxruntime", "openvino"]
    assert answers[1]["probability"] == pytest.approx(answers[0]["probability"], abs=1e-6)


@pytest.mark.parametrize("verb", ["benchmark", "predict"])
def test_an_engine_that_the_format_does_not_have_is_refused(bundle, verb):
    with pytest.raises(UsageError, match="no engine called 'tflite' runs. Engines that run it: onnxruntime, openvino"):
        run(app, [verb, str(bundle), *(["x.png"] * (verb == "predict")), "--engine", "tflite"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "--engine", "openvino"], "--profile takes the usual engine of each format"),
        (["--profile", "--spin"], "--spin belongs to the plain measurement"),
        (["--scenario", "Offline", "--spin"], "--spin belongs to the plain measurement"),
    ],
)
def test_what_does_not_go_together_is_refused(bundle, words, said):
    with pytest.raises(UsageError, match=said):
        run(app, ["benchmark", str(bundle), *words], catch_exceptions=False)
