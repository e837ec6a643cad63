"""The training run on real digits: it learns, it goes on where it stopped, and it refuses what is not its own."""

import re
from dataclasses import replace

import pytest
import torch

from edgekit.edge_runtime.errors import EdgekitError, Interrupted, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.book_model import FitConfig
from edgekit.train.checkpoint import load_weights, read_run
from edgekit.train.loop.epoch import evaluate, on_device
from edgekit.train.loop.fit import fit
from edgekit.train.registry import book_model

DIGITS = book_model("digits_cnn")
SHORT = replace(DIGITS.fit, epochs=3)


def train(folder, *, model=DIGITS, config=SHORT, **options):
    return fit(model, folder, config=config, device="cpu", **options)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return train(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return train(tmp_path_factory.mktemp("full"), config=DIGITS.fit)


def stop_after(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


def test_digits_are_learned(full):
    assert full.record.value >= 0.98
    assert full.record.validation_samples == 719
    assert full.record.low < full.record.value < full.record.high
    assert [epoch.epoch for epoch in full.record.curve] == list(range(1, 31))
    assert full.record.curve[-1].loss < 0.01 * full.record.curve[0].loss


def test_the_weights_on_disk_are_the_measured_ones(full):
    module = DIGITS.build()
    load_weights(module, full.weights)
    assert evaluate(module, *on_device(DIGITS, DIGITS.data().validation, "cpu"), "classification").value == (
        full.record.value
    )
    assert read_run(full.folder) == full.record
    assert full.record.weights_sha256 == sha256_file(full.weights)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(short, tmp_path):
    assert sha256_file(train(tmp_path / "again").weights) == sha256_file(short.weights)
    other = train(tmp_path / "other", config=replace(SHORT, seed=4))
    assert sha256_file(other.weights) != sha256_file(short.weights)


def test_the_number_of_threads_is_a_setting_and_is_given_back(short):
    assert short.record.device == "cpu, 1 thread"
    threads = torch.get_num_threads()
    train(short.folder, go_on=True)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9}])
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, settings, epoch):
    config = replace(SHORT, **settings)
    whole = train(tmp_path / "whole", config=config)
    with pytest.raises(Interrupted, match=f"epoch {epoch} of 3 is kept in .* To resume:\n  kit digits --resume$"):
        train(tmp_path / "part", config=config, on_epoch=stop_after(epoch), command="kit digits")
    resumed = train(tmp_path / "part", config=config, go_on=True)
    assert resumed.trained_epochs == 3 - epoch
    assert sha256_file(resumed.weights) == sha256_file(whole.weights)
    assert [e.loss for e in resumed.record.curve] == [e.loss for e in whole.record.curve]


def test_a_finished_run_is_left_as_it_is(short):
    before = {file.name: file.read_bytes() for file in short.folder.iterdir()}
    again = train(short.folder, go_on=True)
    assert again.trained_epochs == 0
    assert again.record == short.record
    assert {file.name: file.read_bytes() for file in short.folder.iterdir()} == before
    assert sorted(before) == ["resume.pt", "run.json", "weights.safetensors"]


def test_a_run_that_died_before_its_last_files_gets_them(short, tmp_path):
    died = tmp_path / "died"
    died.mkdir()
    (died / "resume.pt").write_bytes((short.folder / "resume.pt").read_bytes())
    finished = train(died, go_on=True)
    assert finished.trained_epochs == 0
    assert sha256_file(finished.weights) == sha256_file(short.weights)


def test_more_epochs_can_be_added_to_a_finished_run(short, tmp_path):
    train(tmp_path, config=replace(SHORT, epochs=2))
    assert sha256_file(train(tmp_path, go_on=True).weights) == sha256_file(short.weights)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(SHORT, seed=4), "was started with seed 123, but seed 4 was asked for"),
        (replace(SHORT, epochs=2), "is at epoch 3 of 3, but 2 epochs were asked for. Add --epochs 3"),
        (replace(SHORT, learning_rate=0.1), "was started with learning_rate 0.001, but learning_rate 0.1"),
    ],
)
def test_other_settings_cannot_go_on_from_a_run(short, config, message):
    with pytest.raises(UsageError, match=message):
        train(short.folder, config=config, go_on=True)


def test_another_model_cannot_go_on_from_a_run(short):
    with pytest.raises(UsageError, match="holds a run of digits_cnn, not of digits_big"):
        train(short.folder, model=replace(DIGITS, name="digits_big"), go_on=True)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(UsageError, match=f"nothing to resume: {tmp_path / 'resume.pt'} does not exist"):
        train(tmp_path, go_on=True, command="kit digits")


def test_a_damaged_resume_state_is_refused(short, tmp_path):
    (tmp_path / "resume.pt").write_bytes((short.folder / "resume.pt").read_bytes()[:5000])
    with pytest.raises(EdgekitError, match="resume.pt is damaged"):
        train(tmp_path, go_on=True)


def test_a_damaged_weight_file_does_not_pass_for_the_runs(tmp_path):
    weights = train(tmp_path, config=replace(SHORT, epochs=1)).weights
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(EdgekitError, match="weights.safetensors is not the file that .*run.json was written for"):
        read_run(tmp_path)


def test_a_diverging_run_stops_and_keeps_the_epoch_before(tmp_path):
    wild = FitConfig(epochs=3, batch_size=64, learning_rate=1e30)
    with pytest.raises(EdgekitError, match=re.escape("in epoch 1 the loss is nan. Lower the learning rate (1e+30)")):
        train(tmp_path, config=wild)
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_learns_too(tmp_path):
    found = train(tmp_path, config=replace(SHORT, epochs=5), precision="bf16-mixed")
    assert found.record.value > 0.9
    assert found.record.precision == "bf16-mixed"


@pytest.mark.parametrize(("device", "precision"), [("tpu9", "32-true"), ("cpu", "int3")])
def test_unknown_settings_list_the_known_ones(tmp_path, device, precision):
    with pytest.raises(UsageError, match="Known: (auto, cpu, cuda, mps|32-true, bf16-mixed|bf16-mixed, 32-true)"):
        fit(DIGITS, tmp_path, device=device, precision=precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="finds no cuda device here. Use --device cpu"):
        fit(DIGITS, tmp_path, device="cuda")
