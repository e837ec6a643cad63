"""From an observed graph to a quantized one by torchao's PT2E conversion, without the part that only training needs."""

from __future__ import annotations

import torch

_aten = torch.ops.aten


def convert(observed: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The quantized graph of one that observed its ranges after training.

    Wherever a graph holds a batch norm, torchao looks for convolutions that were trained together with theirs. It
    exports 96 patterns for that, each time, which takes longer than all else. After training there are none, since
    `prepare_pt2e` has folded those that follow a convolution. So the others are hidden from it.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    for node in observed.graph.nodes:
        node.target = _HIDDEN.get(node.target, node.target)
    quantized = convert_pt2e(observed)
    for node in quantized.graph.nodes:
        node.target = _SHOWN.get(node.target, node.target)
    quantized.recompile()
    return quantized


def _batch_norm(*arguments: object) -> torch.Tensor:
    return _aten.batch_norm.default(*arguments)


def _legit_batch_norm(*arguments: object) -> tuple[torch.Tensor, ...]:
    return _aten._native_batch_norm_legit_no_training.default(*arguments)


_HIDDEN = {
    _aten.batch_norm.default: _batch_norm,
    _aten._native_batch_norm_legit_no_training.default: _legit_batch_norm,
}
_SHOWN = {hidden: shown for shown, hidden in _HIDDEN.items()}
