"""The nets of chapters 7 and 8: the book's sizes and shapes, what each design adds, and that one step learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.train.book_model import FitConfig
from edgekit.train.checkpoint import load_weights, save_weights
from edgekit.train.models.birds_designs import CURVE_EPOCHS, NetDepth, NetWidth
from edgekit.train.models.birds_resdeep import BLOCKS, NetResDeep, SharedResBlocks, independent, shared
from edgekit.train.registry import book_model

PARAMETERS = {
    "birds_mlp": 1_574_402,
    "birds_mlp_deep": 3_737_474,
    "birds_cnn_width": 38_386,
    "birds_cnn_l2": 18_090,
    "birds_cnn_dropout": 38_386,
    "birds_cnn_batchnorm": 38_482,
    "birds_cnn_depth": 16_130,
    "birds_cnn_res": 16_130,
    "birds_cnn_resdeep": 75_810,
    "birds_cnn_resdeep_independent": 994_530,
}
DESIGNS = [name for name in PARAMETERS if name.startswith("birds_cnn")]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def loss_of(module: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(module(inputs), targets)


@pytest.fixture(autouse=True)
def one_thread():
    """Small nets: threads that wait for each other on a busy machine cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def batch():
    """24 pictures of noise, (24, 3, 32, 32), and classes that can be told apart: the second is brighter."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, 2, (24,), generator=generator)
    return torch.randn(24, 3, 32, 32, generator=generator) + targets.reshape(-1, 1, 1, 1), targets


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_the_books_parameter_counts(name, parameters):
    assert count(book_model(name).build()) == parameters


def test_the_parameter_counts_of_ten_blocks():
    assert (count(shared(10)), count(independent(10))) == (75_810, 159_330)


def test_the_layers_of_the_deep_mlp():
    sizes = [p.numel() for p in book_model("birds_mlp_deep").build().parameters()]
    assert sizes == [3145728, 1024, 524288, 512, 65536, 128, 256, 2]


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (NetWidth, {"conv1": (32, 3, 3, 3), "conv2": (16, 32, 3, 3), "fc1": (32, 1024), "fc2": (2, 32)}),
        (NetDepth, {"conv2": (16, 32, 3, 3), "conv3": (16, 16, 3, 3), "fc1": (32, 256), "fc2": (2, 32)}),
        (shared, {"conv1": (32, 3, 3, 3), "blocks.conv": (32, 32, 3, 3), "fc1": (32, 2048), "fc2": (2, 32)}),
        (independent, {"blocks.0.conv": (32, 32, 3, 3), "blocks.99.conv": (32, 32, 3, 3)}),
    ],
)
def test_the_books_layer_shapes(build, shapes):
    module = build()
    assert {name: tuple(module.get_submodule(name).weight.shape) for name in shapes} == shapes


@pytest.mark.parametrize("name", DESIGNS)
def test_the_books_settings_and_curves(name):
    model = book_model(name)
    found = model.fit
    independent_blocks = name.endswith("independent")  # of which the book trained none
    schedule = (50, 2e-3, "one_cycle") if independent_blocks else (100, 3e-3 if "resdeep" in name else 1e-2, "constant")
    assert (found.epochs, found.learning_rate, found.schedule) == schedule
    assert (found.optimizer, found.batch_size) == ("sgd", 64)
    assert (found.momentum, found.weight_decay) == (0.0, 0.0)
    assert found.l2_penalty == (0.001 if name == "birds_cnn_l2" else 0.0)
    assert tuple(model.target.curve) == (() if independent_blocks else CURVE_EPOCHS)
    assert model.target.differs.startswith("The book")


# 5 blocks instead of 100: the same code, a twentieth of the time.
STEPS = [(book_model(name).build, 0.1) for name in PARAMETERS if "resdeep" not in name] + [(lambda: shared(5), 3e-3)]


@pytest.mark.parametrize(("build", "rate"), STEPS)
def test_a_few_steps_lower_the_loss(build, rate, batch):
    torch.manual_seed(0)
    module = build()
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    losses = []
    for _ in range(6):
        loss = loss_of(module, *batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.98 * losses[0]


def test_the_residual_blocks_begin_as_the_book_says():
    torch.manual_seed(0)
    block = independent(1).blocks[0]
    assert block.norm.weight.tolist() == [0.5] * 32
    assert block.norm.bias.tolist() == [0.0] * 32
    assert float(block.conv.weight.detach().std()) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.03)


def test_a_shortcut_adds_the_third_convolutions_input():
    torch.manual_seed(0)
    plain, residual = NetDepth(), NetDepth(shortcut=True)
    residual.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(plain(x), residual(x))
    for net in (plain, residual):
        nn.init.zeros_(net.conv3.weight)
        nn.init.zeros_(net.conv3.bias)
    assert torch.equal(plain(x)[0], plain(x)[1])  # nothing of the picture is left
    assert not torch.equal(residual(x)[0], residual(x)[1])


def test_dropout_drops_whole_channels_in_training_only():
    torch.manual_seed(0)
    net, x = NetWidth(dropout=0.4), torch.randn(4, 3, 32, 32)
    dropped = net.train().dropout(torch.ones(500, 16, 8, 8))
    assert sorted(dropped.unique().tolist()) == pytest.approx([0, 1 / 0.6])
    assert torch.equal(dropped[:, :, :1, :1].expand_as(dropped), dropped)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.4, abs=0.02)
    assert torch.equal(net.eval()(x), net(x))


def test_one_block_stands_in_all_places():
    blocks = shared().blocks
    assert len(blocks.norms) == BLOCKS
    assert len({id(norm.weight) for norm in blocks.norms} | {id(norm.bias) for norm in blocks.norms}) == 2
    assert len({norm.running_mean.data_ptr() for norm in blocks.norms}) == BLOCKS


def test_shared_weights_come_back_shared_and_the_file_holds_them_once(tmp_path, batch):
    torch.manual_seed(0)
    written, read, path = shared(), shared(), tmp_path / "weights.safetensors"
    torch.nn.init.normal_(written.blocks.norms[7].bias)
    written.train()(batch[0][:2])  # so that running statistics differ from place to place
    save_weights(written, path)
    load_weights(read, path)
    assert path.stat().st_size < 6 * 75_810
    assert read.blocks.norms[0].bias is read.blocks.norms[99].bias
    assert torch.equal(read.blocks.norms[0].bias, written.blocks.norms[7].bias)
    assert torch.equal(read.eval()(batch[0][:1]), written.eval()(batch[0][:1]))


def test_training_is_that_of_the_published_net_with_one_norm_for_all_places(batch):
    """The book's own structure, one block object listed several times: same outputs and gradients in training."""
    torch.manual_seed(0)
    ours = shared(5)
    block = independent(1).blocks[0]
    published = NetResDeep(nn.Sequential(*[block] * 5))
    published.load_state_dict(
        {k: v for k, v in ours.state_dict().items() if not k.startswith("blocks.")}
        | {f"blocks.{i}.conv.weight": ours.blocks.conv.weight for i in range(5)}
        | {f"blocks.{i}.norm.{k}": v for i in range(5) for k, v in ours.blocks.norms[0].state_dict().items()}
    )
    for net in (ours, published):
        loss_of(net.train(), *batch).backward()
    assert torch.equal(ours(batch[0]), published(batch[0]))
    assert torch.allclose(ours.blocks.conv.weight.grad, block.conv.weight.grad, rtol=1e-5, atol=1e-7)


def test_only_statistics_of_each_place_make_evaluation_mode_agree_with_training_mode(batch):
    torch.manual_seed(0)
    ours, inputs = SharedResBlocks(8, 20), torch.randn(256, 8, 8, 8)
    for norm in ours.norms:
        norm.momentum = 1.0
    trained = ours.train()(inputs).detach()
    assert float((ours.eval()(inputs) - trained).detach().abs().max()) < 0.01 * float(trained.std())
    for norm in ours.norms:  # one pair for all, that of the last place: what the published net is left with
        norm.load_state_dict(ours.norms[-1].state_dict())
    assert float((ours.eval()(inputs) - trained).detach().abs().mean()) > 0.5 * float(trained.std())


def test_the_l2_penalty_is_in_the_loss_and_in_the_step():
    from lightning.fabric import Fabric

    from edgekit.train.loop.batches import Batches
    from edgekit.train.loop.trainer import Trainer

    def weights_and_loss(**settings: float) -> tuple[list[np.ndarray], float]:
        torch.manual_seed(0)
        config = FitConfig(epochs=1, batch_size=8, learning_rate=0.1, **settings)
        net, x, y = nn.Linear(4, 2), torch.randn(8, 4), torch.arange(8) % 2
        squares = sum(float(p.detach().square().sum()) for p in net.parameters())
        fabric = Fabric(accelerator="cpu", devices=1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=config.weight_decay)
        module, optimizer = fabric.setup(net, optimizer)
        loss = Trainer(fabric, module, optimizer, F.cross_entropy, Batches(x, y, config), config).epoch(1)
        return [p.detach().numpy() for p in net.parameters()], loss - 0.3 * squares * ("l2_penalty" in settings)

    penalized, decayed, plain = (
        weights_and_loss(**settings) for settings in ({"l2_penalty": 0.3}, {"weight_decay": 0.6}, {})
    )
    assert penalized[1] == pytest.approx(plain[1], rel=1e-5)  # the reported loss has the penalty on top
    for ours, torchs in zip(
        penalized[0], decayed[0], strict=True
    ):  # chapter 8: SGD's weight_decay is twice the penalty
        np.testing.assert_allclose(ours, torchs, rtol=1e-5)
