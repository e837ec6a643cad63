"""A stack of pictures (N·D, C, H, W) and its slices along the depth, with views wherever memory allows one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import fx

from .graph import Editor, aten, join, slice_of, take, view


@dataclass(frozen=True)
class Stack:
    """`pictures` is the folded node; `sizes` are (N, C, D, H, W) of the volume it stands for. N may be free.

    With N = 1, the case of a device, the first axis is the depth itself and a slice stays four-dimensional, which
    spares XNNPACK a change of memory layout.
    """

    editor: Editor
    pictures: fx.Node
    sizes: tuple

    @classmethod
    def of(cls, editor: Editor, pictures: fx.Node, sizes: tuple) -> Stack:
        return cls(editor, pictures, tuple(sizes))

    @property
    def depth(self) -> int:
        return self.sizes[2]

    @property
    def _axis(self) -> int:
        return 0 if self._single else 1

    @property
    def _single(self) -> bool:
        return isinstance(self.sizes[0], int) and self.sizes[0] == 1

    @cached_property
    def _slices(self) -> fx.Node:
        """(D, C, H, W) for one volume, else (N, D, C, H, W)."""
        n, c, d, h, w = self.sizes
        return self.pictures if self._single else view(self.editor, self.pictures, (n, d, c, h, w))

    def _folded(self, slices: fx.Node, depth: int) -> fx.Node:
        n, c, _, h, w = self.sizes
        return slices if self._single else view(self.editor, slices, (n * depth if isinstance(n, int) else n, c, h, w))

    def zeros(self, before: int, after: int) -> Stack:
        """With empty slices in front and behind.

        A slice less itself is zero in 8 bits too, and takes no room in the file; XNNPACK (executorch 1.5.1) cannot
        pad the first axis of a quantized tensor.
        """
        if before == after == 0:
            return self
        n, c, d, h, w = self.sizes
        first = slice_of(self.editor, self._slices, self._axis, 0, 1)
        empty = self.editor.call(aten.sub.Tensor, first, first)
        both = join(self.editor, [*[empty] * before, self._slices, *[empty] * after], self._axis)
        depth = before + d + after
        return Stack.of(self.editor, self._folded(both, depth), (n, c, depth, h, w))

    def take(self, indices: Sequence[int]) -> fx.Node:
        """The slices at `indices`, folded."""
        step = _step(indices)
        n, c, d, h, w = self.sizes
        if step > 1 and d % step == 0:
            # `step` slices in a row are the channels of one picture of a view; the wanted ones are one block of them.
            rows = n * d // step if isinstance(n, int) else n
            block, first = indices[0] % step, indices[0] // step
            wide = view(self.editor, self.pictures, (rows, step * c, h, w))
            chosen = slice_of(self.editor, wide, 1, block * c, (block + 1) * c)
            rest = Stack.of(self.editor, chosen, (n, c, d // step, h, w))
            return rest.take(range(first, first + len(indices)))
        return self._folded(take(self.editor, self._slices, self._axis, indices), len(indices))

    def windows(self, kernel: int, stride: int, dilation: int) -> list[fx.Node]:
        """For each of the kernel's positions, the slice it meets in every window, folded."""
        count = (self.depth - dilation * (kernel - 1) - 1) // stride + 1
        return [self.take([t * dilation + o * stride for o in range(count)]) for t in range(kernel)]

    def scaled(self, factors: Sequence[float]) -> Stack:
        """Every slice times its own factor."""
        if set(factors) == {1.0}:
            return self
        if len(set(factors)) == 1:
            scaled = self.editor.call(aten.mul.Tensor, self._slices, factors[0])
        else:
            across = torch.tensor(factors, dtype=self.pictures.meta["val"].dtype).reshape(-1, 1, 1, 1)
            scaled = self.editor.call(aten.mul.Tensor, self._slices, self.editor.number(across, "depth_factors"))
        return Stack.of(self.editor, self._folded(scaled, self.depth), self.sizes)


def _step(indices: Sequence[int]) -> int:
    """The distance of neighbours where it is the same throughout, else 0."""
    steps = {b - a for a, b in pairwise(indices)}
    return steps.pop() if len(steps) == 1 else 0
