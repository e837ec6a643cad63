"""Reads LoadGen's logs: its entries, its verdict, the answers. Starts nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Arrays
from ..errors import EngineError

DETAIL = "mlperf_log_detail.txt"
_LINE = ":::MLLOG "


def read_log(path: Path) -> dict[str, Any]:
    """The entries of LoadGen's detail log by key, the last one of each. Raises EngineError."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(_LINE)]
        entries = [json.loads(line.removeprefix(_LINE)) for line in lines]
        values = {entry["key"]: entry["value"] for entry in entries}
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{path}: LoadGen's log cannot be read: {error}. Run it again") from None
    if "result_validity" not in values:
        reason = values.get("error_runtime", "its log ends early")
        raise EngineError(f"{path}: LoadGen reached no verdict: {reason}. Run it again")
    return values


def read_answers(path: Path, outputs: Sequence[tuple[str, str, tuple[int, ...]]]) -> Arrays:
    """The answers in LoadGen's accuracy log, (N, …) for each output, in the order of the samples.

    Args:
        outputs: name, dtype and shape of one row of each output, in the order in which they were handed over.
    Raises:
        EngineError: the log is missing, or holds another number of bytes than the outputs have.
    """
    try:
        # MultiStream fills its last query with samples that it asked for before.
        entries = json.loads(path.read_bytes())
        last = {entry["qsl_idx"]: bytes.fromhex(entry["data"]) for entry in entries}
        raw = [last[index] for index in sorted(last)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path}: LoadGen's accuracy log cannot be read: {error}. Run it again") from None
    sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for _, dtype, shape in outputs]
    if not raw or {len(row) for row in raw} != {sum(sizes)}:
        raise EngineError(
            f"{path}: LoadGen's accuracy log should hold {sum(sizes)} bytes for each sample. Run it again"
        )
    starts = np.cumsum([0, *sizes])
    return {
        name: np.stack([np.frombuffer(row[start : start + size], dtype).reshape(shape) for row in raw])
        for (name, dtype, shape), start, size in zip(outputs, starts, sizes, strict=False)
    }
