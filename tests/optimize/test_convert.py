"""Converting an observed graph that keeps a batch norm: it is there afterwards, and all else is quantized."""

import pytest
import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.recipes.convert import convert


def observed(net):
    """The net (3, 8, 8) -> (4,), captured, with ranges seen on two batches."""
    torch.manual_seed(0)
    picture = torch.randn(2, 3, 8, 8)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    module = prepare_pt2e(torch.export.export(net, (picture,)).module(), quantizer)
    with torch.inference_mode():
        module(picture)
    return module, picture


def net():
    torch.manual_seed(1)
    first = nn.BatchNorm2d(3)
    with torch.no_grad():
        first.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
        first.weight.copy_(torch.tensor([0.5, 2.0, 1.5]))
    convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(first, convolution, nn.AvgPool2d(6), nn.Flatten(), nn.Linear(4, 4)).eval()


@pytest.mark.filterwarnings("ignore")
def test_a_batch_norm_that_follows_no_convolution_stays_and_nothing_else_does():
    module, picture = observed(net())
    with torch.inference_mode():
        wanted = net()(picture)
        quantized = convert(module)
        found = quantized(picture)
    targets = [str(node.target) for node in quantized.graph.nodes]
    assert [target for target in targets if "batch_norm" in target] == ["aten.batch_norm.default"]
    assert sum("quantize_per_tensor" in target for target in targets) >= 8
    assert 20 < sqnr_db(wanted, found) < 100  # quantized, and right
