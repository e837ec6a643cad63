"""LSTM and GRU over a fixed number of steps, as linear layers, sigmoids and tangents.

Captured as one operator, an LSTM is taken apart outside the delegate, in float. Unrolled, its linear layers are
delegated and quantized. Source of the equations: the documentation of torch.nn.LSTM and torch.nn.GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import getitem
from typing import Any

from torch import fx

from .graph import Editor, aten, join, shape, slice_of, view
from .rewrite import Rewrite, operator_name

MAX_STEPS = 64  # an unrolled graph grows with the steps; a longer sequence is better cut up by the caller


class _Cell:
    """One layer in one direction: `weights` are w_ih, w_hh and, where there are biases, b_ih, b_hh, then w_hr."""

    def __init__(self, editor: Editor, weights: Sequence[fx.Node], has_biases: bool):
        self.call = editor.call
        self.editor = editor
        self.w_ih, self.w_hh = weights[:2]
        self.b_ih: fx.Node | None = weights[2] if has_biases else None
        self.b_hh: fx.Node | None = weights[3] if has_biases else None
        left = weights[4 if has_biases else 2 :]
        self.w_hr = left[0] if left else None

    def inputs(self, x: fx.Node) -> fx.Node:
        """What the inputs give to the gates, all steps at once: (…, I) -> (…, gates·H)."""
        return self.call(aten.linear.default, x, self.w_ih, self.b_ih)

    def parts(self, gates: fx.Node, count: int) -> list[fx.Node]:
        width = shape(gates)[-1] // count
        return [slice_of(self.editor, gates, 1, i * width, (i + 1) * width) for i in range(count)]

    def lstm(self, from_input: fx.Node, state: list[fx.Node | None]) -> list[fx.Node]:
        """One step: (N, 4·H) and [h, c] -> [h, c]. A state of None is zero."""
        h, c = state
        from_state = self.b_hh if h is None else self.call(aten.linear.default, h, self.w_hh, self.b_hh)
        gates = from_input if from_state is None else self.call(aten.add.Tensor, from_input, from_state)
        i, f, g, o = self.parts(gates, 4)
        i, f, o = (self.call(aten.sigmoid.default, gate) for gate in (i, f, o))
        new = self.call(aten.mul.Tensor, i, self.call(aten.tanh.default, g))
        c = new if c is None else self.call(aten.add.Tensor, self.call(aten.mul.Tensor, f, c), new)
        h = self.call(aten.mul.Tensor, o, self.call(aten.tanh.default, c))
        return [self.call(aten.linear.default, h, self.w_hr) if self.w_hr else h, c]

    def gru(self, from_input: fx.Node, state: list[fx.Node]) -> list[fx.Node]:
        """One step: (N, 3·H) and [h] -> [h]."""
        (h,) = state
        from_state = self.call(aten.linear.default, h, self.w_hh, self.b_hh)
        (ri, zi, ni), (rh, zh, nh) = self.parts(from_input, 3), self.parts(from_state, 3)
        r = self.call(aten.sigmoid.default, self.call(aten.add.Tensor, ri, rh))
        z = self.call(aten.sigmoid.default, self.call(aten.add.Tensor, zi, zh))
        n = self.call(aten.tanh.default, self.call(aten.add.Tensor, ni, self.call(aten.mul.Tensor, r, nh)))
        # (1 - z)·n + z·h with one product less
        return [self.call(aten.add.Tensor, n, self.call(aten.mul.Tensor, z, self.call(aten.sub.Tensor, h, n)))]


def _layers(editor: Editor, node: fx.Node) -> list[fx.Node] | None:
    """The results of aten.lstm.input (output, h, c) or aten.gru.input (output, h); None where it is left."""
    is_lstm = node.target is aten.lstm.input
    arguments: list[Any] = list(node.args)
    x, states, weights, has_biases, layers, dropout, train, both_ways, batch_first = arguments
    states = list(states) if is_lstm else [states]
    steps_axis = 1 if batch_first else 0
    batch, steps = shape(x)[1 - steps_axis], shape(x)[steps_axis]
    if len(shape(x)) != 3 or not isinstance(steps, int) or not isinstance(batch, int) or steps > MAX_STEPS:
        return None
    if train and dropout:
        return None
    if batch_first:
        x = editor.call(aten.permute.default, x, [1, 0, 2]) if 1 not in (batch, steps) else _steps_first(editor, x)
    ways = 2 if both_ways else 1
    per_cell = len(weights) // (layers * ways)
    last: list[list[fx.Node]] = []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            k = layer * ways + way
            cell = _Cell(editor, weights[k * per_cell : (k + 1) * per_cell], has_biases)
            step: Callable = cell.lstm if is_lstm else cell.gru
            # Where no state is given, zeros are made outside the delegate; they need not be.
            first = [None if is_lstm and _is_zero(state) else _row(editor, state, k) for state in states]
            out, end = _run(editor, x, cell, step, first, backwards=way == 1)
            outputs.append(out)
            last.append(end)
        x = join(editor, outputs, 2)
    out = x
    if batch_first:
        out = editor.call(aten.permute.default, x, [1, 0, 2]) if 1 not in (batch, steps) else _batch_first(editor, x)
    ends = [join(editor, [view(editor, end[j], (1, *shape(end[j]))) for end in last], 0) for j in range(len(states))]
    return [out, *ends]


def _run(
    editor: Editor, x: fx.Node, cell: _Cell, step: Callable, state: list[Any], *, backwards: bool
) -> tuple[fx.Node, list[fx.Node]]:
    """All steps of (T, N, I): the outputs (T, N, H) and the last state."""
    steps, batch, width = shape(x)
    flat = cell.inputs(view(editor, x, (steps * batch, width)))
    found = {}
    for t in reversed(range(steps)) if backwards else range(steps):
        state = step(slice_of(editor, flat, 0, t * batch, (t + 1) * batch), state)
        found[t] = state[0]
    together = join(editor, [found[t] for t in range(steps)], 0)
    return view(editor, together, (steps, batch, shape(state[0])[1])), state


def _is_zero(state: fx.Node) -> bool:
    return state.target in (aten.zeros.default, aten.zeros_like.default)


def _row(editor: Editor, state: fx.Node, k: int) -> fx.Node:
    """The state of one layer and direction: (K, N, H) -> (N, H)."""
    return view(editor, slice_of(editor, state, 0, k, k + 1), shape(state)[1:])


def _steps_first(editor: Editor, x: fx.Node) -> fx.Node:
    n, t, width = shape(x)
    return view(editor, x, (t, n, width))


_batch_first = _steps_first  # with one step or one row, either way only the names of the axes change


def _one_step(editor: Editor, node: fx.Node) -> list[fx.Node] | None:
    """The results of aten.lstm_cell (h, c) or aten.gru_cell (h,)."""
    arguments: list[Any] = list(node.args)
    x, states, *weights = arguments
    weights += [None] * (4 - len(weights))
    cell = _Cell(editor, weights, True)
    if node.target is aten.lstm_cell.default:
        return cell.lstm(cell.inputs(x), [None if _is_zero(state) else state for state in states])
    return cell.gru(cell.inputs(x), [states])


def apply(editor: Editor) -> dict[str, int]:
    """Unrolls every recurrent layer, and puts its results where they were taken out of the tuple."""
    rules: dict[Any, Callable[[Editor, fx.Node], list[fx.Node] | None]] = {
        aten.lstm.input: _layers,
        aten.gru.input: _layers,
        aten.lstm_cell.default: _one_step,
        aten.gru_cell.default: _one_step,
    }
    counts: dict[str, int] = {}
    for node in editor.nodes(*rules):
        with editor.before(node):
            results = rules[node.target](editor, node)
        if results is None:
            continue
        name = operator_name(node)
        counts[name] = counts.get(name, 0) + 1
        if node.target is aten.gru_cell.default:
            editor.replace(node, results[0])
            continue
        for user in list(node.users):
            assert user.target is getitem
            index = user.args[1]
            assert isinstance(index, int)
            editor.replace(user, results[index])
        editor.graph.erase_node(node)
    return counts


RECURRENT = Rewrite(
    name="recurrent",
    why="an LSTM is taken apart outside the delegate; its linear layers can be delegated and quantized",
    apply=apply,
)
