"""`python -m experiments.training.speedrun` on few pictures and a CPU: a whole run is timed, and its arithmetic is
counted."""

import json

import pytest

from edgekit.train.registry import book_model
from experiments.training.speedrun import main


@pytest.mark.slow
def test_runs_are_timed_and_counted(data_root, tmp_path, monkeypatch, capsys):
    if not (data_root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not in {data_root}")
    out = tmp_path / "s.json"
    words = ["--device", "cpu", "--runs", "2", "--epochs", "1", "--samples", "64", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["experiments.training.speedrun", *words])
    assert main() == 0
    found = json.loads(out.read_text())
    (setting,) = found["settings"]
    assert [one["seed"] for one in setting["runs"]] == [123, 124]
    assert setting["train_s"]["mean"] == pytest.approx(sum(one["train_s"] for one in setting["runs"]) / 2)
    assert setting["reached"] == {"accuracy": 0, "accuracy_with_views": 0}
    # By hand, multiply-accumulates of a picture's forward pass: the whitening layer, then three blocks.
    forward = 12 * 24 * 31**2 + 9 * (24 * 64 * 31**2 + 64 * 64 * 15**2)
    forward += 9 * (64 * 256 * 15**2 + 256**2 * 7**2) + 9 * (256**2 * 7**2 + 256**2 * 3**2)
    assert found["limits"]["tflop_per_epoch"] == pytest.approx(6 * 64 * forward / 1e12, rel=0.03)
    assert "1 epochs: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu", "--runs", "1"], "error: --runs 1: a spread needs at least 2"),
        (["--device", "cpu", "--epochs", "0"], "error: --epochs 0: a run has at least 1 epoch"),
        (["--device", "abacus"], "error: unknown device"),
    ],
)
def test_what_cannot_be_run_is_said(words, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["experiments.training.speedrun", *words])
    assert main() == 2
    assert message in capsys.readouterr().err


def test_the_target_names_its_source():
    assert "2404.00498" in book_model("cifar10_fast").target.source
