"""A user's own module as a `DeployModel`: what it takes and gives, its real samples, and what is not known of it.

Everything that does not fit is refused here, before anything is exported. This module exports and measures nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import InputError, UsageError, unknown

from ..deploy import HEADS, DeployModel
from .array_samples import Samples, fewer, noise, without
from .inputs import Inputs
from .matching import Matched, Notes, match_samples
from .module import FirstRun, Parts, argument_names, first_run
from .picture_samples import class_folders, labelled_pictures
from .request import DTYPES, Request
from .sources import Source, plain_name
from .weights import check_weights, weights_sha256

TASKS = ("classification", "regression", "none")
CHECKED_SAMPLES = 64  # without true answers, the stages are checked on so many
GENERIC = "class {}"


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """The model to deploy, what of it can be calibrated, and what the user should hear before anything is made.

    `parts` are the pieces of its module, for a process that puts them together again; `file` a user's Python file that
    has to be imported before they can be read there.
    """

    model: DeployModel
    calibrated: bool
    says: tuple[str, ...]
    parts: Parts
    file: Path | None = None


def own_model(source: Source, request: Request) -> OwnModel:
    """Checks a source against the user's samples and puts together what is to be deployed.

    Raises:
        UsageError: options that contradict each other or the model.
        InputError: NaN weights, samples that do not fit, labels that are not as many as the outputs.
        MissingData: a file or folder is not there.
    """
    if request.task and request.task not in TASKS:
        raise unknown("task", request.task, TASKS)
    notes = Notes(says=list(source.notes))
    module = _plain_copy(source.module, notes)
    check_weights(module)
    names = argument_names(module) or tuple(s.name or f"input_{i}" for i, s in enumerate(request.shapes)) or ("input",)
    matched = match_samples(source, request, names, notes)
    inputs, calibration, validation = matched.inputs, matched.calibration, matched.validation
    real = calibration or validation
    sample = _tensors(inputs, (real or noise(inputs.specs, 1)).arrays)
    advice = (
        "Check --sample-shape" if not inputs.picture else "Check --sample-shape (1,CHANNELS,HEIGHT,WIDTH) and --mode"
    )
    with torch.inference_mode():
        fed = [inputs.module(sample[0])] if inputs.picture else sample
    ran = first_run(module, fed, advice=advice)
    first = next(iter(ran.answers.values()))
    task = request.task or _task_of(first, source, request, matched)
    labels = _labels(task, first, source, request, matched, notes)
    head = _head(task, first, real is not None, notes)
    parts = Parts(
        inputs=inputs.module,
        model=module,
        head=head,
        names=tuple(spec.name for spec in inputs.specs),
        outputs=ran.places,
    )
    if matched.labelled and inputs.picture:
        validation = labelled_pictures(matched.labelled, inputs.picture, name="image", labels=labels, task=task)
    if calibration and validation:
        calibration, dropped = without(calibration, validation)
        if dropped:
            notes.add(f"{dropped:,} calibration samples are in the validation split as well, and were left out")
    _say_what_is_not_proven(request, calibration, validation, notes)
    checked = validation or fewer(calibration or noise(inputs.specs), CHECKED_SAMPLES)
    fitted = calibration or (noise(inputs.specs) if request.random_samples else None)
    if not request.task:
        notes.add(f"task: {task} (--task says otherwise)")
    notes.says.insert(0, inputs.words)
    model = DeployModel(
        name=plain_name(request.name or source.name),
        task=task,
        module=parts.module(),
        inputs=inputs.specs,
        outputs=_outputs(task, ran),
        preprocessing=inputs.picture,
        labels=labels,
        calibration=(fitted or checked).arrays,
        validation=checked.arrays,
        targets=checked.targets,
        weights_sha256=weights_sha256(module),
        origin=_origin(calibration, validation),
        evaluate=request.evaluate,
        unlabelled=matched.unlabelled.arrays if matched.unlabelled else {},
        groups=validation.groups if validation else None,
        noise=real is None or (calibration is None and request.random_samples),
        notes={"source": source.what, "weights": source.weights} | notes.kept,
    )
    return OwnModel(model=model, calibrated=fitted is not None, says=tuple(notes.says), parts=parts, file=source.file)


def _plain_copy(module: nn.Module, notes: Notes) -> nn.Module:
    """A copy of the user's module on the CPU, in float32 and evaluation mode, so that the user's own stays as it is."""
    try:
        module = copy.deepcopy(module)
    except Exception:  # a module may hold what cannot be copied, such as an open file; it is then used itself
        notes.add("the model cannot be copied, and is used itself: it is in evaluation mode from now on")
    halves = {
        str(p.dtype).removeprefix("torch.")
        for p in module.parameters()
        if p.dtype in (torch.float16, torch.bfloat16, torch.float64)
    }
    if halves:
        notes.add(f"weights in {', '.join(sorted(halves))} were converted to float32", keep="converted")
        module = module.float()
    return module.cpu().eval().requires_grad_(False)


def _tensors(inputs: Inputs, arrays: Arrays) -> list[Tensor]:
    return [torch.from_numpy(arrays[spec.name][:1].copy()) for spec in inputs.specs]


def _task_of(first: Tensor, source: Source, request: Request, matched: Matched) -> str:
    """classification where there are classes to tell apart, else none."""
    scores = first.ndim == 2 and first.shape[1] > 1 and first.is_floating_point()
    known = bool(request.labels or source.labels or matched.inputs.picture)
    truth = matched.validation.targets if matched.validation else None
    whole = truth is not None and truth.dtype.kind in "iu"
    return "classification" if scores and (known or whole) else "none"


def _labels(
    task: str, first: Tensor, source: Source, request: Request, matched: Matched, notes: Notes
) -> tuple[str, ...]:
    if task == "none":
        return tuple(request.labels)
    if first.ndim != 2 or first.shape[0] != 1 or not first.is_floating_point():
        raise UsageError(
            f"--task {task} needs one row of numbers for each sample, (1, N) float; the model gives "
            f"{str(first.dtype).removeprefix('torch.')} {list(first.shape)}. Use --task none, or wrap the model"
        )
    count = first.shape[1]
    if task == "classification" and count < 2:
        raise UsageError("--task classification needs 2 or more outputs, found 1. Use --task none, or give two outputs")
    if request.labels:
        if len(request.labels) != count:
            raise InputError(
                f"there are {len(request.labels):,} labels and the model gives {count:,} numbers. Give one each"
            )
        return tuple(request.labels)
    if task == "regression":
        return ("value",) if count == 1 else tuple(f"value {i}" for i in range(count))
    if len(source.labels) == count:
        notes.add(f"labels: the {count:,} of {source.what}")
        return source.labels
    if matched.labelled:
        classes = class_folders(matched.labelled)
        if len(classes) != count:
            raise InputError(
                f"{matched.labelled} has {len(classes):,} classes and the model gives {count:,} numbers. "
                "Give the labels in the order of the outputs: --labels FILE"
            )
        notes.add(f"labels: the classes of {matched.labelled.name} in alphabetical order, as ImageFolder has them")
        return classes
    notes.add(f"labels: none were given, so answers are called {GENERIC.format(0)} to {GENERIC.format(count - 1)}")
    return tuple(GENERIC.format(i) for i in range(count))


def _head(task: str, first: Tensor, real: bool, notes: Notes) -> nn.Module:
    """What turns the model's outputs into answers: a softmax, unless the model ends in one itself."""
    if task == "none":
        return nn.Identity()
    if task == "classification" and real and bool((first >= 0).all()) and abs(float(first.sum()) - 1) < 1e-4:
        notes.add("the model gives probabilities itself, so no softmax was put behind it")
        return nn.Identity()
    return copy.deepcopy(HEADS[task][1])


def _outputs(task: str, ran: FirstRun) -> tuple[TensorSpec, ...]:
    specs = []
    for i, (name, tensor) in enumerate(ran.answers.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES or tensor.ndim == 0:
            raise UsageError(
                f"the output {name!r} is {dtype} {list(tensor.shape)}; a bundle gives {', '.join(DTYPES)} with a batch "
                "axis. Convert it at the end of forward"
            )
        called = HEADS[task][0] if i == 0 and task != "none" else name
        specs.append(TensorSpec(name=called, dtype=dtype, shape=tuple(tensor.shape)))  # type: ignore[arg-type]
    return tuple(specs)


def _say_what_is_not_proven(
    request: Request, calibration: Samples | None, validation: Samples | None, notes: Notes
) -> None:
    if calibration is None and validation is None:
        notes.add("no samples were given: the stages are compared on random noise, which proves little, and every "
                  "bundle is stamped unverified. Give --calibration and --validation", keep="not_proven")  # fmt: skip
    elif (validation is None or validation.targets is None) and request.evaluate is None:
        notes.add("accuracy: not measured, since no samples with their true answers were given (--validation). The "
                  "stages are compared with the float model on calibration samples", keep="not_proven")  # fmt: skip
    if calibration is None and request.random_samples:
        notes.add("calibrated on random noise (--random-samples): stamped unverified", keep="calibration")


def _origin(calibration: Samples | None, validation: Samples | None) -> str:
    parts = [
        f"{what} on {found.words}" for what, found in (("calibrated", calibration), ("validated", validation)) if found
    ]
    return "; ".join(parts) or "random noise"
