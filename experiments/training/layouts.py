"""What chapter 3 says about memory, measured: the layout of pictures in inference, and copies from pinned memory.

For `benchmark.py`. Candidates are interleaved, and nothing is trained.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.edge_runtime.benchmark.stats import median_ratio
from edgekit.train.book_model import BookModel
from edgekit.train.dataset import Split
from edgekit.train.loop.epoch import on_device

COPIED = 2**26  # bytes, as much as 21,000 pictures of CIFAR-10 as the loop keeps them
_BATCH = 256
_WARM_UP_ROUNDS = 2


def inference(model: BookModel, split: Split, device: str, *, rounds: int) -> dict[str, Any]:
    """Pictures a second through `model` in evaluation mode, stored by channel (nchw) and by pixel (channels_last)."""
    pictures, _ = on_device(model, split, device)
    batches = pictures[: _BATCH * max(1, len(pictures) // _BATCH)].split(_BATCH)

    def passes(layout: torch.memory_format) -> Callable[[], None]:
        torch.manual_seed(0)
        net = model.build().eval().to(device).to(memory_format=layout)
        stored = [batch.contiguous(memory_format=layout) for batch in batches]

        def run() -> None:
            with torch.no_grad():
                for batch in stored:
                    net(batch)

        return run

    layouts = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
    seconds = _interleaved({name: passes(layout) for name, layout in layouts.items()}, device, rounds)
    count = sum(map(len, batches))
    return {
        "batch_size": len(batches[0]),
        "pictures_per_s": {name: count / float(np.median(times)) for name, times in seconds.items()},
        "speedup": ratio(seconds["nchw"], seconds["channels_last"]),
        "wall_s": seconds,
    }


def transfers(*, rounds: int) -> dict[str, Any]:
    """Gigabytes a second of copies of `COPIED` bytes to the CUDA device, from ordinary and from pinned memory.

    `python_waits_s`: until the call returns, which for an asynchronous copy is before the data have arrived.
    """
    ordinary = torch.randint(0, 255, (COPIED,), dtype=torch.uint8)
    pinned, there = ordinary.pin_memory(), torch.empty(COPIED, dtype=torch.uint8, device="cuda")

    def copy(source: Tensor, *, non_blocking: bool) -> Callable[[], object]:
        return lambda: there.copy_(source, non_blocking=non_blocking)

    ways = {
        "ordinary": copy(ordinary, non_blocking=False),
        "pinned": copy(pinned, non_blocking=False),
        "pinned, asynchronous": copy(pinned, non_blocking=True),
    }
    waits: dict[str, list[float]] = {name: [] for name in ways}
    seconds = _interleaved(ways, "cuda", rounds, waits)
    return {
        "bytes": COPIED,
        "gigabytes_per_s": {name: COPIED / float(np.median(times)) / 1e9 for name, times in seconds.items()},
        "python_waits_s": {name: float(np.median(times)) for name, times in waits.items()},
        "speedup": ratio(seconds["ordinary"], seconds["pinned, asynchronous"]),
        "wall_s": seconds,
    }


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """How many times faster, by the medians of paired rounds, with a 95 % bootstrap interval."""
    value, low, high = median_ratio(*([np.array([s]) for s in times] for times in (slower, faster)))
    return {"ratio": value, "low": low, "high": high}


def _interleaved(
    ways: Mapping[str, Callable[[], object]],
    device: str,
    rounds: int,
    waits: dict[str, list[float]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each round until the device is done; `waits` gets those until the call returned."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order, draw = list(ways), random.Random(0)
    for number in range(_WARM_UP_ROUNDS + rounds):
        draw.shuffle(order)
        for name in order:
            _wait(device)
            began = time.perf_counter()
            ways[name]()
            returned = time.perf_counter()
            _wait(device)
            if number >= _WARM_UP_ROUNDS:
                seconds[name].append(time.perf_counter() - began)
                if waits is not None:
                    waits[name].append(returned - began)
    return seconds


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
