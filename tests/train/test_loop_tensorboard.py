"""The TensorBoard log, read back by TensorBoard itself: every step once, whatever interrupted the run."""

import io
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image
from small_digits import CONFIG, train, train_until
from small_luna import ONE_EPOCH, make_store, tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgekit.train.data import luna_sets
from edgekit.train.loop.fit import fit
from edgekit.train.models import luna_classifier, luna_unet


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


def test_nodules_have_slices_a_roc_curve_and_histograms_and_masks_lie_over_theirs(tmp_path):
    store = make_store(tmp_path)
    classifier = replace(luna_classifier.MODEL, build=tiny, data=partial(luna_sets.nodules, store))
    fit(classifier, tmp_path / "c", config=ONE_EPOCH, device="cpu", tensorboard=True)
    log = read(tmp_path / "c")
    assert {"inputs/train", "roc/validation"} <= set(log.Tags()["images"])
    assert {"probability/class 0", "probability/class 1"} <= set(log.Tags()["histograms"])
    truth = classifier.data().validation.targets
    assert log.Histograms("probability/class 1")[0].histogram_value.num == truth.sum()

    segmenter = replace(luna_unet.MODEL, data=partial(luna_sets.segments, store))
    config = replace(luna_unet.MODEL.fit, epochs=1, batch_size=4, epoch_samples=8, cpu_threads=1)
    fit(segmenter, tmp_path / "s", config=config, device="cpu", tensorboard=True)
    picture = read(tmp_path / "s").Images("masks/validation")[0]
    pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
    assert (pixels[..., 1] > pixels[..., 2]).any()  # true pixels are greener than the grey below them


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
