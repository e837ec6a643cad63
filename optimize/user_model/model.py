"""A user's own module as a `DeployModel`: what it takes and gives, its real samples, and what is not known of it.

Everything that does not fit is refused here, before anything is exported. This module exports and measures nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import (
    DETECTION,
    SamplesOrigin,
    TensorSpec,
    WeightsOrigin,
)
from edgekit.edge_runtime.errors import InputError, UsageError, unknown

from ..deploy import DeployModel, Golden
from .answering import TASKS, Answering, answering, checked_metric, shown_metric
from .array_samples import Samples, fewer, noise, without
from .coco import ENDING
from .detector import scores_first, suppression_of
from .inputs import Inputs
from .matching import Matched, Notes, match_samples
from .module import FirstRun, Parts, first_run, inert, tensors_of
from .request import DTYPES, Request
from .signature import Passing, Signature, signature_of
from .sources import Source, plain_name
from .truth import classes_of, truth_of_pictures
from .weights import check_weights, weights_sha256
from .writes import depends_on

OF_CLASSES = ("classification", "multi_label", DETECTION)
PROBED_SAMPLES = 32
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
        UsageError: options that contradict each other or the model; a model that keeps a state from run to run.
        InputError: NaN weights, samples that do not fit, labels that are not as many as the outputs.
        MissingData: a file or folder is not there.
    """
    if request.task and request.task not in TASKS:
        raise unknown("task", request.task, TASKS)
    notes = Notes(says=list(source.notes))
    module = _plain_copy(source.module, notes)
    check_weights(module)
    signature = signature_of(module)
    matched = match_samples(source, request, signature, notes)
    inputs, calibration, validation = matched.inputs, matched.calibration, matched.validation
    real = validation or calibration
    samples = (real or noise(inputs.specs, 1)).arrays
    names = tuple(spec.name for spec in inputs.specs)
    ran, passing = _first_run(module, signature, inputs, samples, notes)
    copied = _copied(module, inputs, ran, passing, samples, notes)
    plain = Parts(inputs=inputs.module, model=module, head=nn.Identity(), names=names, passing=passing, copied=copied,
                  outputs=ran.places)  # fmt: skip
    asked = request.task or (DETECTION if matched.labelled and matched.labelled.suffix.lower() == ENDING else "")
    if asked == DETECTION:
        ran = scores_first(ran)
        plain = replace(plain, outputs=ran.places)
    first_name, first = next(iter(ran.answers.items()))
    probe, known = _probe(plain, real), bool(request.labels or source.labels or inputs.picture)
    if matched.labelled and inputs.picture:
        validation = truth_of_pictures(matched.labelled, inputs.picture, first, source, request, notes)
    targets = validation.targets if validation and request.evaluate is None else None
    found = answering(first, targets, asked=asked, classes_known=known, labels=len(request.labels),
                      probe=probe, name=first_name)  # fmt: skip
    labels = _labels(found, source, request, matched, notes)
    notes.says += found.says
    parts = replace(plain, head=found.head)
    if validation:
        validation = replace(validation, targets=found.targets)
    if calibration and validation:
        calibration, dropped = without(calibration, validation)
        if dropped:
            notes.add(f"{dropped:,} calibration samples are in the validation split as well, and were left out")
    _say_what_is_not_proven(request, calibration, validation, notes)
    checked = validation or fewer(calibration or noise(inputs.specs), CHECKED_SAMPLES)
    fitted = calibration or (noise(inputs.specs) if request.random_samples else None)
    if not request.task:
        notes.add(f"task: {found.task} (--task says otherwise)")
    notes.says.insert(0, inputs.words)
    metric = checked_metric(request.metric, found)
    model = DeployModel(
        name=plain_name(request.name or source.name),
        task=found.task,
        module=parts.module(),
        inputs=inputs.specs,
        outputs=_outputs(found, ran, names),
        preprocessing=inputs.picture,
        labels=labels,
        calibration=(fitted or checked).arrays,
        validation=checked.arrays,
        targets=checked.targets,
        weights_sha256=weights_sha256(module),
        origin=_origin(calibration, validation),
        evaluate=request.evaluate,
        gated=metric,
        shown=shown_metric(metric),
        holds=found.holds,
        suppression=suppression_of(request, found.task),
        golden=_golden(matched.golden, found, inputs.picture is not None),
        samples_from=_samples_from(request, matched.golden, checked, real is not None),
        weights_from=WeightsOrigin(source=source.weights, licence=request.weights_licence or source.licence),
        unlabelled=matched.unlabelled.arrays if matched.unlabelled else {},
        groups=validation.groups if validation else None,
        noise=real is None or (calibration is None and request.random_samples),
        notes={"source": source.what, "weights": source.weights} | notes.kept,
    )
    return OwnModel(model=model, calibrated=fitted is not None, says=tuple(notes.says), parts=parts, file=source.file)


def _plain_copy(module: nn.Module, notes: Notes) -> nn.Module:
    """A copy of the user's module on the CPU, in float32 and evaluation mode, so that the user's own stays as it is."""
    try:
        with torch.no_grad():  # else the copied weights of a TorchScript module would be results of the old ones
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
    with torch.no_grad():
        return inert(module.cpu())


def _tensors(inputs: Inputs, arrays: Arrays) -> list[Tensor]:
    return [torch.from_numpy(arrays[spec.name][:1].copy()) for spec in inputs.specs]


def _first_run(
    module: nn.Module, signature: Signature, inputs: Inputs, samples: Arrays, notes: Notes
) -> tuple[FirstRun, Passing]:
    """What the model gives to the first sample, and the way of handing the inputs over that it takes."""
    advice = (
        "Check --sample-shape" if not inputs.picture else "Check --sample-shape (1,CHANNELS,HEIGHT,WIDTH) and --mode"
    )
    names = [spec.name for spec in inputs.specs]
    ways = signature.passings(names, picture=inputs.picture is not None)
    if len(ways) > 1:
        kinds = ", ".join(way.structure for way in ways)
        advice = (
            f"forward takes the one argument {signature.names[0]!r}; {', '.join(names)} were tried as a {kinds}. Give "
            "only what it takes"
        )
    failures = []
    for way in ways:
        with torch.no_grad():
            sample = _tensors(inputs, samples)
            fed = [inputs.module(sample[0])] if inputs.picture else sample
        try:
            ran = first_run(module, fed, way, advice=advice)
        except InputError as error:
            failures.append(error)
            continue
        if way.structure:
            notes.add(f"forward takes one {way.structure} of {', '.join(names)}")
        if ran.left_out:
            notes.add(f"left out of the answer, since it is no tensor: {', '.join(ran.left_out)}")
        return ran, way
    raise failures[0]


def _copied(
    module: nn.Module, inputs: Inputs, ran: FirstRun, passing: Passing, samples: Arrays, notes: Notes
) -> tuple[str, ...]:
    """The inputs that forward writes into, which get a copy.

    Raises:
        UsageError: it writes into a buffer or weight on which its answers depend.
    """
    if ran.writes.state:

        def run() -> list[Tensor]:
            sample = _tensors(inputs, samples)
            fed = [inputs.module(sample[0])] if inputs.picture else sample
            return tensors_of(passing.call(module, fed))

        written = list(ran.writes.state)
        if (name := depends_on(module, written, run)) is not None:
            line = ran.writes.state[name]
            raise UsageError(
                f"forward changes the buffer {name!r} and answers by what is in it, so that an answer depends on the "
                f"runs before; a bundle starts anew whenever it is loaded. {f'Your line: {line}. ' if line else ''}"
                f"Make {name!r} an input and an output of forward, and hand it on from run to run"
            )
        notes.add(f"forward writes into {', '.join(written)}, on which no answer depends")
    if inputs.picture:
        return ()  # what the model gets is made of the pixels, and its own
    names = [spec.name for spec in inputs.specs]
    for place, line in ran.writes.inputs.items():
        notes.add(
            f"forward writes into its input {names[place]!r}, and gets a copy{f' (your line: {line})' if line else ''}"
        )
    return tuple(names[place] for place in ran.writes.inputs)


def _probe(parts: Parts, real: Samples | None) -> Tensor | None:
    """(M, …) the first output to some real samples: whether they are probabilities shows in several alone."""
    if real is None:
        return None
    module, found = parts.module(), []
    with torch.inference_mode():
        for i in range(min(PROBED_SAMPLES, len(real))):
            given = module(*(torch.from_numpy(rows[i : i + 1].copy()) for rows in real.arrays.values()))
            found.append(given[0] if isinstance(given, tuple) else given)
    same = [one for one in found if one.shape == found[0].shape]
    return torch.cat(same) if same[0].ndim else None


def _golden(golden: Samples | None, found: Answering, pictures: bool) -> Golden | None:
    """The samples that were chosen to travel, with their truth where it is in the task's own form."""
    if golden is None:
        return None
    targets = golden.targets
    if targets is not None and (found.targets is None or targets.shape[1:] != found.targets.shape[1:]):
        targets = None
    return Golden(inputs=golden.arrays, targets=targets)


def _samples_from(request: Request, golden: Samples | None, checked: Samples, real: bool) -> SamplesOrigin:
    """Whose samples travel with the bundles."""
    licence = request.golden_licence or None
    if golden is not None:
        return SamplesOrigin(source=_place(golden), licence=licence, may_travel=True)
    if not real:
        return SamplesOrigin(source="random noise", licence=None, may_travel=True)
    return SamplesOrigin(source=_place(checked), licence=licence, may_travel=None)


def _place(samples: Samples) -> str:
    said = not samples.place or samples.words.endswith(f"of {samples.place}")
    return samples.words if said else f"{samples.words} in {samples.place}"


def _labels(found: Answering, source: Source, request: Request, matched: Matched, notes: Notes) -> tuple[str, ...]:
    count, of_classes = found.count, found.task in OF_CLASSES
    if not count:
        return tuple(request.labels)
    if request.labels:
        if count == 1 and len(request.labels) == 2 and of_classes:  # one number tells the second from the first
            return tuple(request.labels[1:])
        if len(request.labels) != count:
            raise InputError(
                f"there are {len(request.labels):,} labels and the model gives {count:,} numbers. Give one each"
            )
        return tuple(request.labels)
    if found.task == "segmentation":
        return ("object",)
    if not of_classes:
        return ("value",) if count == 1 else tuple(f"value {i}" for i in range(count))
    if len(source.labels) == count:
        notes.add(f"labels: the {count:,} of {source.what}")
        return source.labels
    classes = classes_of(matched.labelled) if matched.labelled else ()
    if found.task == "multi_label" and count == 1 and len(classes) == 2:
        notes.add(f"labels: {classes[1]!r}, of which the model gives the probability; else {classes[0]!r}")
        return classes[1:]
    where = matched.labelled.name if matched.labelled else ""
    if len(classes) == count and found.task == DETECTION:
        notes.add(f"labels: the categories of {where} by ascending id")
        return classes
    if len(classes) == count and found.task == "classification":
        notes.add(f"labels: the classes of {where} in alphabetical order, as ImageFolder has them")
        return classes
    notes.add(f"labels: none were given, so answers are called {GENERIC.format(0)} to {GENERIC.format(count - 1)}")
    return tuple(GENERIC.format(i) for i in range(count))


def _outputs(found: Answering, ran: FirstRun, inputs: Sequence[str]) -> tuple[TensorSpec, ...]:
    specs, taken = [], {*inputs, found.output}
    for i, (name, tensor) in enumerate(ran.answers.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES or tensor.ndim == 0:
            raise UsageError(
                f"the output {name!r} is {dtype} {list(tensor.shape)}; a bundle gives {', '.join(DTYPES)} with a batch "
                "axis. Convert it at the end of forward"
            )
        called = found.output if i == 0 else name
        while called in taken and (i or called in inputs):  # in a model file inputs and outputs share one set of names
            called += "_out"
        taken.add(called)
        shape = found.shape if i == 0 else tuple(tensor.shape)
        specs.append(TensorSpec(name=called, dtype=dtype, shape=shape))  # type: ignore[arg-type]
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
