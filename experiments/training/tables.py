"""The tables of docs/TRAINING.md, from what `benchmark.py` and `speedrun.py` wrote. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.format import limit_text, percent_text


def benchmark_table(path: Path) -> str:
    """Epochs a second of every way to train, compared with the plain loop; then layouts in inference, and copies."""
    if not path.is_file():
        return (
            f"Not measured yet: `python -m experiments.training.benchmark --device {path.stem.rpartition('-')[2]}`.\n"
        )
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (
            f"`{one['name']}`",
            one["what"],
            str(one["num_threads"]),
            f"{one['epochs_per_s']:.3g}",
            _interval(one["speedup"]),
            f"{one['loss'][-1]:.4f}",
        )
        for one in result["candidates"]
    ]
    table = _table(("loop", "what", "threads", "epochs per s", "× plain [95 %]", "loss at the end"), rows)
    load = result["load_average"]
    parts = [
        f"`{result['model']}`, {result['samples']:,} pictures an epoch in batches of {result['batch_size']}, on "
        f"{result['device_name']}; PyTorch {result['versions']['torch']}; {result['rounds']} epochs of each, "
        f"interleaved; load average {load['before'][0]:.1f} on {load['cores']} cores before.\n",
        table,
    ]
    if layouts := result.get("inference"):
        speeds = layouts["pictures_per_s"]
        parts.append(
            f"Inference in evaluation mode, batches of {layouts['batch_size']}: {speeds['nchw']:,.0f} pictures a "
            f"second stored by channel, {speeds['channels_last']:,.0f} stored by pixel (`channels_last`), "
            f"{_interval(layouts['speedup'])} times as many.\n"
        )
    if copies := result.get("transfers"):
        speeds, waits = copies["gigabytes_per_s"], copies["python_waits_s"]
        parts.append(
            f"Copies of {copies['bytes'] / 2**20:.0f} MiB to the GPU: "
            + ", ".join(f"{speed:.1f} GB/s {name}" for name, speed in speeds.items())
            + f"; Python waits {1e3 * waits['ordinary']:.2f} ms for an ordinary one and "
            f"{1e3 * waits['pinned, asynchronous']:.3f} ms for an asynchronous one.\n"
        )
    return "\n".join(parts)


def speedrun_table(path: Path) -> str:
    """Time and accuracy of `cifar10_fast` for each number of epochs, then where an epoch's time goes."""
    if not path.is_file():
        return "Not measured yet: `python -m experiments.training.speedrun`.\n"
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for setting in result["settings"]:
        runs, time_s = setting["runs"], [one["train_s"] for one in setting["runs"]]
        rows.append(
            (
                str(setting["epochs"]),
                str(len(runs)),
                f"{setting['train_s']['mean']:.2f} s ({min(time_s):.2f} – {max(time_s):.2f})",
                _share(setting["accuracy"]),
                f"{setting['reached']['accuracy']} of {len(runs)}",
                _share(setting["accuracy_with_views"]),
                f"{setting['reached']['accuracy_with_views']} of {len(runs)}",
            )
        )
    aim = f"reach {limit_text(result['aim'])}"
    parts = [
        f"On {result['device_name']}; PyTorch {result['versions']['torch']}; {result['validation_samples']:,} test "
        f"pictures. The first run of a process, which loads and chooses kernels and is not counted, took "
        f"{result['first_run']['train_s']:.1f} s.\n",
        _table(("epochs", "runs", "time to train", "accuracy", aim, "with six views", aim), rows),
    ]
    if "kernel_s" in (limits := result["limits"]):
        parts.append(_limits(limits))
    return "\n".join(parts)


def _limits(limits: dict[str, Any]) -> str:
    """In words: how close an epoch comes to the device's peak, and its kernels by kind."""
    kernels = sorted(limits["kernel_s"].items(), key=lambda item: -item[1])
    busy, rate = sum(limits["kernel_s"].values()), limits["tflop_per_epoch"] / limits["epoch_s"]
    peak = limits["matrix_product_tflops"]
    return (
        f"What limits it: an epoch takes {1e3 * limits['epoch_s']:.0f} ms, of which kernels run {1e3 * busy:.0f} ms: "
        + ", ".join(f"{kind} {1e3 * seconds:.0f} ms" for kind, seconds in kernels)
        + f". Its {limits['tflop_per_epoch']:.1f} TFLOP at {rate:.0f} TFLOP/s are "
        f"{percent_text(rate / peak, 0)} of the {peak:.0f} that a large bfloat16 matrix product reaches here. Pooling, "
        "norms and activations move memory and compute little; they take as long as the convolutions.\n"
    )


def _share(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:.2f} % ± {100 * value['spread']:.2f}"


def _interval(speedup: dict[str, float]) -> str:
    return f"{speedup['ratio']:.2f} [{speedup['low']:.2f}, {speedup['high']:.2f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
