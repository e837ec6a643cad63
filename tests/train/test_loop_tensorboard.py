"""The TensorBoard log, read back by TensorBoard itself: every step once, whatever interrupted the run."""

import shutil
from dataclasses import replace

import pytest
from small_digits import CONFIG, train, train_until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "histograms": 0})
    found.Reload()
    return found


def steps(log, tag="loss/train") -> list[int]:
    return [event.step for event in log.Scalars(tag)]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    return train(folder, tensorboard=True)


def test_the_curves_are_those_of_the_run(logged):
    log, curve = read(logged.folder), logged.record.curve
    assert set(log.Tags()["scalars"]) == {"loss/train", "accuracy/validation", "learning_rate", "seconds"}
    assert [event.value for event in log.Scalars("loss/train")] == pytest.approx([e.loss for e in curve])
    assert steps(log, "accuracy/validation") == [1, 2, 3]
    assert [event.value for event in log.Scalars("learning_rate")] == pytest.approx([1e-3] * 3)


def test_pictures_and_weights_are_there(logged):
    log = read(logged.folder)
    assert {"weights/conv1.weight", "weights/fc2.bias"} <= set(log.Tags()["histograms"])
    assert [event.step for event in log.Histograms("weights/fc2.bias")] == [1, 2, 3]
    picture = log.Images("inputs/train")[0]
    assert (picture.width, picture.height) == (8 * 8, 2 * 8)  # 16 digits


def test_a_resumed_run_goes_on_with_no_step_twice_even_after_a_kill(tmp_path):
    train_until(1, tmp_path, tensorboard=True)
    shutil.copy(tmp_path / "resume.pt", tmp_path / "kept.pt")
    train_until(2, tmp_path, tensorboard=True, go_on=True)
    shutil.copy(tmp_path / "kept.pt", tmp_path / "resume.pt")  # as if killed before epoch 2 was safe
    train(tmp_path, tensorboard=True, go_on=True)
    assert steps(read(tmp_path)) == [1, 2, 3]


def test_a_log_that_begins_on_resuming_has_the_epochs_before(tmp_path):
    train_until(2, tmp_path)
    assert not (tmp_path / "tensorboard").exists()
    train(tmp_path, tensorboard=True, go_on=True)
    assert steps(read(tmp_path)) == [1, 2, 3]


def test_a_new_run_replaces_the_log_of_an_old_one(tmp_path):
    train(tmp_path, tensorboard=True)
    train(tmp_path, tensorboard=True, config=replace(CONFIG, epochs=1))
    assert steps(read(tmp_path)) == [1]
