"""`python -m experiments.training.speedrun`: how fast `cifar10_fast` reaches 94 %, over several seeds, and why.

Timed as in its source (arXiv 2404.00498): from pictures on the device to trained weights, after one run that does not
count, in which kernels are loaded and chosen. That run's time is kept too. No weights are kept.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.train import provenance
from edgekit.train.book_model import BookModel, FitConfig
from edgekit.train.checkpoint import write_file
from edgekit.train.dataset import Split
from edgekit.train.loop.batches import Batches
from edgekit.train.loop.device import check_settings, launched_fabric
from edgekit.train.loop.epoch import evaluate, on_device
from edgekit.train.loop.learner import Learner, make_learner
from edgekit.train.registry import book_model

if TYPE_CHECKING:
    from lightning.fabric import Fabric

AIM = 0.94
# What a kernel does, by words in its name; the first match counts.
KINDS = {
    "convolutions": ("conv", "xmma", "gemm", "cutlass", "wgrad", "dgrad", "fprop", "nvjet", "cudnn"),
    "batch norm": ("batch_norm", "bn_"),
    "pooling": ("pool",),
    "optimizer": ("multi_tensor",),
}
OTHER = "pointwise, copies and the rest"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Both splits on the device, as the model is fed them: inputs (N, 3, 32, 32) float32, targets (N,) int64."""

    train: tuple[Tensor, Tensor]
    """Inputs and targets."""
    validation: tuple[Tensor, Tensor]
    """Inputs and targets."""


def run(model: BookModel, data: Data, config: FitConfig, fabric: Fabric) -> dict[str, Any]:
    """One training from scratch: its seconds, those of evaluation, and the accuracy with one view and with six."""
    began = time.perf_counter()
    learner = _learner(model, data, config, fabric)
    for epoch in range(1, config.epochs + 1):
        loss = learner.trainer.epoch(epoch)  # waits for the device once
    trained = time.perf_counter()
    accuracy = evaluate(learner.module, *data.validation, model.task).value
    assert model.test_time_augmentation
    averaged = model.test_time_augmentation(learner.module)
    with_views = evaluate(averaged, *data.validation, model.task).value
    return {
        "seed": config.seed,
        "train_s": trained - began,
        "evaluate_s": time.perf_counter() - trained,
        "loss": loss,
        "accuracy": accuracy,
        "accuracy_with_views": with_views,
    }


def _learner(model: BookModel, data: Data, config: FitConfig, fabric: Fabric) -> Learner:
    torch.manual_seed(config.seed)
    net = model.build()
    if model.prepare:
        model.prepare(net, data.train[0])
    return make_learner(net, Batches(*data.train, config), model.task, config, fabric)


def limits(model: BookModel, data: Data, fabric: Fabric) -> dict[str, Any]:
    """Where an epoch's time goes: its arithmetic, the device's peak, and its kernels by kind.

    On a CPU only the arithmetic.
    """
    config = model.fit
    learner = _learner(model, data, config, fabric)
    trainer = learner.trainer
    batch = data.train[0][: config.batch_size]
    with FlopCounterMode(display=False) as counter:
        learner.net(batch).sum().backward()
    numbers: dict[str, Any] = {"tflop_per_epoch": counter.get_total_flops() / len(batch) * len(data.train[0]) / 1e12}
    if fabric.device.type != "cuda":
        return numbers
    for epoch in (1, 2):  # records the graph
        trainer.epoch(epoch)
    began = time.perf_counter()
    trainer.epoch(3)
    numbers["epoch_s"] = time.perf_counter() - began
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        trainer.epoch(4)
    kernels: dict[str, float] = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profiled.key_averages():
        words = event.key.lower()
        kind = next((kind for kind, parts in KINDS.items() if any(part in words for part in parts)), OTHER)
        kernels[kind] += event.device_time_total / 1e6
    return numbers | {"kernel_s": kernels, "matrix_product_tflops": _peak_tflops()}


def _peak_tflops() -> float:
    """What a large bfloat16 matrix product of random numbers reaches on this GPU: the median of ten."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        torch.cuda.synchronize()
        began = time.perf_counter()
        _ = left @ right
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * 8192**3 / statistics.median(seconds[3:]) / 1e12


def measure(
    model: BookModel, *, device: str, runs: int, epochs: Sequence[int], samples: int | None = None
) -> dict[str, Any]:
    """All of it as plain data, with `runs` trainings for each number of `epochs`.

    Args:
        samples: train and validate only on the first so many, as a trial.

    Raises:
        UsageError: the device is missing, or fewer than 2 runs. MissingData: CIFAR-10 is not on disk.
    """
    check_settings(device, model.fit.precision)
    if runs < 2:
        raise UsageError(f"--runs {runs}: a spread needs at least 2")
    whole = model.data()
    train, validation = (
        Split(inputs=split.inputs[:samples], targets=split.targets[:samples])
        for split in (whole.train, whole.validation)
    )
    data = Data(train=on_device(model, train, device), validation=on_device(model, validation, device))
    fabric = launched_fabric(device, model.fit.precision)
    first = run(model, data, replace(model.fit, epochs=epochs[0]), fabric)
    settings = []
    for number in epochs:
        made = []
        for i in range(runs):
            made.append(run(model, data, replace(model.fit, epochs=number, seed=model.fit.seed + i), fabric))
            _say(number, made[-1])
        settings.append({"epochs": number, "runs": made, **_summary(made)})
    return {
        "model": model.name,
        "source": model.target.source,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else machine().get("cpu", device),
        "aim": AIM,
        "train_samples": len(train),
        "validation_samples": len(validation),
        "config": {key: value for key, value in asdict(model.fit).items() if key not in ("seed", "epochs")},
        "first_run": first,
        "settings": settings,
        "limits": limits(model, data, fabric),
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def of(name: str) -> dict[str, float]:
        values = [one[name] for one in runs]
        return {"mean": statistics.mean(values), "spread": statistics.stdev(values)}

    reached = {name: sum(one[name] >= AIM for one in runs) for name in ("accuracy", "accuracy_with_views")}
    return {name: of(name) for name in ("train_s", "accuracy", "accuracy_with_views")} | {"reached": reached}


def _say(epochs: int, one: dict[str, Any]) -> None:
    print(
        f"{epochs} epochs, seed {one['seed']}: {one['train_s']:.2f} s, accuracy {one['accuracy']:.4f}, "
        f"with six views {one['accuracy_with_views']:.4f}",
        file=sys.stderr,
        flush=True,
    )


@program()
def main() -> None:
    """Writes the measurement to --out and prints a line for each number of epochs."""
    model = book_model("cifar10_fast")
    parser = argparse.ArgumentParser(
        prog="python -m experiments.training.speedrun", description="Time to 94 % on CIFAR-10."
    )
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    parser.add_argument("--runs", type=int, default=10, help="runs that count, each with its own seed (default: 10)")
    parser.add_argument("--epochs", type=int, nargs="+", default=[model.fit.epochs], help="one or more numbers")
    parser.add_argument("--samples", type=int, help="train and validate only on the first so many, as a trial")
    parser.add_argument("--out", type=Path, help="default: results/cifar10-fast-DEVICE.json")
    options = parser.parse_args()
    if min(options.epochs) < 1:
        raise UsageError(f"--epochs {min(options.epochs)}: a run has at least 1 epoch")
    result = measure(model, device=options.device, runs=options.runs, epochs=options.epochs, samples=options.samples)
    out = options.out or Path("results") / f"cifar10-fast-{options.device}.json"
    write_file(out, canonical_json(result))
    for entry in result["settings"]:
        print(
            f"{entry['epochs']} epochs: {entry['train_s']['mean']:.2f} s, accuracy {entry['accuracy']['mean']:.4f}, "
            f"with six views {entry['accuracy_with_views']['mean']:.4f} ({entry['reached']['accuracy_with_views']} of "
            f"{len(entry['runs'])} runs reached {AIM})"
        )
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
