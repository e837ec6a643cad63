"""Softplus, Mish, log-sigmoid and CELU in operators that XNNPACK or ExecuTorch has.

Left to itself, torch writes them with log1p, expm1 and a choice between two branches. None is delegated, and with 8-bit
activations around them the program does not run at all. What is added or multiplied inside is written as a subtraction
or division, which PT2E's quantizer for XNNPACK leaves in float, as in `norms`.
"""

from __future__ import annotations

from torch import fx

from .graph import Editor, argument, aten, operand
from .rewrite import Rewrite, rules

_FLAT = 20.0  # where tanh(softplus(x)) is 1 in float32


def softplus(editor: Editor, node: fx.Node) -> fx.Node | None:
    """log(1 + exp(beta · x)) / beta. Beyond the threshold, where torch gives x, that is x in float32."""
    beta, threshold = argument(node, "beta"), argument(node, "threshold")
    if not beta > 0 or threshold < _FLAT:  # below, torch's own answer has a step
        return None
    x = operand(node)
    scaled = x if beta == 1 else editor.call(aten.div.Tensor, x, 1 / beta)
    found = _log_1_plus_exp(editor, scaled)
    return found if beta == 1 else editor.call(aten.div.Tensor, found, float(beta))


def log_sigmoid(editor: Editor, node: fx.Node) -> fx.Node:
    """-log(1 + exp(-x))."""
    found = _log_1_plus_exp(editor, editor.call(aten.neg.default, operand(node)))
    return editor.call(aten.neg.default, found)


def mish(editor: Editor, node: fx.Node) -> fx.Node:
    """x · tanh(log(1 + exp(x))), whose second factor stays 1 once it is. Misra, BMVC 2020."""
    x = operand(node)
    cut = editor.call(aten.clamp.default, x, None, _FLAT)
    soft = editor.call(aten.log.default, _plus_1(editor, editor.call(aten.exp.default, cut)))
    return editor.call(aten.mul.Tensor, x, editor.call(aten.tanh.default, soft))


def celu(editor: Editor, node: fx.Node) -> fx.Node:
    """ELU with its slope at 0 kept: the operator that torch would write with branches, and that has a kernel."""
    alpha = argument(node, "alpha")
    return editor.call(aten.elu.default, operand(node), float(alpha), 1.0, 1.0 / alpha)


def _log_1_plus_exp(editor: Editor, x: fx.Node) -> fx.Node:
    """max(x, 0) + log(1 + exp(-|x|)), which overflows nowhere."""
    small = editor.call(aten.exp.default, editor.call(aten.neg.default, editor.call(aten.abs.default, x)))
    log = editor.call(aten.log.default, _plus_1(editor, small))
    return editor.call(aten.sub.Tensor, editor.call(aten.relu.default, x), editor.call(aten.neg.default, log))


def _plus_1(editor: Editor, x: fx.Node) -> fx.Node:
    return editor.call(aten.sub.Tensor, x, -1.0)


SOFTPLUS = Rewrite(
    name="softplus",
    why="torch writes them with log1p, expm1 and a choice, which do not run between 8-bit layers",
    apply=rules(
        {
            aten.softplus.default: softplus,
            aten.mish.default: mish,
            aten.log_sigmoid.default: log_sigmoid,
            aten.celu.default: celu,
        }
    ),
)
