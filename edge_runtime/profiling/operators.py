"""What a profile is made of: operators, their arithmetic and their time. Knows no library and no machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What one element takes; 4-bit weights are two in a byte.
ITEM_BYTES = {
    "float": 4.0, "float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "double": 8.0, "int64": 8.0, "int32": 4.0,
    "int16": 2.0, "int8": 1.0, "uint8": 1.0, "bool": 1.0, "int4": 0.5,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a program as it was executed, once in each profiled run.

    Attributes:
        name: what the program calls it; `kind`: its type there.
        ns: nanoseconds in each profiled run, as the library's profiler counts them.
        macs: multiply-accumulate operations of one run; 0 for operators without any, None where it is not known.
        bytes: read and written in one run, each tensor once, weights included; None where it is not known.
        precision: what it multiplies: "int8", "fp32", …; "" where it multiplies nothing.
        place: which delegate or kind of kernel runs it, e.g. "XNNPACK", "int8 kernel"; "" for a plain kernel.
    """

    name: str
    kind: str
    ns: tuple[int, ...]
    macs: int | None = None
    bytes: int | None = None
    precision: str = ""
    place: str = ""


def elements(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has; a scalar has one."""
    return math.prod(shape)


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor; types that numpy does not know are counted with 4 bytes."""
    return math.ceil(ITEM_BYTES.get(dtype, 4.0) * elements(shape))
