"""Which libraries of ExecuTorch a program needs, read from the file. Runs nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from ...errors import BundleError
from ...flatbuffer import Table

OWN_OPERATORS = frozenset({"dim_order_ops::_to_dim_order_copy.out"})
"""What cast_kernel.cpp can do."""
KERNELS = ("executorch_kernels_optimized", "executorch_kernels_quantized")
"""ExecuTorch's libraries of operators."""


def operators(program: Path) -> frozenset[str]:
    """The operators of a `.pte` that no delegate took, as the runtime names them: "aten::cat.out".

    Raises:
        BundleError: the file is no program that can be read.
    """
    raw = program.read_bytes()
    try:
        plans = Table(raw, struct.unpack_from("<I", raw, 0)[0]).tables(1)
        found = [(one.text(0), one.text(1)) for plan in plans for one in plan.tables(6)]
    except (struct.error, IndexError) as error:
        raise BundleError(f"{program.name} is no program of ExecuTorch: {error}. Pack the bundle again") from None
    return frozenset(f"{name}.{overload}" if overload else name for name, overload in found)


def kernel_libraries(programs: Iterable[Path], folder: Path) -> tuple[tuple[str, ...], bool]:
    """The fewest of `KERNELS` that these programs run with, and whether the kernel of our own has to be compiled in.

    Args:
        folder: where ExecuTorch's libraries lie. A library that has an operator holds its name as a text.
    Raises:
        BundleError: no library has an operator; it names that.
    """
    needed = frozenset().union(*(operators(program) for program in programs))
    if needed <= OWN_OPERATORS:
        return (), bool(needed)
    chosen: list[str] = []
    for name in KERNELS:
        texts = (folder / f"lib{name}.so").read_bytes()
        has = {operator for operator in needed if operator.encode() + b"\0" in texts}
        if has:
            chosen.append(name)
            needed -= has
    if needed:
        raise BundleError(
            f"the program needs {', '.join(sorted(needed))}, and no library of ExecuTorch here has a kernel for that. "
            "Export the model without it, or make the bundle for onnx"
        )
    return tuple(chosen), False
