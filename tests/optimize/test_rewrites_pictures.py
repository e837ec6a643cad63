"""Norms, padding, resampling and recurrent layers: rewritten, the answers stay the same."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.edge_runtime.tasks.metrics import relative_error
from edgekit.optimize.rewrites import COPIES, NORMS, PADDING, RECURRENT, RESAMPLING, rewrite

EXACT = 1e-5  # relative to the range: floats added in another order


class Call(nn.Module):
    """A module of one function of its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def rewritten(module, rewrites, *inputs):
    """What was applied to the captured module; its answers are held to the module's own."""
    with torch.no_grad():
        captured = torch.export.export(module.eval(), inputs, strict=False).module()
        applied = rewrite(captured, [rewrites])
        for wanted, found in zip(_flat(module(*inputs)), _flat(captured(*inputs)), strict=True):
            assert found.shape == wanted.shape
            assert relative_error(wanted.numpy(), found.numpy()) <= EXACT
    return applied.counts.get(rewrites.name, {})


def _flat(answer):
    if isinstance(answer, torch.Tensor):
        return [answer]
    return [tensor for part in answer for tensor in _flat(part)]


def scattered(module):
    """Weights and statistics as training would leave them, one scale exactly 0."""
    torch.manual_seed(0)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor)
    if getattr(module, "weight", None) is not None:
        module.weight.data.flatten()[0] = 0.0
    return module


@pytest.mark.parametrize(("norm", "rank"), [(nn.InstanceNorm1d, 3), (nn.InstanceNorm2d, 4), (nn.InstanceNorm3d, 5)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_instance_norm(norm, rank, affine, running):
    module = scattered(norm(6, affine=affine, track_running_stats=running))
    x = 3 * torch.randn(2, 6, 5, 7, 4)[(..., *[0] * (5 - rank))] + 1
    assert rewritten(module, NORMS, x) == {"instance_norm": 1}


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("sizes", [(2, 6, 5), (1, 6, 4, 5)])
def test_group_norm(groups, sizes):
    module = scattered(nn.GroupNorm(groups, 6))
    assert rewritten(module, NORMS, torch.randn(*sizes)) == {"group_norm": 1}


@pytest.mark.parametrize("shape", [(7,), (5, 7)])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(shape, affine):
    module = scattered(nn.LayerNorm(shape, elementwise_affine=affine))
    assert rewritten(module, NORMS, 3 * torch.randn(2, 3, 5, 7) + 2) == {"layer_norm": 1}


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("edges", [(1, 1, 1, 1), (3, 2, 0, 4), (0, 0, 2, 1), (2, 3)])
def test_padding(mode, edges):
    x = torch.randn(1, 3, 6, 5) if len(edges) == 4 else torch.randn(1, 3, 6)
    assert rewritten(Call(lambda x: F.pad(x, edges, mode=mode)), PADDING, x) == {"pad": 1}


def test_padding_with_a_number_is_left():
    assert rewritten(nn.ZeroPad2d(1), PADDING, torch.randn(1, 3, 4, 4)) == {}


@pytest.mark.parametrize("factor", [2, 3, (1, 2), (4, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_nearest_upsampling(factor, batch):
    module = nn.Upsample(scale_factor=factor)
    assert rewritten(module, RESAMPLING, torch.randn(batch, 3, 4, 5)) == {"upsample_nearest2d": 1}


def test_upsampling_by_no_whole_factor_is_left():
    assert rewritten(nn.Upsample(size=(7, 5)), RESAMPLING, torch.randn(1, 3, 4, 5)) == {}


@pytest.mark.parametrize(("size", "count"), [((2, 3), 1), ((4, 6), 1), ((2, 6), 1), ((1, 1), 0), ((3, 3), 0)])
def test_adaptive_avg_pool2d(size, count):
    found = rewritten(nn.AdaptiveAvgPool2d(size), RESAMPLING, torch.randn(2, 3, 4, 6))
    assert sum(found.values()) == count


@pytest.mark.parametrize(("axes", "count"), [((2, 3), 1), ((-1, -2), 1), ((1, 2), 0), ((3,), 0)])
def test_the_mean_of_a_picture(axes, count):
    found = rewritten(Call(lambda x: x.mean(axes)), RESAMPLING, torch.randn(2, 3, 4, 6))
    assert sum(found.values()) == count


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("seed", range(4))
def test_recurrent_layers(kind, seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    projection = {"proj_size": 2} if kind is nn.LSTM and draw.random() < 0.4 else {}
    layers, both, first, bias = draw.randint(1, 2), *(draw.random() < 0.5 for _ in range(3))
    module = kind(4, 5, layers, bias=bias, batch_first=first, bidirectional=both, **projection)
    batch, steps = draw.choice([1, 3]), draw.choice([1, 4])
    x = torch.randn(*((batch, steps) if first else (steps, batch)), 4)
    rows = layers * (2 if both else 1)
    h, c = torch.randn(rows, batch, projection.get("proj_size", 5)), torch.randn(rows, batch, 5)
    stepped = Call(lambda x, *state: module(x, state if kind is nn.LSTM else state[0]))
    for part, inputs in ((module, (x,)), (stepped, (x, h, c) if kind is nn.LSTM else (x, h))):
        assert sum(rewritten(part, RECURRENT, *inputs).values()) == 1


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_recurrent_cells(kind):
    state = (torch.randn(2, 5), torch.randn(2, 5)) if kind is nn.LSTMCell else (torch.randn(2, 5),)
    module = kind(4, 5)
    step = Call(lambda x, *s: module(x, s if kind is nn.LSTMCell else s[0]))
    assert sum(rewritten(step, RECURRENT, torch.randn(2, 4), *state).values()) == 1
    assert sum(rewritten(module, RECURRENT, torch.randn(2, 4)).values()) == 1


def test_a_long_sequence_is_left():
    assert rewritten(nn.LSTM(2, 3), RECURRENT, torch.randn(65, 1, 2)) == {}


def test_a_crop_to_what_is_there_goes_away():
    crop = Call(lambda x: torch.cat([x[:, :, 0:4, 0:5], x], 1))
    assert rewritten(crop, COPIES, torch.randn(1, 2, 4, 5)) == {"alias": 1}


@pytest.mark.parametrize(("axis", "index"), [(0, 0), (1, -1), (-1, 2)])
def test_one_position_of_many(axis, index):
    assert rewritten(Call(lambda x: x.select(axis, index)), COPIES, torch.randn(2, 3, 4)) == {"select": 1}


def test_a_slice_that_is_written_to_stays():
    def write(x):
        y = x * 1
        y[:, 0:2].add_(1)
        return y

    assert rewritten(Call(write), COPIES, torch.randn(1, 2, 3)).get("slice", 0) == 0
