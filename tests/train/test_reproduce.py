"""`edgekit reproduce` on digits: it goes on where it stopped, reports what is there, and says what does not work."""

import contextlib
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT
from killed import command, descendants, kill_and_wait, until

from edgekit.cli.reproduce import reproduce_models
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.checkpoint import read_run
from edgekit.train.loop.device import threads
from edgekit.train.loop.fit import fit
from edgekit.train.registry import book_model
from edgekit.train.reproduction import report as reproduction_report
from edgekit.train.reproduction import results as reproduction
from edgekit.train.reproduction.reproduce import ReproductionRequest, choose_models, plan_trainings, reproduce
from edgekit.train.reproduction.time_left import TimeLeft, duration
from edgekit.train.reproduction.trainings import Step, threads_each, train_all

fcntl = pytest.importorskip("fcntl")  # which Windows lacks

DIGITS = book_model("digits_cnn")


def request(folder: Path, **asked) -> ReproductionRequest:
    places = {"out": folder / "results", "runs": folder / "runs", "docs": folder / "docs"}
    small = {"models": ("digits_cnn",), "epochs": 1, "seeds": 2, "device": "cpu"}
    return ReproductionRequest(**(small | places | asked))


def start(folder: Path, *words: object) -> subprocess.Popen:
    places = ["--out", folder / "results", "--runs", folder / "runs", "--docs", folder / "docs"]
    command = [sys.executable, "-m", "edgekit", "reproduce", "--models", "digits_cnn", *places, "--device", "cpu"]
    return subprocess.Popen(
        [*map(str, command), *map(str, words)],
        cwd=folder,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two seeds of one epoch, both at once, as `edgekit reproduce --jobs 2` leaves them."""
    folder = tmp_path_factory.mktemp("made")
    assert reproduce(request(folder, jobs=2)).failures == {}
    return folder


def test_the_results_hold_every_seed_with_its_provenance(made):
    found = json.loads((made / "results" / "reproduction-1-cpu.json").read_text())
    entry = found["models"][0]
    assert [run["seed"] for run in entry["ours"]["runs"]] == [123, 124]
    assert entry["ours"]["spread"] > 0
    assert entry["difference"] == entry["ours"]["mean"] - DIGITS.target.value
    for run in entry["ours"]["runs"]:
        assert run["validation"] == read_run(made / "runs" / "cpu" / f"seed-{run['seed']}" / "digits_cnn").value
        assert {"interval", "train", "losses", "machine", "versions", "device", "commit", "wall_s"} <= run.keys()
    assert entry["shortened_from"] == 30


def test_what_is_finished_is_not_trained_again(made, capsys):
    before = {path: path.stat().st_mtime_ns for path in (made / "runs").rglob("*.safetensors")}
    assert reproduce_models(request(made), report_only=False)
    said = capsys.readouterr()
    assert "2 trainings on cpu, 2 of them finished already" in said.out
    assert f"wrote {made / 'results' / 'reproduction-1-cpu.json'}" in said.out
    assert "measuring digits_cnn: 2 runs" in said.err
    assert {path: path.stat().st_mtime_ns for path in (made / "runs").rglob("*.safetensors")} == before


def test_report_only_makes_everything_again_from_the_runs(made):
    written = [*(made / "results").iterdir(), *(made / "docs").iterdir()]
    before = {path: path.read_text() for path in written}
    for path in written:
        path.unlink()
    again = reproduce(request(made), report_only=True)
    assert {path for path in again.files if path in written} == set(written)
    assert {path: path.read_text() for path in written} == before


def test_the_page_follows_from_the_results_alone(made, tmp_path):
    reproduction_report.write(made / "results", tmp_path)
    page = (tmp_path / "REPRODUCTION.md").read_text()
    assert page == (made / "docs" / "REPRODUCTION.md").read_text()
    assert "**Shortened**: 1 epochs instead of 30." in page
    assert re.search(r"\| `digits_cnn` \| 23,114 \| 98.0 % \| \d\d\.\d % ± \d+\.\d \| -\d+\.\d points \|", page)
    assert str(made) not in page


def test_other_epochs_of_the_same_run_are_not_mixed_in(made):
    notes = []
    results = reproduction.chapter_results(1, made / "runs" / "cpu", device="cpu", on_note=notes.append)
    assert "digits_cnn" not in [entry["model"] for entry in results["models"]]
    assert [note.endswith("was trained with other settings and is left out") for note in notes] == [True, True]


def test_ctrl_c_keeps_every_training_and_the_printed_command_ends_like_an_uninterrupted_one(tmp_path):
    process = start(tmp_path, "--epochs", 6, "--seeds", 2, "--jobs", 2)
    seen = set()
    while len(seen) < 2:
        line = process.stderr.readline()
        assert line, "ended before it was stopped"
        seen |= {seed for seed in ("123", "124") if f"seed {seed}: epoch 2/6" in line}
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert re.search("error: interrupted: [01] of 2 trainings are finished", errors)  # one may be far ahead
    assert "Traceback" not in errors
    assert not (tmp_path / "results").exists()
    again = (
        next(line for line in errors.splitlines() if line.startswith(f"  {EDGEKIT} reproduce"))
        .split("reproduce")[1]
        .split()
    )
    assert again[:2] == ["--models", "digits_cnn"]
    assert ("--jobs", "2") in itertools.pairwise(again)

    resumed = start(tmp_path, *again[2:])
    _, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert "seed 123: epoch 1/6" not in errors
    whole = fit(DIGITS, tmp_path / "whole", config=replace(DIGITS.fit, epochs=6), device="cpu")
    assert sha256_file(tmp_path / "runs/cpu/seed-123/digits_cnn/weights.safetensors") == sha256_file(whole.weights)


def test_a_training_ends_when_its_parent_is_killed_and_nothing_half_written_is_left(tmp_path):
    process = start(tmp_path, "--epochs", 2000, "--seeds", 1)
    runs = tmp_path / "runs" / "cpu" / "seed-123"
    assert until((runs / "digits_cnn" / "resume.pt").is_file, within_s=120)
    started = descendants(process.pid)
    assert [command(pid).split()[6] for pid in started] == ["edgekit.train"]
    assert kill_and_wait(process, started) == set()
    assert [path.name for path in runs.rglob("*.part")] == []
    with (runs / ".lock").open("w") as lock:

        def free() -> bool:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        assert until(free)  # the next one may train there


def test_a_failing_model_is_reported_with_status_1_and_the_others_go_on(tmp_path):
    broken = tmp_path / "runs" / "cpu" / "seed-123" / "digits_cnn"
    broken.mkdir(parents=True)
    (broken / "resume.pt").write_bytes(b"not a resume state")
    process = start(tmp_path, "--epochs", 1, "--seeds", 2)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search("error: digits_cnn seed 123 failed: .*resume.pt is damaged", errors)
    found = json.loads((tmp_path / "results" / "reproduction-1-cpu.json").read_text())
    assert [run["seed"] for run in found["models"][0]["ours"]["runs"]] == [124]


def test_runs_that_cannot_be_written_are_an_error(tmp_path):
    (tmp_path / "runs").write_text("a file where the runs should go")
    with pytest.raises(EdgekitError, match=f"could not write {tmp_path / 'runs'}"):
        reproduce(request(tmp_path))


def test_two_at_once_in_one_folder_are_refused(tmp_path):
    lock = tmp_path / "seed-123" / ".lock"
    lock.parent.mkdir()
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=f"another process is training into {tmp_path / 'seed-123'}"):
            train_all(plan_trainings([DIGITS], tmp_path, seeds=1), device="cpu")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"models": ("nope",)}, "unknown model 'nope'. Known: "),
        ({"chapters": "12"}, "--chapters 12: nothing to train there. Chapters with models: 1, "),
        ({"chapters": "3"}, "--chapters 3: nothing to train there"),
        ({"chapters": "one"}, "--chapters one is not a list of chapters. Write it like 1-8 or 2,7,8"),
        ({"chapters": "8"}, "digits_cnn is of chapter 1, which --chapters 8 leaves out"),
        ({"seeds": 0}, "--seeds 0: at least 1 is needed"),
        ({"device": "tpu9"}, "unknown device 'tpu9'. Known: "),
    ],
)
def test_wrong_requests_say_what_there_is(tmp_path, asked, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        reproduce(request(tmp_path, **asked))
    assert list(tmp_path.iterdir()) == []


def test_chapters_are_ranges_and_lists():
    assert {model.chapter for model in choose_models("1-3,8", ())} >= {1, 8}
    assert [model.name for model in choose_models(None, ("birds_cnn", "digits_cnn"))] == ["birds_cnn", "digits_cnn"]


def test_the_request_as_a_command(tmp_path):
    asked = ReproductionRequest(models=("a", "b"), seeds=2, runs=Path("my runs"))
    assert asked.command() == f"{EDGEKIT} reproduce --models a --models b --seeds 2 --runs 'my runs'"


def test_results_and_docs_are_touched_only_when_told_to_publish():
    asked = ReproductionRequest()
    assert (asked.results_folder, asked.docs_folder) == (asked.runs / "results", asked.runs / "report")
    told = ReproductionRequest(publish=True)
    assert (told.results_folder, told.docs_folder) == (Path("results"), Path("docs"))
    assert told.command() == f"{EDGEKIT} reproduce --publish"
    named = ReproductionRequest(out=Path("a"), docs=Path("b"))
    assert (named.results_folder, named.docs_folder) == (Path("a"), Path("b"))


def test_trainings_at_the_same_time_share_the_cores():
    with threads(6):
        assert [threads_each(jobs) for jobs in (1, 2, 4, 9)] == [6, 3, 1, 1]


def test_the_time_left_counts_what_is_known_and_says_when_that_is_not_all():
    models = [replace(DIGITS, name=name) for name in ("one", "two")]
    one, two = plan_trainings(models, Path("runs"), seeds=1, epochs=10)
    left = TimeLeft([one, two], epoch_s={}, jobs=1)
    assert left.text == "time left unknown"
    left.take(Step(training=one, epoch=4, figures="", epoch_s=30))
    assert (left.text, left.done) == ("at least 3 min left", 0)
    left.take(Step(training=two, epoch=1, figures="", epoch_s=600))
    assert left.text == "93 min left"
    left.take(Step(training=one, epoch=10, figures="", epoch_s=30))
    assert (left.text, left.done) == ("90 min left", 1)
    assert duration(3 * 3600 + 5 * 60) == "3 h 05 min"


def test_what_was_measured_earlier_stays_where_there_are_no_runs_of_it(tmp_path):
    model = book_model("digits_features")
    for seed in (123, 124):
        config = replace(model.fit, epochs=1, seed=seed)
        fit(model, tmp_path / "runs" / f"seed-{seed}" / model.name, config=config, device="cpu")
    written = reproduction.write_results([1], tmp_path / "runs", tmp_path, device="cpu", epochs=1)
    before = json.loads(written[0].read_bytes())["models"]
    shutil.rmtree(tmp_path / "runs" / "seed-124")  # fewer runs than the file knows of
    reproduction.write_results([1], tmp_path / "runs", tmp_path, device="cpu", epochs=1)
    assert json.loads(written[0].read_bytes())["models"] == before
    assert len(before[0]["ours"]["runs"]) == 2
    assert reproduction.write_results([1], tmp_path / "nothing", tmp_path, device="cpu", epochs=2) == []


def test_what_several_trainings_lack_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "empty"))
    asked = replace(request(tmp_path), models=("luna_classifier", "luna_malignancy"))
    assert not reproduce_models(asked, report_only=False)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))
    assert line.startswith("error: luna_classifier seed 123, luna_classifier seed 124, luna_malignancy seed 123, ")
    assert "there are no prepared scans in" in line
