"""What a profile is made of: operators, their arithmetic and their time. Knows no library and no machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Bytes per element; two 4-bit weights share a byte.
ITEM_BYTES = {
    "float": 4.0, "float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "double": 8.0, "int64": 8.0, "int32": 4.0,
    "int16": 2.0, "int8": 1.0, "uint8": 1.0, "bool": 1.0, "int4": 0.5,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a program as it was executed, once in each profiled run."""

    name: str
    """What the program calls it."""
    kind: str
    """Its type in the program."""
    ns: tuple[int, ...]
    """Nanoseconds in each profiled run, as the library's profiler counts them."""
    macs: int | None = None
    """Multiply-accumulates in one run; 0 where it has none, None where the number is unknown."""
    bytes: int | None = None
    """Bytes read and written in one run, each tensor once, weights included; None where the number is unknown."""
    precision: str = ""
    """What it multiplies: "int8", "fp32", …; "" where it multiplies nothing."""
    place: str = ""
    """The delegate or kind of kernel that runs it, such as "XNNPACK" or "int8 kernel"; "" for a plain kernel."""


def elements(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has; a scalar has one."""
    return math.prod(shape)


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor; an unknown type counts 4 bytes per element."""
    return math.ceil(ITEM_BYTES.get(dtype, 4.0) * elements(shape))
