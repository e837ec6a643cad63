"""`python -m experiments.training.benchmark`: epochs a second of our training loop and of one like the book's.

All candidates are measured in one run, interleaved in a new random order each round, so that what disturbs the machine
disturbs all of them. Every epoch's time is kept, and the loss shows that each candidate does the same work. No weights
are kept.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.train import provenance
from edgekit.train.book_model import BookModel
from edgekit.train.checkpoint import write_file
from edgekit.train.dataset import Split
from edgekit.train.loop.batches import Batches
from edgekit.train.loop.device import check_settings, launched_fabric, threads
from edgekit.train.loop.epoch import make_optimizer, on_device
from edgekit.train.loop.learner import make_learner
from edgekit.train.models import birds_cnn
from edgekit.train.registry import book_model
from experiments.training.layouts import inference, ratio, transfers

_WARM_UP_EPOCHS = 2  # compiles, records the graph, lets the clock rise


class NetAsPrinted(birds_cnn.Net):
    """`birds_cnn` with tanh before the pooling, as chapter 8 prints it; the same answers as ours."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 2)  # (N, 16, 16, 16)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)  # (N, 8, 8, 8)
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


# The plain loop trains the book's own net where ours differs; all other models are trained as they are registered.
AS_PRINTED: dict[str, Callable[[], nn.Module]] = {"birds_cnn": NetAsPrinted}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to train."""

    name: str
    """In tables."""
    what: str
    """For a person."""
    num_threads: int | None
    """None: as many as torch takes by itself."""
    epoch: Callable[[int], float]
    """Trains the epoch of this number, waits for the device and returns the loss."""


def candidates(model: BookModel, split: Split, device: str) -> list[Candidate]:
    """The plain loop first, then ours with the settings that may matter on `device`."""
    plain, ours = _plain(model, split, device), _ours(model, split, device)
    if device == "cuda":
        settings_of: dict[str, tuple[int | None, dict[str, Any]]] = {
            "ours": (None, {}),  # replayed from CUDA graphs
            "ours_without_graphs": (None, {"cuda_graph": False}),
            "ours_nchw": (None, {"channels_last": False}),
            "ours_compiled": (None, {"compiled": True}),
            "ours_bf16": (None, {"precision": "bf16-mixed"}),
            "ours_compiled_bf16": (None, {"compiled": True, "precision": "bf16-mixed"}),
        }
    else:
        settings_of = {
            "ours_nchw_1_thread": (1, {"channels_last": False}),
            "ours_1_thread": (1, {"channels_last": True}),
            "ours_all_cores": (None, {"channels_last": True}),
        }
    plain_loops: dict[str, int | None] = {"plain_1_thread": 1, "plain_all_cores": None}
    if device == "cuda":
        plain_loops = {"plain": None}
    all_of_them = [
        Candidate(name=name, what="the book's loop and net", num_threads=count, epoch=plain())
        for name, count in plain_loops.items()
    ]
    for name, (count, settings) in settings_of.items():
        what = f"our loop, {settings or 'the registered settings'}"
        all_of_them.append(Candidate(name=name, what=what, num_threads=count, epoch=ours(settings)))
    return all_of_them


def _plain(model: BookModel, split: Split, device: str) -> Callable[[], Callable[[int], float]]:
    """Our version of chapter 8's loop: tuples from a DataLoader, each batch sent over, each loss read back."""
    inputs, targets = on_device(model, split, "cpu")
    samples: Any = [(picture, int(target)) for picture, target in zip(inputs, targets, strict=True)]
    fit = model.fit

    def make() -> Callable[[int], float]:
        torch.manual_seed(fit.seed)
        net = AS_PRINTED.get(model.name, model.build)().to(device)
        optimizer = make_optimizer(net, fit)
        loader = DataLoader(samples, batch_size=fit.batch_size, shuffle=True)

        def epoch(_: int) -> float:
            net.train()
            total = 0.0
            for pictures, labels in loader:
                loss = F.cross_entropy(net(pictures.to(device)), labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            return total / len(loader)

        return epoch

    return make


def _ours(model: BookModel, split: Split, device: str) -> Callable[[dict[str, Any]], Callable[[int], float]]:
    """`fit`'s own loop, without files and evaluation."""
    inputs, targets = on_device(model, split, device)

    def make(settings: dict[str, Any]) -> Callable[[int], float]:
        config = replace(model.fit, **settings)
        fabric = launched_fabric(device, config.precision)
        torch.manual_seed(config.seed)
        return make_learner(model.build(), Batches(inputs, targets, config), model.task, config, fabric).trainer.epoch

    return make


def measure(
    compared: Sequence[Candidate], *, rounds: int, seed: int = 0, on_round: Callable[[int], None] | None = None
) -> dict[str, dict[str, list[float]]]:
    """Seconds (`wall_s`, `cpu_s` of this process) and `loss` of `rounds` epochs each, after a warm-up, by name."""
    times: dict[str, dict[str, list[float]]] = {c.name: {"wall_s": [], "cpu_s": [], "loss": []} for c in compared}
    order, draw = list(compared), random.Random(seed)
    for epoch in range(1, _WARM_UP_EPOCHS + rounds + 1):
        draw.shuffle(order)
        for candidate in order:
            with threads(candidate.num_threads):
                wall, cpu = time.perf_counter(), time.process_time()
                loss = candidate.epoch(epoch)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if epoch > _WARM_UP_EPOCHS:
                for name, value in (("wall_s", wall), ("cpu_s", cpu), ("loss", loss)):
                    times[candidate.name][name].append(value)
        if on_round and epoch > _WARM_UP_EPOCHS:
            on_round(epoch - _WARM_UP_EPOCHS)
    return times


def benchmark(
    model: BookModel, *, device: str, rounds: int, samples: int | None = None, one_thread: bool = False
) -> dict[str, Any]:
    """The whole comparison as plain data.

    Args:
        samples: train only on the first so many.
        one_thread: leave out what runs on all cores; on a busy machine its threads wait for each other.

    Raises:
        UsageError: the device is missing, fewer than 3 rounds, or the model is not a classifier.
    """
    check_settings(device, "32-true")
    if rounds < 3:
        raise UsageError(f"--rounds {rounds}: an interval needs at least 3")
    if model.task != "classification":
        raise UsageError(f"{model.name} is a {model.task} model, but the plain loop trains classifiers only")
    load_before = os.getloadavg()
    train = model.data().train
    split = Split(inputs=train.inputs[:samples], targets=train.targets[:samples])
    compared = [c for c in candidates(model, split, device) if c.num_threads == 1 or not one_thread]

    def say(done: int) -> None:
        print(f"round {done}/{rounds}", file=sys.stderr, flush=True)

    times = measure(compared, rounds=rounds, on_round=say)
    # Each is compared with the plain loop on as many threads, so that no ratio mixes the two effects.
    plain = {c.num_threads: c.name for c in compared if c.name.startswith("plain")}
    return {
        "model": model.name,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else machine().get("cpu", device),
        "samples": len(split),
        "batch_size": model.fit.batch_size,
        "rounds": rounds,
        "candidates": [
            {
                "name": c.name,
                "what": c.what,
                "num_threads": c.num_threads or torch.get_num_threads(),
                "epochs_per_s": 1 / statistics.median(times[c.name]["wall_s"]),
                "compared_with": plain[c.num_threads],
                "speedup": ratio(times[plain[c.num_threads]]["wall_s"], times[c.name]["wall_s"]),
                # On a busy machine, processor time tells more than wall time.
                "cpu_time_speedup": ratio(times[plain[c.num_threads]]["cpu_s"], times[c.name]["cpu_s"]),
                **times[c.name],
            }
            for c in compared
        ],
        "inference": inference(model, split, device, rounds=rounds) if model.preprocessing else None,
        "transfers": transfers(rounds=rounds) if device == "cuda" else None,
        "load_average": {"before": load_before, "after": os.getloadavg(), "cores": os.cpu_count()},
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


@program()
def main() -> None:
    """Writes the comparison to --out and prints a line a candidate."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.training.benchmark", description="Our training loop and a plain one."
    )
    parser.add_argument("--model", default="birds_cnn", help="a classifier of train/registry.py (default: birds_cnn)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--rounds", type=int, default=15, help="measured epochs of each candidate (default: 15)")
    parser.add_argument("--samples", type=int, help="train only on the first so many, as a trial")
    parser.add_argument("--one-thread", action="store_true", help="on the CPU: leave out what runs on all cores")
    parser.add_argument("--out", type=Path, help="default: results/train-benchmark-DEVICE.json")
    options = parser.parse_args()
    model = book_model(options.model)
    result = benchmark(
        model,
        device=options.device,
        rounds=options.rounds,
        samples=options.samples,
        one_thread=options.one_thread and options.device == "cpu",
    )
    out = options.out or Path("results") / f"train-benchmark-{options.device}.json"
    write_file(out, canonical_json(result))
    for entry in result["candidates"]:
        wall, cpu = entry["speedup"], entry["cpu_time_speedup"]
        print(
            f"{entry['name']:26} {entry['epochs_per_s']:8.3f} epochs/s, {wall['ratio']:.2f} x {entry['compared_with']} "
            f"({wall['low']:.2f} to {wall['high']:.2f}), processor time {cpu['ratio']:.2f} x"
        )
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
