"""Where a run computes: device, precision, threads and processes; Fabric sets up model and optimizer there."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgekit.edge_runtime.errors import UsageError, unknown
from edgekit.train.book_model import FitConfig
from edgekit.train.loop.epoch import make_optimizer

if TYPE_CHECKING:
    from lightning.fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed")


def check_settings(device: str, precision: str) -> None:
    """Raises `UsageError` for a device or precision that is unknown, or that this machine does not have."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in there and not there[device]():
        raise UsageError(f"torch {torch.__version__} finds no {device} device here. Use --device cpu or --device auto")


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Limits torch to `count` CPU threads while it lasts; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def launched_fabric(device: str, precision: str) -> Fabric:
    """Fabric on `device`, joined with the other processes where torchrun started several."""
    # Without Triton, which the CPU does not need, importing Fabric would begin with torch's warning about it.
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    from lightning.fabric import Fabric  # takes four seconds, too long to wait for a message about a wrong name

    local, world = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric


def records_steps(fabric: Fabric, config: FitConfig, *, on_device: bool) -> bool:
    """Whether steps are replayed from a CUDA graph: it is wanted, and possible. `on_device`: batches are made there."""
    return config.cuda_graph and on_device and fabric.device.type == "cuda" and fabric.world_size == 1


def set_up(
    fabric: Fabric, net: nn.Module, config: FitConfig, *, recorded: bool = False
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """`net` and its optimizer, moved and wrapped as `config` asks; the wrapped module shares the weights of `net`.

    `recorded`: see `records_steps`.
    """
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # all batches have one shape, so searching the fastest kernel pays
        if fabric.world_size > 1:  # each process has only its share of a batch; this works on GPUs only
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    net.to(fabric.device)  # before the optimizer takes the parameters
    optimizer = make_optimizer(net, config, recorded=recorded)
    # With the exchange of gradients between processes; a single process compiles whole steps (`trainer.py`).
    compiled = config.compiled and fabric.world_size > 1
    module: nn.Module = torch.compile(net, dynamic=False) if compiled else net  # type: ignore[assignment]
    wrapped, wrapped_optimizer = fabric.setup(module, optimizer)
    return wrapped, wrapped_optimizer
