"""`python -m edgekit.train` as a user starts it, in a process of its own: Ctrl-C, exit statuses, no tracebacks."""

import json
import os
import shlex
import signal
import subprocess
import sys

from conftest import ROOT

from edgekit.train.checkpoint import read_run


def start(*words, **environment):
    """The process; SIGINT as a terminal would leave it, even where the tests run in the background and ignore it."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgekit.train", *map(str, words)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def test_ctrl_c_keeps_the_last_epoch_and_the_printed_command_goes_on(tmp_path):
    process = start("digits_cnn", "--runs", tmp_path, "--epochs", 12, "--device", "cpu")
    lines = [process.stderr.readline()]
    while "epoch 2/12" not in lines[-1]:
        lines.append(process.stderr.readline())
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: interrupted: epoch " in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "digits_cnn" / "weights.safetensors").exists()

    command = shlex.split(rest.splitlines()[-1])
    assert command == shlex.split(
        f"python -m edgekit.train digits_cnn --runs {tmp_path} --epochs 12 --device cpu --resume"
    )
    resumed = start(*command[3:], "--json")
    answer, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert 1 <= json.loads(answer)["trained_epochs"] <= 10
    assert [epoch.epoch for epoch in read_run(tmp_path / "digits_cnn").curve] == list(range(1, 13))


def test_missing_data_names_the_file_the_folder_and_the_command(tmp_path):
    # A proxy that nobody serves, so that no network is asked.
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    process = start("birds_cnn", "--runs", tmp_path / "runs", EDGEKIT_DATA=str(tmp_path), **nowhere)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"looked for data_batch_1 in {tmp_path / 'cifar-10-batches-py'}" in errors
    assert f"EDGEKIT_DATA={tmp_path} python -c" in errors
    assert "Traceback" not in errors


def test_wrong_usage_has_status_2(tmp_path):
    process = start("nope", "--runs", tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("error: unknown model 'nope'. Known: ")


def test_the_length_of_an_epoch_reaches_the_training(tmp_path):
    process = start("digits_cnn", "--runs", tmp_path, "--epoch-samples", 5)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error: --epoch-samples 5: digits_cnn takes each sample once an epoch" in errors
    assert "Traceback" not in errors


def test_it_trains_without_typer(tmp_path):
    """A training machine has torch and a source checkout; the libraries of the command may be missing there."""
    for package in ("typer", "click"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}')")
    process = start("digits_cnn", "--runs", tmp_path / "runs", "--epochs", 1, PYTHONPATH=str(tmp_path))
    answer, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert answer.startswith("digits_cnn: accuracy 0.7")
    assert len(read_run(tmp_path / "runs" / "digits_cnn").curve) == 1
