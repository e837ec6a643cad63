"""Schedules, lookahead, early stopping and layouts: each follows from the step or the curve, so resuming is exact."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_digits import CONFIG, MODEL, plain_net, train, train_until
from torch import nn

from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.checkpoint import EpochRecord, load_weights, read_run
from edgekit.train.loop.device import records_steps
from edgekit.train.loop.early_stopping import stop_reason
from edgekit.train.loop.epoch import evaluate, loss_of, make_optimizer, on_device
from edgekit.train.loop.lookahead import Lookahead
from edgekit.train.loop.schedule import SCHEDULES
from edgekit.train.test_time_augmentation import SixViews

EVERYTHING = {
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-3,
    "schedule": "triangle",
    "label_smoothing": 0.1,
    "flip": "alternating",
    "translate": 1,
    "norm_bias_rate": 4.0,
    "lookahead": 3,
    "channels_last": True,
    "l2_penalty": 1e-4,
}


@pytest.mark.parametrize(
    "settings",
    [{"schedule": "cosine", "precision": "bf16-mixed"}, {"schedule": "one_cycle", "flip": "random"}, EVERYTHING],
    ids=["cosine", "one_cycle", "everything"],
)
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path, settings):
    config = replace(CONFIG, **settings)
    whole = train(tmp_path / "whole", config=config)
    train_until(2, tmp_path / "part", config=config)
    resumed = train(tmp_path / "part", config=config, go_on=True)
    assert (resumed.trained_epochs, resumed.record.precision) == (1, config.precision)
    assert sha256_file(resumed.weights) == sha256_file(whole.weights)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_that_began_on_a_gpu_can_be_finished_on_a_cpu(tmp_path, optimizer):
    config = replace(CONFIG, optimizer=optimizer)
    whole = train(tmp_path / "whole", config=config)
    train_until(2, tmp_path / "part", config=config)
    path = tmp_path / "part" / "resume.pt"
    state = torch.load(path, weights_only=True)
    for group in state["optimizer"]["param_groups"]:  # as a replayed CUDA graph needs them
        group |= {"lr": torch.tensor(group["lr"]), "fused": True} | (
            {"capturable": True} if optimizer == "adam" else {}
        )
    torch.save(state | {"devices": {"cuda: NVIDIA H100": 2}}, path)

    resumed = train(tmp_path / "part", config=config, go_on=True)
    assert sha256_file(resumed.weights) == sha256_file(whole.weights)
    parts = [(part.device, part.epochs) for part in read_run(tmp_path / "part").trained_on]
    assert parts == [("cuda: NVIDIA H100", 2), ("cpu, 1 thread", 1)]
    assert (whole.record.trained_on, resumed.record.device) == ((), "cpu, 1 thread")


def test_everything_together_learns(tmp_path):
    found = train(tmp_path, config=replace(CONFIG, epochs=15, **EVERYTHING | {"flip": "never"})).record
    assert found.value > 0.85


def test_one_cycle_is_torchs():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=40)
    for step in range(40):
        assert SCHEDULES["one_cycle"](step, 40) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_every_schedule_stays_within_0_and_1(name, steps):
    rates = [SCHEDULES[name](step, steps) for step in range(steps)]
    assert 0 <= min(rates) <= max(rates) <= 1
    assert max(rates) > 0.9 or steps < 1000


def test_a_schedule_cannot_be_made_longer_afterwards(tmp_path):
    config = replace(CONFIG, epochs=2, schedule="cosine")
    train_until(1, tmp_path, config=config)
    with pytest.raises(UsageError, match="was planned for 2 epochs, and its learning-rate schedule .*--epochs 2"):
        train(tmp_path, config=replace(config, epochs=3), go_on=True)


def curve(*values, name="accuracy"):
    return [EpochRecord(epoch=i, loss=1.0, validation={name: v}, seconds=1.0) for i, v in enumerate(values, 1)]


def test_it_stops_when_patience_is_over_and_says_why():
    assert stop_reason(curve(0.5, 0.7, 0.6), 2, "classification") is None
    assert stop_reason(curve(0.5, 0.7, 0.6, 0.7), None, "classification") is None
    assert stop_reason(curve(0.5, 0.7, 0.6, 0.7), 2, "classification") == (
        "stopped early at epoch 4: the 2 epochs after epoch 2 did not improve on its accuracy of 0.7000 (patience 2)"
    )


def test_a_run_stops_early_and_stays_stopped(tmp_path):
    config = replace(CONFIG, epochs=40, patience=2)
    whole = train(tmp_path / "whole", config=config)
    epochs = len(whole.record.curve)
    assert epochs < 40
    assert f"stopped early at epoch {epochs}:" in whole.stopped
    again = train(tmp_path / "whole", config=replace(config, epochs=50), go_on=True)
    assert (again.trained_epochs, again.stopped) == (0, whole.stopped)
    train_until(epochs - 1, tmp_path / "part", config=config)
    resumed = train(tmp_path / "part", config=config, go_on=True)
    assert (resumed.trained_epochs, resumed.stopped) == (1, whole.stopped)


def test_lookahead_draws_the_weights_back_and_ends_on_the_average():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    lookahead = Lookahead(layer, every=2, steps=5)
    found = []
    for step in range(5):
        nn.init.constant_(layer.weight, step + 1.0)
        lookahead.after(step)
        found.append(layer.weight.item())
    hold = [0.95**2 * (done / 5) ** 3 for done in (2, 4)]
    slow = [2 * (1 - hold[0])]
    slow.append(slow[0] + (4 - slow[0]) * (1 - hold[1]))
    assert found == pytest.approx([1, slow[0], 3, slow[1], slow[1]])


def test_biases_of_norms_learn_faster_and_decay_alike():
    net = MODEL.build()
    config = replace(CONFIG, optimizer="sgd", weight_decay=0.01, norm_bias_rate=10.0)
    others, biases = make_optimizer(net, config).param_groups
    assert len(biases["params"]) == 3
    assert biases["lr"] == pytest.approx(10 * others["lr"])
    assert biases["lr"] * biases["weight_decay"] == pytest.approx(others["lr"] * others["weight_decay"])


def test_label_smoothing_is_for_classes_only():
    with pytest.raises(ValueError, match="label_smoothing 0.1 is for a classification, not for regression"):
        loss_of("regression", replace(CONFIG, label_smoothing=0.1))


def test_channels_last_computes_the_same(tmp_path):
    plain = replace(CONFIG, epochs=1)
    found = [train(tmp_path / str(cl), config=replace(plain, channels_last=cl)) for cl in (False, True)]
    assert found[0].record.curve[0].loss == pytest.approx(found[1].record.curve[0].loss, rel=1e-4)


def test_a_cuda_graph_says_nothing_on_a_cpu(tmp_path):
    found = [train(tmp_path / str(asked), config=replace(CONFIG, cuda_graph=asked)) for asked in (False, True)]
    assert found[0].record.weights_sha256 == found[1].record.weights_sha256


def test_steps_are_recorded_on_one_cuda_device_where_the_batches_lie():
    def fabric(kind, processes):
        return SimpleNamespace(device=torch.device(kind), world_size=processes)

    assert records_steps(fabric("cuda", 1), CONFIG, on_device=True)
    assert not records_steps(fabric("cpu", 1), CONFIG, on_device=True)
    assert not records_steps(fabric("cuda", 2), CONFIG, on_device=True)
    assert not records_steps(fabric("cuda", 1), CONFIG, on_device=False)
    assert not records_steps(fabric("cuda", 1), replace(CONFIG, cuda_graph=False), on_device=True)


def test_a_run_goes_on_however_it_is_computed(tmp_path):
    train_until(1, tmp_path, config=replace(CONFIG, cuda_graph=False))
    assert train(tmp_path, config=CONFIG, go_on=True).trained_epochs == 2
    assert not CONFIG.learns_like(replace(CONFIG, seed=1))


def test_compiled_steps_compute_the_same(tmp_path):
    model = replace(MODEL, build=plain_net)
    config = replace(CONFIG, epochs=1, flip="random", translate=1)
    eager, compiled = (train(tmp_path / str(c), model=model, config=replace(config, compiled=c)) for c in (False, True))
    assert compiled.record.curve[0].loss == pytest.approx(eager.record.curve[0].loss, rel=1e-4)


def test_six_views_of_a_flat_picture_are_one(tmp_path):
    net = plain_net().eval()
    flat = torch.ones(2, 1, 8, 8) * torch.tensor([0.3, -1.0]).reshape(2, 1, 1, 1)
    assert torch.allclose(SixViews(net)(flat), net(flat), atol=1e-6)
    model = replace(MODEL, test_time_augmentation=SixViews)
    found = train(tmp_path, model=model)
    last = found.record.curve[-1].validation
    assert list(last) == ["accuracy", "accuracy_with_views"]
    assert last["accuracy"] == found.record.value
    module = MODEL.build()
    load_weights(module, found.weights)
    validation = on_device(MODEL, MODEL.data().validation, "cpu")
    assert evaluate(SixViews(module), *validation, "classification").value == last["accuracy_with_views"]
