"""The nets of chapters 11 to 14: sizes, the five published checkpoints, and what they answer on real crops."""

import numpy as np
import pytest
import torch
from forerunners import forerunner, forerunner_weights
from torch import nn

from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.edge_runtime.tasks.detection_metrics import count_confusion
from edgekit.train.book_model import input_module
from edgekit.train.checkpoint import load_weights, read_tensors
from edgekit.train.data import lidc
from edgekit.train.loop.epoch import evaluate, on_device
from edgekit.train.models import luna_classifier, luna_unet
from edgekit.train.models.luna_classifier import LunaClassifier
from edgekit.train.models.luna_unet import LunaUNet


@pytest.fixture(scope="module")
def published(data_root):
    folder = data_root / "book" / "part2" / "models"
    if not folder.is_dir():
        pytest.skip(f"the checkpoints of the book's second part are not in {data_root}")
    return {
        name: next(folder.glob(f"{name}*.state")) for name in ("cls_2020", "seg_2020", "cls_2019", "seg_2019", "alt")
    }


@pytest.fixture(scope="module")
def classifier(published):
    module = LunaClassifier().eval()
    load_weights(module, published["cls_2020"])
    return module


@pytest.fixture(scope="module")
def example(data_root):
    """(1, 1, 32, 48, 48), the book's candidate that is no nodule."""
    path = data_root / "book" / "p3ch15" / "cls_val_example.pt"
    if not path.is_file():
        pytest.skip(f"the book's example is not in {data_root}")
    return torch.load(path, weights_only=True)[0][None]


@pytest.fixture(scope="module")
def real_data(data_root):
    if not (data_root / "luna").is_dir():
        pytest.skip(f"the real crops are not in {data_root}")


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    module = LunaClassifier()
    blocks = [count(part) for part in module.children()]
    assert blocks == [2, 1_960, 10_400, 41_536, 166_016, 2_306]
    unet = LunaUNet()
    assert [count(part) for part in (*unet.unet.down_path, *unet.unet.up_path)] == [
        3_408,
        14_016,
        55_680,
        36_064,
        9_072,
    ]
    assert (count(module), count(unet), count(LunaUNet(8, 4, 3))) == (222_220, 118_271, 121_905)
    assert (count(forerunner("redo")), count(forerunner("alternate"))) == (221_068, 111_712)


def test_weights_begin_as_the_books():
    """Of a layer with two outputs: weights of deviation 1, biases around -0.707 with as much deviation."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(nn.Linear(8, 2) for _ in range(1000))).requires_grad_(False)
    luna_classifier.init_weights(layers)
    weights, biases = (torch.cat([p.flatten() for p in list(layers.parameters())[i::2]]) for i in (0, 1))
    assert (float(weights.mean()), float(weights.std())) == pytest.approx((0, 1), abs=0.05)
    assert (float(biases.mean()), float(biases.std())) == pytest.approx((-(0.5**0.5), 0.5**0.5), abs=0.05)


@torch.inference_mode()
def test_the_published_classifier_on_the_books_example(classifier, example):
    assert classifier(example)[0].tolist() == pytest.approx([8.665877, -10.436965], abs=1e-4)
    x, seen = example, []
    for part in list(classifier.children())[:-1]:
        x = part(x)
        seen.append((round(float(x.mean()), 5), round(float(x.std()), 5)))
    book = [(0.15817, 1.18327), (0.18391, 0.31363), (0.15477, 0.25859), (0.10976, 0.16224), (0.10132, 0.11422)]
    assert np.allclose(seen, book, atol=2e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "file", "nodule"), [("redo", "cls_2019", 7.0777e-4), ("alternate", "alt", 2.3028e-5)])
def test_the_forerunners_on_its_middle_slices(published, example, name, file, nodule):
    module = forerunner(name).eval()
    module.load_state_dict(forerunner_weights(read_tensors(published[file])), strict=True)
    assert float(module(example[:, :, 4:28]).softmax(1)[0, 1]) == pytest.approx(nodule, rel=1e-4)


@torch.inference_mode()
def test_both_unets_load_and_crop_to_multiples_of_four(published):
    module = LunaUNet().eval()
    load_weights(module, published["seg_2020"])
    assert module(torch.zeros(1, 7, 26, 34)).shape == (1, 1, 24, 32)
    load_weights(LunaUNet(8, 4, 3), published["seg_2019"])


def test_weights_of_another_net_are_refused_by_name(published):
    with pytest.raises(
        UsageError, match="cls_2019.*holds the weights of another model than LunaClassifier. missing: block1"
    ):
        load_weights(LunaClassifier(), published["cls_2019"])


def test_a_state_file_of_other_things_is_refused(tmp_path):
    torch.save({"model_state": {"epoch": 3}}, tmp_path / "odd.state")
    with pytest.raises(EdgekitError, match="odd.state is not a plain state dict of tensors; it holds keys epoch"):
        read_tensors(tmp_path / "odd.state")


def test_raw_hounsfield_units_are_cut_to_the_books_range():
    cut = input_module(luna_classifier.MODEL)(torch.tensor([-2048, -1000, 40, 3071], dtype=torch.int16))
    assert (cut.tolist(), cut.dtype) == ([-1000, -1000, 40, 1000], torch.float32)


def test_the_published_classifier_on_real_crops(classifier, real_data):
    """Of seven nodules it misses two of LIDC-IDRI-0055, one of them narrowly; all 18 crops without one are right."""
    split = lidc.crops().validation
    metric = evaluate(classifier, *on_device(luna_classifier.MODEL, split, "cpu"), "classification")
    assert (metric.correct, metric.samples, int(split.targets.sum())) == (23, 25, 7)


@torch.inference_mode()
def test_the_published_unet_finds_most_of_each_real_nodule(published, real_data):
    module = LunaUNet().eval()
    load_weights(module, published["seg_2020"])
    inputs, targets = on_device(luna_unet.MODEL, lidc.slices().validation, "cpu")
    counts = count_confusion(module(inputs) > 0.5, targets)
    assert counts.recall > 0.6
    assert counts.precision > 0.3


def test_real_samples_share_none_and_are_hounsfield_units(real_data):
    data = lidc.crops()
    assert (data.calibration.inputs.shape, data.validation.inputs.shape) == ((36, 1, 32, 48, 48), (25, 1, 32, 48, 48))
    mine, theirs = ({array.tobytes() for array in split.inputs} for split in (data.calibration, data.validation))
    assert mine & theirs == set()
    assert data.calibration.inputs.min() >= -2048
    masks = lidc.slices().validation.targets
    assert set(np.unique(masks)) == {0, 1}
    assert masks.any(axis=(1, 2, 3)).sum() == len(masks) - len(lidc.VALIDATION)
