"""`optimize.optimize`: a model and samples in, verified bundles out; the public function of this package.

It prints nothing unless asked to; all it finds is in the `Result`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit.cli.optimize_own import deliver_own
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.errors import InputError, UsageError

from .deploy import Predict
from .options import Options, combinations
from .user_model.array_samples import TARGETS, Samples, check_rows
from .user_model.given import Wishes
from .user_model.inputs import PictureWishes, Shape
from .user_model.model import own_model
from .user_model.module import argument_names
from .user_model.sources import Source, open_source, plain_name

Array = np.ndarray | torch.Tensor
Given = Array | Sequence[Array] | Mapping[str, Array] | str | Path


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of the model.

    `rows`: the float model first, then a row for each bundle, then those that failed with their `error`; each has
    name, status, metric (with interval), model_bytes, p50_ms, times_smaller, times_faster and more.
    `bundles`: the folder of each finished bundle, by its row's name. `says`: what was found out about the model and
    what is not proven. `measured` is what `edgekit report` makes a page of.
    """

    rows: tuple[Row, ...]
    bundles: Mapping[str, Path]
    says: tuple[str, ...]
    measured: Measurement

    @property
    def failed(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.error)


def optimize(
    model: nn.Module | str,
    samples: Given | None,
    *,
    validation: Given | None = None,
    targets: Array | None = None,
    evaluate: Callable[[Predict], float] | None = None,
    labels: Sequence[str] = (),
    task: str = "",
    name: str = "",
    out: str | Path = Path("bundles"),
    exporters: Sequence[str] = (),
    recipes: Sequence[str] = (),
    max_drop: float = 0.01,
    max_batch: int = 1,
    allow_unverified: bool = False,
    picture: PictureWishes | None = None,
    sample_shape: Sequence[int] | None = None,
    quick: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Exports and quantizes a trained model every way it can go; delivers what was proven on real samples.

    Args:
        model: an nn.Module with its weights, which is copied and left as it is; or a text that `edgekit optimize`
            takes, like "torchvision:mobilenet_v2" or "my_package.my_module:build_model".
        samples: real inputs to calibrate on, some tens to hundreds, axis 0 the samples: an array (N, …) for a model of
            one input, arrays in the order of `forward`'s arguments, or a dict by their names; float32, float16, uint8,
            int8, int32 or int64, as `forward` takes them. Or a path: a folder of pictures, or .npy, .npz, .h5. None:
            only recipes that need no samples are carried out, and nothing is proven.
        validation: samples that accuracy is measured on, in the same forms; those that are in `samples` as well are
            taken out there. A path may hold the true answers: one folder a class, a CSV of file,label, or `targets`.
        targets: the true answers to `validation`: (N,) int64 class indices, or (N, F) float32 for a regression.
        evaluate: instead of `targets`: takes a function from arrays to answers, both dicts by name of arrays (N, …),
            calls it as it likes and gives one number, higher is better. It is called for the float model and for each
            bundle in its engine. Answers are named as the bundle names them: "probabilities", "prediction", the keys
            of a dict that `forward` gives, else "output".
        labels: names of the outputs, one each, in order.
        task: "classification" (a softmax is put behind logits), "regression" or "none"; "" for classification where
            classes are known, else none.
        name: of the bundles; "" for the class of the model, or what `model` says.
        out: folder for the bundles.
        exporters, recipes: only these, by name; empty for all.
        max_drop: how much of the float model's metric may be lost, relative.
        max_batch: leave the batch free, for 1 to so many rows in one run.
        allow_unverified: keep a bundle that missed a stage or the gate, stamped unverified.
        picture: how pictures become the input: resize, resize_to, mean, std, mode, interpolation. With it `samples`
            may also be raw pixels (N, H, W, 1 or 3) uint8, and the normalisation becomes part of the graph.
        sample_shape: (1, 3, H, W), the size of pictures.
        quick: measure for a shorter time; rougher figures.
        say: called with each line of progress, in rich's markup.

    Returns:
        the rows of the table, and where the bundles are.

    Raises:
        UsageError, InputError, MissingData: the model, samples or names do not fit; nothing was made.
        Interrupted: Ctrl-C; finished bundles are kept.
    """
    options = Options(
        recipes=tuple(recipes),
        exporters=tuple(exporters),
        out=Path(out),
        max_drop=max_drop,
        max_batch=max_batch,
        allow_unverified=allow_unverified,
        quick=quick,
    )
    pairs = combinations(options)
    source = _source(model, classes=len(labels) or None)
    names = argument_names(source.module)
    if targets is not None and (validation is None or isinstance(validation, (str, Path))):
        raise UsageError("targets are the true answers to `validation`, which is to be arrays then")
    wishes = Wishes(
        calibration=_given(samples, names, "samples"),
        validation=_given(validation, names, "validation", targets),
        labels=tuple(labels),
        task=task,
        name=name,
        shapes=(Shape(sides=tuple(sample_shape)),) if sample_shape else (),
        picture=picture or PictureWishes(),
        evaluate=evaluate,
    )
    own = own_model(source, wishes)
    done = deliver_own(own, pairs, options, say=say, quiet=True)
    return Result(
        rows=done.measured.rows,
        bundles={path.name: path for path in done.packed},
        says=own.says,
        measured=done.measured,
    )


def _source(model: nn.Module | str, *, classes: int | None) -> Source:
    if isinstance(model, str):
        return open_source(model, classes=classes)
    if not isinstance(model, nn.Module):
        raise UsageError(f"model should be an nn.Module or a text, found {type(model).__name__}")
    kind = type(model).__name__
    return Source(what=kind, name=plain_name(kind), module=model, weights="as given from Python")


def _given(given: Given | None, names: Sequence[str], what: str, targets: Array | None = None) -> Path | Samples | None:
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        return Path(given)
    if isinstance(given, (np.ndarray, torch.Tensor)):
        given = [given]
    if isinstance(given, Mapping):
        arrays = {str(key): _array(value) for key, value in given.items()}
    else:
        called = [names[i] if i < len(names) else f"input_{i}" for i in range(len(given))]
        arrays = {key: _array(value) for key, value in zip(called, given, strict=True)}
    if not arrays:
        raise InputError(f"{what} holds no arrays. Give at least one real sample")
    truth = None if targets is None else _array(targets)
    check_rows(arrays if truth is None else arrays | {TARGETS: truth}, what)
    return Samples(arrays=arrays, targets=truth, words=f"{len(next(iter(arrays.values()))):,} samples in memory")


def _array(value: Array) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
