"""Which tensors of a captured program are rounded to 8 bits for XNNPACK. Importing it takes executorch, ten seconds.

executorch's quantizer, but for choices of its own that cost accuracy, measured on MobileNetV2:

- It knows ReLU as part of the layer before it, and not ReLU6. What the layer gives was rounded on its own, with a scale
  for values that ReLU6 cuts off right after: 20 of 256 levels were left for 0 to 6. XNNPACK fuses both alike.
- It rounds the pixels' own normalization, in front of the first layer, after each multiplication and addition, and the
  pool behind the last one by the scale of what is pooled: SqueezeNet's logits came in steps of 0.94.
- It rounds what the first layer takes where that layer takes it: behind the permutation of the normalized pixels, which
  then moves four times as many bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer_utils import QuantizationConfig
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, SharedQuantizationSpec
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from .layers import CLAMPS, MOVING, WEIGHTED, torch_normalization, torch_tail, torch_unread


class LayerQuantizer8(XNNPACKQuantizer):
    """Quantizes the nodes of which `is_taken` is true, batch norms folded before.

    Args:
        settings: of `get_symmetric_quantization_config`.
    """

    def __init__(self, settings: QuantizationConfig, is_taken: Callable[[torch.fx.Node], bool]):
        super().__init__()
        self.set_global(settings)
        # There are no batch norms left; looking for them all the same costs seconds for every model.
        self.SUPPORTED_PATTERNS = [p for p in XNNPACKQuantizer.SUPPORTED_PATTERNS if "bn" not in p.name]
        self._is_taken = is_taken

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        floating = torch_normalization(model.graph) | torch_tail(model.graph) | torch_unread(model.graph)
        self.set_filter_function(lambda node: node.name not in floating and self._is_taken(node))
        model = super().annotate(model)
        for node in model.graph.nodes:
            if node.name in floating:
                node.meta.pop(Q_ANNOTATION_KEY, None)  # the quantizer hands them on without asking the filter
            elif node.target in CLAMPS:
                _round_behind(node)
        for node in model.graph.nodes:
            if node.name in floating:
                _round_before_moving(node)
        return model


def _round_behind(clamp: torch.fx.Node) -> None:
    """Has the answers of a layer rounded behind the clamp that alone reads them, and not before it."""
    layer = clamp.args[0]
    assert isinstance(layer, torch.fx.Node)
    annotated = layer.meta.get(Q_ANNOTATION_KEY)
    if layer.target not in WEIGHTED or len(layer.users) > 1 or annotated is None or annotated.output_qspec is None:
        return
    clamp.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=annotated.output_qspec, _annotated=True)
    annotated.output_qspec = None


def _round_before_moving(scaled: torch.fx.Node) -> None:
    """Has normalized pixels rounded as soon as they are, where one layer alone takes them, moved and not computed with.

    Moving changes no value, so it is the same 8 bits either way.
    """
    moved, taken = [scaled], _only_user(scaled)
    while taken is not None and taken.target in MOVING:
        moved.append(taken)
        taken = _only_user(taken)
    annotated = None if taken is None else taken.meta.get(Q_ANNOTATION_KEY)
    rounded = None if annotated is None else annotated.input_qspec_map.get(moved[-1])
    if len(moved) == 1 or rounded is None:
        return
    scaled.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=rounded, _annotated=True)
    for before, node in itertools.pairwise(moved):
        same = SharedQuantizationSpec(before)
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map={before: same}, output_qspec=same, _annotated=True
        )


def _only_user(node: torch.fx.Node) -> torch.fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
