"""Bias correction: what quantization shifts a layer's output by on average is taken off its bias.

One pass over the quantized program, layer by layer: all samples reach a layer through those that were corrected
already, the mean error of each output channel against the float program goes into the bias, and on to the next
(Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.2, with
measured means). Works on what PT2E makes, before and after its conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

_aten = torch.ops.aten
_CHANNEL_AXIS = {
    _aten.conv1d.default: 1,
    _aten.conv2d.default: 1,
    _aten.conv2d.padding: 1,
    _aten.linear.default: -1,
}
Batches = Sequence[tuple[Tensor, ...]]


class _Means(fx.Interpreter):
    """Runs a float program, adding up the mean of each weighted layer's output channels by the node's name."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.sums: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        # Quantizing folds a batch norm into the layer before it, so what that layer will give is the norm's output.
        layer = n.args[0] if n.target == _aten.batch_norm.default else n
        if isinstance(layer, fx.Node) and layer.target in _CHANNEL_AXIS:
            if layer is n and any(user.target == _aten.batch_norm.default for user in n.users):
                return found
            self.sums[layer.name] = self.sums.get(layer.name, torch.zeros(())) + _channel_mean(layer, found)
        return found


def float_means(module: fx.GraphModule, batches: Batches) -> dict[str, Tensor]:
    """The mean output of each channel of each convolution and linear layer, (channels,) float32, by its node's name."""
    means = _Means(module)
    with torch.inference_mode():
        for batch in batches:
            means.run(*batch)
    return {name: total / len(batches) for name, total in means.sums.items()}


def correct_bias(module: fx.GraphModule, batches: Batches, wanted: dict[str, Tensor]) -> int:
    """Changes the biases of a quantized module in place; returns how many layers it corrected.

    Args:
        batches: calibration samples; all of them pass each layer at once, so memory grows with their number.
        wanted: `float_means` of the float program; a layer that is not in it stays as it is.
    """
    corrected = 0
    values: list[dict[fx.Node, Any]] = [{} for _ in batches]
    last_use = {used: node for node in module.graph.nodes for used in node.all_input_nodes}
    runners = [fx.Interpreter(module, garbage_collect_values=False) for _ in batches]
    for runner, env, batch in zip(runners, values, batches, strict=True):
        runner.env, runner.args_iter = env, iter(batch)
    with torch.no_grad():
        for node in list(module.graph.nodes):
            if node.op == "output":
                break
            used_here = node.all_input_nodes  # before a bias of its own is put in
            for runner, env in zip(runners, values, strict=True):
                env[node] = runner.run_node(node)
            if node.target in _CHANNEL_AXIS and node.name in wanted:
                found = torch.stack([_channel_mean(node, env[node]) for env in values]).mean(0)
                shift = wanted[node.name] - found
                if _add_to_bias(module, node, shift):
                    for env in values:
                        env[node] = env[node] + _broadcast(node, shift, env[node].ndim)
                    corrected += 1
            for used in used_here:
                if last_use[used] is node:
                    for env in values:
                        del env[used]
    module.graph.lint()
    module.recompile()
    return corrected


def _add_to_bias(module: fx.GraphModule, node: fx.Node, shift: Tensor) -> bool:
    """As a parameter of the node's own, since two layers may share one; False where the bias is computed."""
    old = node.args[2] if len(node.args) > 2 else None
    before = attrgetter(str(old.target))(module).detach() if isinstance(old, fx.Node) and old.op == "get_attr" else None
    if old is not None and before is None:
        return False
    name = f"corrected_bias_{node.name}"
    value = shift.clone() if before is None else before + shift
    module.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
    with module.graph.inserting_before(node):
        own = module.graph.get_attr(name)
    own.meta = dict(old.meta) if isinstance(old, fx.Node) else {}
    node.args = (*node.args[:2], own, *node.args[3:])
    return True


def _channel_mean(node: fx.Node, output: Tensor) -> Tensor:
    return output.float().transpose(0, _CHANNEL_AXIS[node.target]).flatten(1).mean(1)  # type: ignore[index]


def _broadcast(node: fx.Node, shift: Tensor, ndim: int) -> Tensor:
    sizes = [1] * ndim
    sizes[_CHANNEL_AXIS[node.target]] = -1  # type: ignore[index]
    return shift.reshape(sizes)
