"""`cifar10_fast` on few real pictures: its first layer whitens, it learns, it exports. 94 % is a matter for a GPU."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekit.train.checkpoint import load_weights
from edgekit.train.dataset import Dataset, Split
from edgekit.train.loop.epoch import make_optimizer, on_device
from edgekit.train.loop.fit import fit
from edgekit.train.models.cifar10_fast import MODEL, WhitenedNet, whiten

NARROW = partial(WhitenedNet, (16, 32, 32))


@pytest.fixture(scope="module")
def few(data_root) -> Dataset:
    if not (data_root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not in {data_root}")
    whole = MODEL.data()
    assert np.bincount(whole.train.targets).tolist() == [5000] * 10
    assert np.bincount(whole.validation.targets).tolist() == [1000] * 10
    assert np.bincount(whole.calibration.targets).tolist() == [51] * 10
    train, validation = (
        Split(inputs=split.inputs[:count], targets=split.targets[:count])
        for split, count in ((whole.train, 640), (whole.validation, 300))
    )
    return replace(whole, train=train, validation=validation)


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    config = replace(MODEL.fit, epochs=5, batch_size=50, cpu_threads=1, precision="32-true")
    model = replace(MODEL, build=NARROW, data=lambda: few)
    return fit(model, tmp_path_factory.mktemp("fast"), config=config, device="cpu")


def test_the_first_layer_makes_patches_uncorrelated_and_of_size_one(few):
    inputs, _ = on_device(MODEL, few.train, "cpu")
    net = NARROW()
    whiten(net, inputs)
    # (12, patches), without the negatives
    answers = net.white(inputs).detach().transpose(0, 1).flatten(1)[:12].double()
    size = answers @ answers.T / answers.shape[1]
    assert (size - torch.diag(size.diag())).abs().max() < 0.02
    assert size.diag()[:3] == pytest.approx([1, 1, 1], abs=0.02)
    assert torch.equal(net.white.weight[:12], -net.white.weight[12:])


def test_the_first_layer_and_the_sizes_of_norms_are_frozen():
    net = WhitenedNet()
    frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert frozen == ["white.weight", *(f"blocks.{b}.norm{n}.weight" for b in range(3) for n in (1, 2))]
    learning = sum(len(group["params"]) for group in make_optimizer(net, MODEL.fit).param_groups)
    assert learning == len(list(net.parameters())) - len(frozen)
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_972_792


def test_a_convolution_begins_as_the_identity():
    conv = WhitenedNet((24, 32, 32)).blocks[0].conv1
    pictures = torch.rand(1, 24, 6, 6)
    assert torch.allclose(conv(pictures), pictures)


def test_it_learns(trained):
    losses = [epoch.loss for epoch in trained.record.curve]
    assert losses == sorted(losses, reverse=True)
    assert trained.record.curve[-1].validation["accuracy_with_views"] > 0.25  # chance is 0.1


def test_it_exports_with_its_frozen_layer(trained, few):
    net = NARROW()
    load_weights(net, trained.weights)
    inputs, _ = on_device(MODEL, few.validation, "cpu")
    exported = torch.export.export(net.eval(), (inputs[:4],)).module()
    assert torch.allclose(exported(inputs[:4]), net(inputs[:4]), atol=1e-5)
    assert F.softmax(net(inputs[:4]), dim=1).sum(dim=1).tolist() == pytest.approx([1] * 4)
