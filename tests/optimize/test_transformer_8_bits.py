"""What a transformer computes in float between its 8-bit layers is rounded nowhere else."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.recipes.layers import torch_layers
from edgekit.optimize.recipes.onnx_prepare import choosable_layers
from edgekit.optimize.recipes.w8a8_static import quantize_onnx, quantize_pt2e


class Blocks(nn.Module):
    """(N, 6, 16) to (N, 3): two blocks of attention and a perceptron; one channel is 60 times the others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(4))
        self.head = nn.Linear(16, 3)
        self.stream = nn.Parameter(torch.tensor([60.0, *[1.0] * 15]))

    def forward(self, x):
        x = x * self.stream
        for i in range(2):
            q, k, v = self.qkv[i](self.norms[2 * i](x)).chunk(3, -1)
            x = x + self.out[i](torch.softmax(q @ k.transpose(1, 2) * 0.25, -1) @ v)
            x = x + self.down[i](nn.functional.gelu(self.up[i](self.norms[2 * i + 1](x))))
        return self.head(nn.functional.layer_norm(x, (16,)).mean(1))


@pytest.fixture(scope="module")
def net():
    return Blocks().eval()


@pytest.fixture(scope="module")
def samples():
    torch.manual_seed(1)
    return torch.randn(32, 6, 16)


@pytest.fixture(scope="module")
def quantized(net, samples, tmp_path_factory):
    """(float file, 8-bit file) of the net as ONNX."""
    folder = tmp_path_factory.mktemp("blocks")
    plain, rounded = folder / "float.onnx", folder / "int8.onnx"
    torch.onnx.export(net, (samples[:1],), dynamo=True, verbose=False, input_names=["x"]).save(plain)
    quantize_onnx(plain, rounded, {"x": samples.numpy()})
    return plain, rounded


def makers(graph):
    return {name: node for node in graph.node for name in node.output}


def test_only_what_goes_into_a_linear_layer_is_rounded(quantized):
    graph = onnx.load(quantized[1]).graph
    maker, constants = makers(graph), {tensor.name for tensor in graph.initializer}
    rounded = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounded) == 9  # one for each linear layer
    for node in graph.node:
        computed = [maker[name].op_type for name in node.input if name in maker]
        if node.op_type in ("Add", "LayerNormalization", "Gelu", "Softmax"):
            assert "DequantizeLinear" not in computed, node.name
        if node.op_type == "MatMul" and computed.count("DequantizeLinear") == 1:
            raise AssertionError(f"{node.name} has one factor in 8 bits")
    assert maker[graph.output[0].name].op_type == "Gemm"  # no answer in 256 steps
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Softmax"] == 2
    assert constants <= {name for node in graph.node for name in node.input}


def test_it_keeps_what_the_small_channels_say(net, samples, quantized):
    with torch.inference_mode():
        wanted = net(samples).numpy()
    session = InferenceSession(quantized[1], providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {"x": row[None]})[0] for row in samples.numpy()])
    assert sqnr_db(wanted, found) > 30  # 13 with the stream in 8 bits


def test_no_search_tries_what_is_never_in_8_bits(net, samples, quantized):
    layers = [f"{name}.{i}" for i in range(2) for name in ("qkv", "out", "up", "down")]
    assert len(choosable_layers(quantized[0])) == len(layers) + 1
    captured = torch.export.export(net, (samples[:1],), strict=False).module()
    assert sorted(torch_layers(captured)) == sorted([*layers, "head"])


def test_xnnpack_adds_the_stream_in_float(net, samples):
    captured = torch.export.export(net, (samples[:1],), strict=False).module()
    rounded = quantize_pt2e(captured, iter([(row[None],) for row in samples]))
    additions = [node for node in rounded.graph.nodes if node.target == torch.ops.aten.add.Tensor]
    assert len(additions) == 4
    for node in additions:
        assert not [one for one in node.users if "quantize" in str(one.target)]
    with torch.inference_mode():
        wanted = net(samples).numpy()
        found = torch.cat([rounded(row[None]) for row in samples]).numpy()
    assert sqnr_db(wanted, found) > 30
