"""What a real terminal meets: bars under a pseudo-terminal, and encodings that hold no ✓."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT
from terminal import command_in_terminal, in_terminal

OLD = Path(__file__).parent / "data" / "format1" / "digits_cnn-onnx-w8a8_static"


def verify(encoding, *words):
    command = [sys.executable, "-m", "edgekit", "verify", str(OLD), *words]
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(command, cwd=ROOT, env=around, capture_output=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_good_bundle_verifies_whatever_the_terminal_can_print(encoding):
    done = verify(encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("✓" if encoding == "utf-8" else "ok") in done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_holds_the_same_in_every_encoding(encoding):
    found = json.loads(verify(encoding, "--json").stdout)
    assert found == json.loads(verify("utf-8", "--json").stdout)


@pytest.mark.parametrize("columns", [pytest.param(120, marks=pytest.mark.slow), 40])
def test_reproduce_draws_its_bars_and_writes_its_results(tmp_path, columns):
    places = ["--out", tmp_path / "results", "--runs", tmp_path / "runs", "--docs", tmp_path / "docs"]
    asked = ["--models", "digits_cnn", "--epochs", "1", "--seeds", "1", "--device", "cpu"]
    shown = in_terminal("reproduce", *asked, *places, columns=columns)
    assert shown.returncode == 0, shown.text
    assert "all trainings" in shown.text
    assert "digits_cnn seed 123 " in shown.text
    assert (tmp_path / "results" / "reproduction-1-cpu.json").is_file()


# Every bar of the command, drawn by the very functions that draw it; in one process, since torch takes long to come.
BARS = """
import struct, sys, termios, time
from fcntl import ioctl
from types import SimpleNamespace

from edgekit.cli.optimize import Teller
from edgekit.cli.reproduce import show_progress
from edgekit.cli.terminal import progress
from edgekit.cli.train_progress import epoch_progress
from edgekit.optimize import events
from edgekit.train.book_model import FitConfig
from edgekit.train.reproduction.reproduce import Plan
from edgekit.train.reproduction.trainings import Step

model = SimpleNamespace(name="birds_cnn_resdeep_independent", fit=SimpleNamespace(epochs=100))
trainings = tuple(SimpleNamespace(model=model, title=f"{model.name} seed {seed}") for seed in (123, 124))
plan = Plan(device="cpu", jobs=2, trainings=trainings, todo=trainings, epoch_s={})
for columns in (120, 40):
    ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    print("=====", columns, flush=True)
    for label in ("Measuring in turns", "Profiling"):
        with progress(label) as on_progress:
            for i in range(1, 4):
                on_progress(100 * i, 300)
    with Teller() as teller:
        teller.tell(events.StepBegun(text="what a library takes long for, in many words"))
        time.sleep(0.3)
        for event in (events.TrainingProgress, events.MeasuringProgress):
            for i in range(1, 4):
                teller.tell(event(done=i, total=3))
            teller.tell(events.Remark(text="a remark after a bar"))
    with epoch_progress("train birds_cnn_resdeep_independent", 100) as on_epoch:
        for i in (1, 50, 100):
            on_epoch(SimpleNamespace(epoch=i, loss=0.1234, validation={"accuracy": 0.9876}))
    with show_progress(plan) as on_step:
        for i in (1, 2, 99):
            on_step(Step(training=trainings[0], epoch=i, figures="loss 0.5, accuracy 0.8", epoch_s=2.0))
"""


def test_every_bar_is_drawn_whole_on_a_wide_and_on_a_narrow_terminal():
    shown = command_in_terminal(["-c", BARS])
    assert shown.returncode == 0, shown.text
    starts = [i for i, line in enumerate(shown.lines) if line.startswith("=====")]
    parts = {120: shown.lines[starts[0] : starts[1]], 40: shown.lines[starts[1] :]}
    for columns, lines in parts.items():
        drawn = [line for line in lines if "finished already" not in line]  # a sentence, which the terminal wraps
        assert max(map(len, drawn)) <= columns
        text = "\n".join(lines)
        assert "…" not in text.replace("epoch 1 …", "")
        for label in ("Measuring in turns", "Profiling", "Training in 8 bits", "Measuring, interleaved"):
            assert f"{label} " in text
        assert "what a library" in text
        for whole in ("300/300", "3/3", "100/100", "99/100", "0/2", "a remark after a bar", "all trainings"):
            assert whole in text
        words = {word for line in lines for word in line.split()}
        assert {"birds_cnn_resdeep_independent"} <= words or {"birds_cnn_resdeep_indepe", "ndent"} <= words  # folded
        assert ("loss 0.1234, accuracy 0.9876" in text) == (columns == 120)
        assert ("Profiling ━" in text) == (columns == 120)


def test_the_version_and_the_short_help_are_there(edgekit):
    assert edgekit("--version").stdout.startswith("edgekit 0.")
    assert edgekit("-h").stdout == edgekit("--help").stdout
    assert "--recipe" in edgekit("optimize", "-h").stdout
