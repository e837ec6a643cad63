"""3-D operators rewritten to 2-D: the same answers for every kernel, stride, padding, dilation, group and batch."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.edge_runtime.tasks.metrics import relative_error
from edgekit.optimize.rewrites import VOLUMES, rewrite

EXACT = 1e-5  # relative to the range: floats added in another order


class Call(nn.Module):
    """A module of one function."""

    def __init__(self, function, **weights):
        super().__init__()
        self.function = function
        for name, weight in weights.items():
            self.register_parameter(name, None if weight is None else nn.Parameter(weight, requires_grad=False))

    def forward(self, *inputs):
        return self.function(self, *inputs)


def rewritten(module, *inputs):
    """The module captured and rewritten; it holds no 3-D operator any more, and gives the same answers."""
    captured = torch.export.export(module.eval(), inputs, strict=False).module()
    applied = rewrite(captured, [VOLUMES])
    assert not any("3d" in str(node.target) for node in captured.graph.nodes)
    wanted, found = module(*inputs), captured(*inputs)
    assert found.shape == wanted.shape
    assert relative_error(wanted.numpy(), found.numpy()) <= EXACT
    return captured, applied


def numbers(draw, low, high):
    return tuple(draw.randint(low, high) for _ in range(3))


@pytest.mark.parametrize("seed", range(24))
def test_conv3d(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    kernel, dilation, stride = numbers(draw, 1, 3), numbers(draw, 1, 2), numbers(draw, 1, 3)
    padding = draw.choice([numbers(draw, 0, 2), "valid", "same"])
    stride = (1, 1, 1) if padding == "same" else stride
    groups = draw.choice([1, 1, 2, 4])
    conv = nn.Conv3d(4, 8, kernel, stride, padding, dilation, groups, bias=draw.random() < 0.5).requires_grad_(False)
    volume = torch.randn(draw.choice([1, 1, 3]), 4, *numbers(draw, 5, 9))
    captured, applied = rewritten(conv, volume)
    assert applied.counts == {"volumes": {"conv3d": 1}}
    assert set(applied.weights.values()) == {"weight"}
    assert "weight" not in dict(captured.named_parameters()) or captured.weight is not None


@pytest.mark.parametrize("seed", range(12))
def test_max_pool3d(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    kernel = numbers(draw, 2, 3)
    padding = draw.choice([(0, 0, 0), (1, 1, 1)])
    stride = draw.choice([kernel, numbers(draw, 1, 3)])
    rest = (stride, padding, draw.choice([1, 2]), draw.random() < 0.5)
    volume = torch.randn(draw.choice([1, 2]), 3, *numbers(draw, 6, 9))
    rewritten(Call(lambda _, x: F.max_pool3d(x, kernel, *rest[:3], ceil_mode=rest[3])), volume)


@pytest.mark.parametrize("seed", range(12))
def test_avg_pool3d(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    kernel = numbers(draw, 2, 3)
    stride, padding = draw.choice([kernel, numbers(draw, 1, 3)]), draw.choice([(0, 0, 0), (1, 1, 1)])
    ceil, count_pad, divisor = draw.random() < 0.5, draw.random() < 0.5, draw.choice([None, None, 5])
    volume = torch.randn(draw.choice([1, 2]), 3, *numbers(draw, 6, 9))
    rewritten(Call(lambda _, x: F.avg_pool3d(x, kernel, stride, padding, ceil, count_pad, divisor)), volume)


@pytest.mark.parametrize("size", [1, 2, (2, 1, 3), (6, 4, 6), (3, 4, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_adaptive_avg_pool3d_where_the_sizes_divide(size, batch):
    rewritten(nn.AdaptiveAvgPool3d(size), torch.randn(batch, 3, 6, 4, 6))


def test_adaptive_avg_pool3d_that_does_not_divide_is_left():
    module, volume = nn.AdaptiveAvgPool3d(4), torch.randn(1, 3, 6, 6, 6)
    captured = torch.export.export(module, (volume,)).module()
    assert not rewrite(captured, [VOLUMES])
    assert torch.equal(captured(volume), module(volume))
