"""Chapter 2's MNIST: the data as published, the net, and the book's own weights at their accuracy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.checkpoint import load_weights
from edgekit.train.data.mnist import mnist
from edgekit.train.loop.epoch import evaluate, on_device
from edgekit.train.models.mnist_net import MODEL, MnistNet


@pytest.fixture(scope="module")
def data(data_root):
    if not (data_root / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST is not in {data_root}")
    return mnist()


def test_the_net_is_the_books():
    sizes = {key: tuple(value.shape) for key, value in MnistNet().state_dict().items()}
    assert sum(p.numel() for p in MnistNet().parameters()) == 21_840
    assert [sizes[f"{layer}.weight"] for layer in ("conv1", "conv2", "fc1", "fc2")] == [
        (10, 1, 5, 5),
        (20, 10, 5, 5),
        (50, 320),
        (10, 50),
    ]
    fit = MODEL.fit
    assert (fit.epochs, fit.batch_size, fit.learning_rate, fit.momentum) == (10, 64, 0.01, 0.5)


def test_mnist_is_the_same_everywhere(data):
    assert [len(split) for split in (data.train, data.calibration, data.validation)] == [60_000, 500, 10_000]
    assert data.train.inputs.shape == (60_000, 28, 28, 1)
    assert (data.train.inputs.dtype, data.train.targets.dtype) == (np.uint8, np.int64)
    assert np.bincount(data.calibration.targets).tolist() == [50] * 10
    assert data.sha256() == "f5f3a48d4831eb160f1a782d6c17c2d41a4965a02f7e3d71325603709a3894d6"


def test_the_books_constants_are_those_of_the_training_pictures(data):
    assert data.train.inputs.mean() / 255 == pytest.approx(MODEL.normalization.mean[0], abs=5e-5)
    assert data.train.inputs.std() / 255 == pytest.approx(MODEL.normalization.std[0], abs=5e-5)


@pytest.mark.parametrize(("file", "accuracy"), [("mnist.pth", 0.9843), ("mnist/mnist.pth", 0.9840)])
def test_the_books_published_weights(data, data_root, file, accuracy):
    published = data_root / "book" / "p1ch2" / file
    if not published.is_file():
        pytest.skip(f"the book's weights {file} are not in {data_root}")
    module = MnistNet()
    load_weights(module, published)
    found = evaluate(module, *on_device(MODEL, data.validation, "cpu"), MODEL.task)
    assert (found.value, found.samples) == (accuracy, 10_000)


def test_a_few_steps_lower_the_loss(data):
    torch.manual_seed(0)
    module, (inputs, targets) = MnistNet(), on_device(MODEL, data.calibration, "cpu")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.5)
    before = float(F.cross_entropy(module.eval()(inputs), targets).detach())
    module.train()
    for batch in torch.arange(500).split(50) * 3:
        loss = F.cross_entropy(module(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(F.cross_entropy(module.eval()(inputs), targets).detach()) < 0.98 * before


def test_dropout_is_gone_in_evaluation_mode():
    module = MnistNet().eval()
    program = torch.export.export(module, (torch.zeros(1, 1, 28, 28),)).run_decompositions()
    assert [node.name for node in program.graph.nodes if "dropout" in node.name] == []


def test_a_damaged_file_is_named_and_left_alone(tmp_path, monkeypatch):
    damaged = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not pictures")
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(MissingData, match=f"{damaged} is damaged: its MD5 is not MNIST's"):
        mnist()
    assert damaged.read_bytes() == b"not pictures"


def test_missing_data_name_the_file_the_folder_and_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    for variable in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # a proxy that nobody serves, so that no network is asked
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(MissingData) as caught:
        mnist()
    assert f"looked for train-images-idx3-ubyte in {tmp_path / 'MNIST' / 'raw'}" in str(caught.value)
    assert f"EDGEKIT_DATA={tmp_path} python -c" in str(caught.value)
    assert "torchvision.datasets.MNIST(" in str(caught.value)
