"""What one pass over the data needs: losses, optimizers, data on the device, and evaluation. `trainer.py` makes steps.

Nothing here knows files, progress or the number of epochs. A new loss or optimizer is one line in its table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import ParamsT

from edgekit.edge_runtime.bundle.contract import Suppression
from edgekit.edge_runtime.tasks.detection import detections
from edgekit.edge_runtime.tasks.metrics import TaskMetric
from edgekit.edge_runtime.tasks.registry import task
from edgekit.train.book_model import BookModel, FitConfig, input_module
from edgekit.train.dataset import Split
from edgekit.train.extra_metrics import ExtraMetrics
from edgekit.train.loop.detection_loss import detection_loss

MISS_WEIGHT = 8  # the book's: of the loss on nodule pixels alone


def _mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape:  # torch would broadcast (N, 1) against (N,) to (N, N), and train on nonsense
        raise ValueError(f"a regression's targets {list(targets.shape)} need its outputs' shape {list(outputs.shape)}")
    return F.mse_loss(outputs, targets)


def _dice_and_misses(masks: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - soft Dice, plus 8 times that of the true pixels alone: a miss costs more than a false alarm.

    Both are (N, 1, H, W), probabilities and 0 or 1. Source: chapter 13, `computeBatchLoss`.
    """
    return (_dice_loss(masks, targets) + MISS_WEIGHT * _dice_loss(masks * targets, targets)).mean()


def _dice_loss(masks: Tensor, targets: Tensor) -> Tensor:
    both, either = ((masks * targets).sum((1, 2, 3)), (masks + targets).sum((1, 2, 3)))
    return 1 - (2 * both + 1) / (either + 1)


# By task: (outputs, targets) to the mean loss of the batch.
LOSSES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "classification": F.cross_entropy,
    "regression": _mean_squared_error,
    "next_character": F.nll_loss,  # the model ends in log_softmax
    "segmentation": _dice_and_misses,
    "detection": detection_loss,
}


def loss_of(task_name: str, config: FitConfig) -> Callable[[Any, Tensor], Tensor]:
    """The task's training loss; a classification's with `config.label_smoothing`."""
    if not config.label_smoothing:
        return LOSSES[task_name]
    if task_name != "classification":
        raise ValueError(f"label_smoothing {config.label_smoothing} is for a classification, not for {task_name}")
    return functools.partial(F.cross_entropy, label_smoothing=config.label_smoothing)


def _sgd(parameters: ParamsT, config: FitConfig, recorded: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=recorded or None,  # only the fused optimizer reads the learning rate on the device
    )


def _adam(parameters: ParamsT, config: FitConfig, recorded: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        parameters,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        capturable=recorded,
        fused=recorded or None,
    )


OPTIMIZERS: dict[str, Callable[[ParamsT, FitConfig, bool], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
}


def make_optimizer(module: nn.Module, config: FitConfig, *, recorded: bool = False) -> torch.optim.Optimizer:
    """The optimizer of all parameters that are not frozen; biases of batch norms learn at `norm_bias_rate`.

    `recorded`: its steps will be replayed from a CUDA graph.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained}]
    if config.norm_bias_rate != 1:
        biases = {id(part.bias) for part in module.modules() if isinstance(part, _BatchNorm)}
        groups = [{"params": [p for p in trained if (id(p) in biases) == chosen]} for chosen in (False, True)]
        # Their weight decay is lowered by the same factor, so that a step shrinks all parameters alike.
        groups[1]["lr"] = config.learning_rate * config.norm_bias_rate
        groups[1]["weight_decay"] = config.weight_decay / config.norm_bias_rate
    return OPTIMIZERS[config.optimizer](groups, config, recorded)


def restore_optimizer(optimizer: torch.optim.Optimizer, kept: Mapping[str, Any]) -> None:
    """Gives `optimizer` the moments and steps of `kept`, a state dict with the same settings, maybe of another device.

    How steps are computed (fused, learning rate as a tensor) depends on this device, so the groups stay as they are.
    """
    optimizer.load_state_dict({"state": kept["state"], "param_groups": optimizer.state_dict()["param_groups"]})


_EVALUATION_BATCH = 1000
_EVALUATION_NUMBERS = 2**22  # large inputs go in smaller batches: 56 crops of CTs, whose features fill memory


def on_device(model: BookModel, split: Split, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """A split as tensors on `device`: inputs as the model takes them, for pictures (N, C, H, W) float32; targets."""
    with torch.no_grad():
        raw, targets = _sent(split.inputs, device), _sent(split.targets, device)
        # Contiguous, because the permutation to (N, C, H, W) would leave every batch with unusual strides.
        return input_module(model).to(device)(raw).contiguous(), targets


def evaluate(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    task_name: str,
    extra: ExtraMetrics | None = None,
    suppression: Suppression | None = None,
) -> TaskMetric:
    """The task's metric of `module`, in eval mode, over all of `inputs`, as `on_device` makes them.

    `extra` metrics are filled in the same pass; `suppression` says which boxes of a detector count.
    """
    metric = task(task_name).metric()
    module.eval()
    with torch.no_grad():
        step = max(1, min(_EVALUATION_BATCH, _EVALUATION_NUMBERS // max(1, inputs[0].numel())))
        for start in range(0, len(inputs), step):
            piece = slice(start, start + step)
            outputs, truth = _answers(module(inputs[piece]), suppression), targets[piece].cpu().numpy()
            metric.update(outputs, truth)
            if extra:
                extra.update(outputs, truth)
    return metric


def _answers(outputs: Tensor | tuple[Tensor, Tensor], suppression: Suppression | None) -> np.ndarray:
    """A model's outputs as its task's metric takes them: of a detector what is found, (N, K, 6)."""
    if isinstance(outputs, Tensor):
        return outputs.float().cpu().numpy()
    scores, boxes = (one.float() for one in outputs)
    return detections(scores.sigmoid().cpu().numpy(), boxes.cpu().numpy(), suppression or Suppression())


def _sent(array: np.ndarray, device: torch.device | str) -> Tensor:
    tensor = torch.from_numpy(array)
    if torch.device(device).type == "cuda":  # from pinned memory the copy runs beside Python
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
