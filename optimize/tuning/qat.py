"""Quantization-aware training: a captured model learns on with its weights and activations rounded as int8 rounds them.

It begins with the float weights, equalized, and takes the model's own training split and loss, and the batches and
optimizers of `train/`; batch norms are folded into their layers first, so their statistics are frozen. Rounding has no
slope, so gradients pass it unchanged (straight-through estimator). Ranges of activations follow a moving average, and
stand still in the last epoch. Source: Jacob et al., arXiv 1712.05877. The weights of the float model are never touched.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.errors import ExportError
from edgekit.train.book_model import FitConfig
from edgekit.train.loop.batches import Batches
from edgekit.train.loop.device import threads
from edgekit.train.loop.epoch import loss_of, make_optimizer
from edgekit.train.loop.schedule import SCHEDULES

from ..deploy import DeployModel, TrainingData
from ..recipes import Recipe
from ..recipes.layers import torch_layer
from ..recipes.recipe import FloatLayers, LayerChoice, LayerQuantizer
from ..rewrites import FOR_XNNPACK, rewrite
from ..rewrites.equalize import EQUALIZE

SETTINGS = FitConfig(epochs=4, batch_size=32, learning_rate=3e-4, optimizer="adam", schedule="cosine")
JUDGED_ON = 1000  # training samples, evenly spaced: the loss before and after

Loss = Callable[[Tensor, Tensor], Tensor]


class QuantizationAwareTraining:
    """Trains one model; `recipe` is what an exporter is to be given, and `notes` say afterwards what was done.

    Args:
        settings: epochs, batch size, learning rate, optimizer, schedule and seed; nothing else of them is used.
        say: called with a line after each epoch.
        on_progress: called with the steps that are done and those there are.

    Raises:
        ExportError: the model comes without training data.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: DeployModel,
        *,
        settings: FitConfig = SETTINGS,
        say: Callable[[str], None] = lambda line: None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ):
        if model.training is None:
            raise ExportError(
                f"{recipe.name} trains on, and {model.name} comes without training data. It can be made of the "
                "registry's models whose training split fits into memory. Remedy: w8a8_tuned or mixed, which need none"
            )
        self._model, self._data, self._say, self._on_progress = model, model.training, say, on_progress
        self._settings = replace(settings, cpu_threads=self._data.fit.cpu_threads)
        self.notes: dict[str, str] = {}
        self.recipe = replace(recipe, choose_layers=self._choose, pt2e=self._pt2e)

    def _choose(self, quantizer: LayerQuantizer) -> LayerChoice:
        return LayerChoice(notes=self.notes)  # no layer stays in float; the notes are filled in by the training

    def _pt2e(
        self,
        module: torch.fx.GraphModule,
        calibration: Iterator[tuple[Tensor, ...]],
        float_layers: FloatLayers = frozenset(),
    ) -> torch.fx.GraphModule:
        """Trains the model captured anew, for whole batches: `module` may take the one row of a device alone."""
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        with threads(self._settings.cpu_threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchao's notes to its own developers
            prepared = _prepared(_captured(self._model, self._settings.batch_size), float_layers)
            with torch.no_grad():
                # Whole batches, as in training: the extremes of one sample would be too narrow a range to begin with.
                for rows in torch.cat([first for first, *_ in calibration]).split(self._settings.batch_size):
                    prepared(rows)
            self._train(prepared)
            return convert_pt2e(prepared)

    def _train(self, module: torch.fx.GraphModule) -> None:
        settings, data = self._settings, self._data
        loss_fn = loss_of_answers(self._model.task, data)
        before = _mean_loss(module, data, loss_fn, settings.batch_size)
        batches = Batches(torch.from_numpy(data.inputs), torch.from_numpy(data.targets), settings)
        optimizer = make_optimizer(module, settings)
        steps = math.ceil(len(batches) / settings.batch_size) * settings.epochs
        done = 0
        for epoch in range(1, settings.epochs + 1):
            if epoch == settings.epochs:
                _freeze_ranges(module)
            total = 0.0
            for indices in batches.begin(epoch).split(settings.batch_size):
                rate = settings.learning_rate * SCHEDULES[settings.schedule](done, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                inputs, targets = batches.take(indices)
                loss = loss_fn(module(inputs), targets)
                if not math.isfinite(loss.item()):  # before it gets into the weights, which then cannot be rounded
                    raise ExportError(
                        f"training in 8 bits diverged: in epoch {epoch} the loss is {loss.item()}. Remedy: mixed, "
                        "which leaves the layers that 8 bits damage in float"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(indices)
                done += 1
                self._on_progress(done, steps)
            self._say(f"epoch {epoch} of {settings.epochs}: loss {total / len(batches):.4f} in 8 bits")
        after = _mean_loss(module, data, loss_fn, settings.batch_size)
        self._say(f"loss in 8 bits on {min(JUDGED_ON, len(batches)):,} training samples: {before:.4f} -> {after:.4f}")
        self.notes |= {
            "qat_epochs": str(settings.epochs),
            "qat_batch_size": str(settings.batch_size),
            "qat_learning_rate": f"{settings.learning_rate:g} ({settings.optimizer}, {settings.schedule})",
            "qat_seed": str(settings.seed),
            "qat_samples": str(len(batches)),
            "qat_loss_before": f"{before:.4g}",
            "qat_loss_after": f"{after:.4g}",
        }


def loss_of_answers(task: str, data: TrainingData) -> Loss:
    """The model's training loss as a function of deployed answers (N, …) and targets.

    A deployed classifier answers in probabilities. Their logarithms are its logits less a constant, which cross entropy
    does not see.
    """
    loss = loss_of(task, data.fit)
    if task != "classification":
        return loss
    return lambda answers, targets: loss(answers.clamp_min(1e-30).log(), targets)


def _captured(model: DeployModel, batch: int) -> torch.fx.GraphModule:
    """The model as XNNPACK is to get it, for batches of 1 to `batch` rows, with weights of its own."""
    free = model.with_max_batch(max(batch, model.batch.max if model.batch else 1))
    try:
        program = torch.export.export(free.module, free.example, dynamic_shapes=free.dynamic_shapes, strict=False)
    except Exception as error:  # torch.export has dozens of kinds
        raise ExportError(
            f"{model.name} cannot be trained on as it was captured: it fixes its batch size "
            f"({type(error).__name__}). Remedy: mixed, which needs no training"
        ) from error
    module = program.module()
    assert isinstance(module, torch.fx.GraphModule)
    rewrite(module, (*FOR_XNNPACK, EQUALIZE))  # equalized weights lose the least by rounding: the better start
    return copy.deepcopy(module)  # a captured module shares its weights with the model it was captured from


def _prepared(module: torch.fx.GraphModule, float_layers: FloatLayers) -> torch.fx.GraphModule:
    """The module with every rounding of int8 in it, batch norms folded, its weights ready to learn."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.utils import _fuse_conv_bn_

    from ..recipes.xnnpack import LayerQuantizer8

    _fuse_conv_bn_(module)  # as `prepare_pt2e` does by itself
    settings = get_symmetric_quantization_config(is_per_channel=True, is_qat=True)
    quantizer = LayerQuantizer8(settings, lambda node: torch_layer(node) not in float_layers)
    prepared = prepare_qat_pt2e(module, quantizer)
    for parameter in prepared.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return prepared


def _freeze_ranges(module: nn.Module) -> None:
    from torchao.quantization.pt2e.fake_quantize import disable_observer

    module.apply(disable_observer)


def _mean_loss(module: torch.fx.GraphModule, data: TrainingData, loss: Loss, batch: int) -> float:
    """The mean loss on some training samples, which leaves the ranges of activations as they are."""
    judge = copy.deepcopy(module)
    _freeze_ranges(judge)
    rows = torch.linspace(0, len(data.inputs) - 1, min(JUDGED_ON, len(data.inputs))).round().long()
    inputs, targets = torch.from_numpy(data.inputs)[rows], torch.from_numpy(data.targets)[rows]
    with torch.no_grad():
        pieces = zip(inputs.split(batch), targets.split(batch), strict=True)
        return sum(loss(judge(x), y).item() * len(x) for x, y in pieces) / len(rows)
