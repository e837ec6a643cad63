"""What is to be deployed: one module from raw input to answer, with the real samples that prove it.

The exported graph begins with the device's raw pixels and ends with probabilities, so that no device repeats
normalization, layout or softmax. Nothing here knows formats or recipes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.contract import Holds
from edgekit.edge_runtime.bundle.manifest import (
    DETECTION,
    BatchRange,
    ImagePreprocessing,
    SamplesOrigin,
    Suppression,
    TensorSpec,
    WeightsOrigin,
)
from edgekit.edge_runtime.engines import Session
from edgekit.edge_runtime.errors import MissingData, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.tasks.metrics import TaskMetric
from edgekit.edge_runtime.tasks.registry import metric_named, read_outputs, task
from edgekit.train.book_model import BookModel, FitConfig, input_module
from edgekit.train.checkpoint import load_weights
from edgekit.train.dataset import Dataset, Split

from .heads import BOXES, HEADS, HOLDS, Deployable, DeployableDetector

GOLDEN_SAMPLES = 32
# Two classes whose probabilities are closer than this are a near tie. The loosest of the float recipes (fp16, 40 dB)
# lets an answer be off by 1 %, so two may come 2 % closer; and one flip in 32 is more than its agreement may lose.
NEAR_TIE = 0.02
# Raw inputs (N, …) by name -> answers (N, …) by name, in whatever runs the model.
Predict = Callable[[Arrays], Arrays]


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a model was trained on: raw `inputs` (N, …) as the deployed model takes them, `targets` as `Split` has them.

    `fit` says with what loss.
    """

    inputs: np.ndarray
    targets: np.ndarray
    fit: FitConfig


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Samples that were chosen to travel: raw `inputs` (N, …) by name; `targets` (N, …), None where not known."""

    inputs: Arrays
    targets: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class DeployModel:
    """A float module in evaluation mode, what it takes and gives, and its real data.

    `calibration` and `validation` hold raw inputs by input name, one row a sample; they share no sample. `targets` is
    None where the true answers are not known: then `validation` serves to check the stages, and no accuracy is
    measured, unless `evaluate` does so: it takes a `Predict` and gives a number, or one for each sample; more is
    better. `gated` names the metric that artifacts are held to, the task's own where empty; `shown` the one that is
    reported. `holds` is what the first output holds, where its task does not say; `suppression` says
    which boxes of a detector count. `groups` (N,) says which validation
    samples belong together, such as a patient's. `unlabelled` are further raw inputs, without truth, on which answers
    are compared. `golden` are the samples that travel with every bundle, where they were chosen; else they are taken
    from `validation`; `samples_from` and `weights_from` say whose they are. `noise` says that the samples are random,
    which proves nothing; `notes` go into the manifest's provenance. `training` is None where the training split is not
    at hand, or too large for memory.
    """

    name: str
    task: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: ImagePreprocessing | None
    labels: tuple[str, ...]
    calibration: Arrays
    validation: Arrays
    targets: np.ndarray | None
    weights_sha256: str
    origin: str
    evaluate: Callable[[Predict], float | npt.ArrayLike] | None = None
    gated: str = ""
    shown: str = ""
    holds: Holds | None = None
    suppression: Suppression | None = None
    golden: Golden | None = None
    samples_from: SamplesOrigin | None = None
    weights_from: WeightsOrigin | None = None
    groups: np.ndarray | None = None
    unlabelled: Arrays = field(default_factory=dict)
    noise: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    training: TrainingData | None = None

    @property
    def batch(self) -> BatchRange | None:
        """How many rows a run may have; None where it is the one row of the tensors' shape."""
        return self.inputs[0].batch

    def output_holds(self, place: int) -> Holds:
        """What the output at `place` holds; only those that the task reads are its answer."""
        held = (self.holds,) if self.holds else HOLDS.get(self.task, ())
        return held[place] if place < len(held) else "values"

    def is_answer(self, place: int) -> bool:
        """Whether the output at `place` is one of those that the task reads."""
        return place < max(1, len(HOLDS.get(self.task, ())))

    def answers(self, outputs: Arrays) -> np.ndarray:
        """Outputs (N, …) by name as the task takes them: classes along axis 1, or what is found, (N, K, 6)."""
        holds = {spec.name: self.output_holds(place) for place, spec in enumerate(self.outputs)}
        return read_outputs(outputs, holds, task=task(self.task), suppression=self.suppression)

    def metric(self) -> TaskMetric:
        """A new metric of the kind that is reported: `shown`, else the task's own."""
        return (metric_named(self.shown) if self.shown else None) or task(self.task).metric()

    @property
    def example(self) -> tuple[torch.Tensor, ...]:
        """One real sample as tensors, batch axis 1, for tracing and exporting; two where the batch is free.

        Two, because torch.export takes an axis of length 1 for a fixed one, whatever it is told.
        """
        rows = 2 if self.batch else 1
        return tuple(
            torch.from_numpy(np.resize(self.calibration[spec.name][:rows], (rows, *spec.shape[1:])))
            for spec in self.inputs
        )

    @property
    def dynamic_shapes(self) -> tuple[dict[int, Any], ...] | None:
        """What torch.export is to leave free: axis 0 of every input, within the batch; None where all is fixed."""
        if self.batch is None:
            return None
        rows = torch.export.Dim("batch", min=self.batch.min, max=self.batch.max)
        return tuple({0: rows} for _ in self.inputs)

    def with_max_batch(self, rows: int) -> DeployModel:
        """The same model for batches of 1 to `rows`; for one row alone, which is the default, where `rows` is 1.

        Raises:
            UsageError: fewer than one row, or a tensor whose first axis is no batch axis of one row.
        """
        if rows < 1:
            raise UsageError(f"the largest batch should be 1 or more, found {rows}")
        if rows == 1:
            return self
        for spec in (*self.inputs, *self.outputs):
            if spec.shape[:1] != (1,):
                raise UsageError(f"{self.name}: {spec.name} is {spec.shape_text}; a free batch needs one row in axis 0")
        batch = BatchRange(min=1, max=rows)
        inputs, outputs = (tuple(replace(spec, batch=batch) for spec in specs) for specs in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    def golden_indices(self, answers: np.ndarray) -> np.ndarray:
        """Validation rows for `golden.npz`: the classes in turn, first occurrences first, so every class is there.

        Where targets are no classes, or more classes than golden samples: rows evenly spaced from first to last.
        Near ties come only where there are too few other rows: which class wins one is decided by how a CPU rounds
        (one that multiplies in float16 adds up in it, another in float32), so that it proves nothing of a program.

        Args:
            answers: the float model's (N, …) to the validation split; of a classification its probabilities (N, C).
        """
        one_of_many = self.task == "classification" and answers.ndim == 2
        tied = _near_ties(answers) if one_of_many else np.zeros(len(answers), bool)
        of_classes = self.targets is not None and self.targets.ndim == 1 and self.targets.dtype.kind in "iu"
        if self.targets is None or not of_classes or len(np.unique(self.targets)) > GOLDEN_SAMPLES:
            wanted = min(GOLDEN_SAMPLES, len(answers))
            rows = np.flatnonzero(~tied) if np.sum(~tied) >= wanted else np.arange(len(answers))
            return rows[np.unique(np.linspace(0, len(rows) - 1, wanted).round().astype(np.int64))]
        order = np.lexsort((tied, self.targets))  # stable: by class, near ties last, else as they come
        by_class = [order[self.targets[order] == label] for label in np.unique(self.targets)]
        turns = max(len(rows) for rows in by_class)
        mixed = [rows[turn] for turn in range(turns) for rows in by_class if turn < len(rows)]
        return np.array(mixed[:GOLDEN_SAMPLES])

    def targets_of(self, rows: np.ndarray) -> np.ndarray:
        """The true answers to some validation rows; (rows, 0), which says nothing, where none are known."""
        return np.zeros((len(rows), 0), np.float32) if self.targets is None else self.targets[rows]

    def golden_targets(self, rows: np.ndarray) -> np.ndarray:
        """The true answers to the samples that travel: the chosen ones, else those validation rows."""
        if self.golden is None:
            return self.targets_of(rows)
        count = len(next(iter(self.golden.inputs.values())))
        return np.zeros((count, 0), np.float32) if self.golden.targets is None else self.golden.targets


def _near_ties(probabilities: np.ndarray) -> np.ndarray:
    """(N, C) to (N,): whether the two most probable classes are closer than `NEAR_TIE`; one class has no rival."""
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities), bool)
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return first - second < NEAR_TIE


@dataclass(frozen=True, kw_only=True)
class LoadedModule:
    """A registry model with trained weights behind raw input, in evaluation mode, without gradients."""

    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def load_book_module(book: BookModel, weights: Path) -> LoadedModule:
    """Builds a registry model and loads `weights` (.safetensors, or a bare state dict in .pt / .pth).

    Raises:
        MissingData: no such file.
        UsageError: the weights are of another model.
    """
    model = book.build()
    load_weights(model, weights)
    return loaded_module(book, model)


def loaded_module(book: BookModel, model: nn.Module) -> LoadedModule:
    """A registry model's module behind raw input, with the weights it has."""
    head = HEADS[book.task]
    kind = DeployableDetector if book.task == DETECTION else Deployable
    module, taken = kind(input_module(book), model, head[1]).eval().requires_grad_(False), input_spec(book)
    with torch.inference_mode():
        given = module(torch.zeros(taken.shape, dtype=getattr(torch, taken.dtype)))
    named = zip((head[0], BOXES), given if isinstance(given, tuple) else (given,), strict=False)
    outputs = tuple(TensorSpec(name=name, dtype="float32", shape=tuple(one.shape)) for name, one in named)
    return LoadedModule(module=module, inputs=(taken,), outputs=outputs)


def input_spec(book: BookModel) -> TensorSpec:
    """What the deployed model takes: one picture of raw pixels (1, H, W, C), or one row of the data set."""
    picture = book.preprocessing
    if picture is not None:
        return TensorSpec(name="image", dtype="uint8", shape=(1, picture.height, picture.width, picture.channels))
    if book.takes is not None:
        return book.takes
    row = book.data().validation.inputs[:1]
    return TensorSpec(name="input", dtype=str(row.dtype), shape=row.shape)  # type: ignore[arg-type]


def deploy_book_model(book: BookModel, weights: Path) -> DeployModel:
    """A registry model with trained `weights` and its real data, ready to be packed.

    Where the data set is not there, the model's few real samples take its place; `origin` says so.

    Raises:
        MissingData: the weights are not there, or neither data set nor samples.
        UsageError: the weights are of another model.
    """
    loaded, data = load_book_module(book, weights), _real_data(book)
    name = loaded.inputs[0].name
    return DeployModel(
        name=book.name,
        task=book.task,
        module=loaded.module,
        inputs=loaded.inputs,
        outputs=loaded.outputs,
        preprocessing=book.preprocessing,
        labels=book.labels,
        calibration=_inputs(name, data.calibration),
        validation=_inputs(name, data.validation),
        targets=data.validation.targets,
        weights_sha256=sha256_file(weights),
        origin=data.origin,
        gated=book.gated or book.target.metric,
        suppression=book.suppression,
        groups=data.validation.groups,
        training=training_data(book, data),
    )


def run_module(model: DeployModel, module: nn.Module, arrays: Arrays) -> Arrays:
    """Runs a torch module row by row, as the device does: arrays (N, …) in, (N, …) out."""
    rows = len(next(iter(arrays.values())))
    found: list[list[torch.Tensor]] = []
    with torch.inference_mode():
        for i in range(rows):
            answer = module(*(torch.from_numpy(arrays[spec.name][i : i + 1].copy()) for spec in model.inputs))
            found.append(list(answer) if isinstance(answer, (list, tuple)) else [answer])
    columns = zip(*found, strict=True)
    return {spec.name: torch.cat(column).numpy() for spec, column in zip(model.outputs, columns, strict=True)}


def run_session(model: DeployModel, session: Session, arrays: Arrays) -> Arrays:
    """Runs a loaded model file row by row, as `run_module` runs a module."""
    rows = len(next(iter(arrays.values())))
    found = [session.run([arrays[spec.name][i : i + 1].copy() for spec in model.inputs]) for i in range(rows)]
    return {spec.name: np.concatenate([row[k] for row in found]) for k, spec in enumerate(model.outputs)}


def training_data(book: BookModel, data: Dataset) -> TrainingData | None:
    """What `book` is trained on; None for a model of crops, whose split is too large for memory, and for a detector,
    whose loss needs what it gives in training alone."""
    if book.crops or book.task == DETECTION:  # rows of crops say where to read, not what the model takes
        return None
    return TrainingData(inputs=data.train.inputs, targets=data.train.targets, fit=book.fit)


def _real_data(book: BookModel) -> Dataset:
    try:
        return book.data()
    except MissingData as missing:
        if book.samples is None:
            raise
        try:
            return book.samples()
        except MissingData:
            raise missing from None  # the way to get the data set is the better advice


def _inputs(name: str, split: Split) -> Arrays:
    return {name: np.ascontiguousarray(split.inputs)}
