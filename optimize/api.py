"""`optimize`: a request in, verified bundles and what was measured out; the public function of this package.

The command, Python and a file all come this way. Nothing is printed: what happens is said as events.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.command_line import command_line
from edgekit.edge_runtime.errors import MissingData, UsageError
from edgekit.edge_runtime.files import check_output, require_writable
from edgekit.edge_runtime.locking import alone_in
from edgekit.train.registry import book_model

from .combinations import Combination, combinations
from .deliver import Delivered, MakeEager, deliver
from .deploy import DeployModel, deploy_book_model
from .eager import eager_candidate
from .events import OnEvent, RecipesLeftOut, Remark, ignore
from .user_model.eager import eager_of
from .user_model.model import own_model
from .user_model.request import Request
from .user_model.sources import Source, is_registered, of_module, open_source


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of the model.

    `delivered` holds all of it; `says` what was found out about a user's model and what is not proven.
    """

    delivered: Delivered
    says: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The float model first, then a row for each bundle, then those that failed with their `error`.

        Each has name, status, metric (with interval), model_bytes, p50_ms, times_smaller, times_faster and more.
        """
        return self.measured.rows

    @property
    def bundles(self) -> Mapping[str, Path]:
        """The folder of each finished bundle, by its row's name."""
        return {bundle.name: bundle.path for bundle in self.delivered.packed}

    @property
    def measured(self) -> Measurement:
        """What `edgekit report` makes a page of."""
        return self.delivered.measured

    @property
    def failed(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.error)


def optimize(request: Request, *, on_event: OnEvent = ignore) -> Result:
    """Exports and quantizes a trained model every way it can go; delivers what was proven on real samples.

    Args:
        request: the model, its samples, and all options, each explained under its field.
        on_event: hears what happens, as it happens (`edgekit.optimize.events`).

    Returns:
        the rows of the table, and where the bundles are.

    Raises:
        UsageError, InputError, MissingData: the model, samples or names do not fit, or another process works in the
            run's folder; nothing was made.
        Interrupted: Ctrl-C; finished bundles are kept.
        ExportError: not one bundle could be made, and the float model cannot be measured either.
    """
    pairs = combinations(request)
    _check_outputs(request)
    registered = isinstance(request.model, str) and is_registered(request.model)
    with (_of_registry if registered else _of_user)(request) as ready:
        for text in ready.says:
            on_event(Remark(text=text))
        pairs = pairs if ready.calibrated else _without_samples(pairs, on_event)
        earlier = results_path(request, ready.model.name)
        require_writable(Path(request.out))  # before the hours of work
        with alone_in(earlier.parent, make=False):
            delivered = deliver(ready.model, pairs, request, ready.make_eager, earlier=earlier, on_event=on_event)
    return Result(delivered=delivered, says=ready.says)


def _check_outputs(request: Request) -> None:
    """Raises UsageError where bundles or measurements would lie in what is read, as in a folder of samples."""
    # Not `images`, from which only the pictures that a list names are taken.
    given = (request.calibration, request.validation, request.unlabelled, request.golden, request.weights)
    read = [Path(one) for one in given if isinstance(one, (str, os.PathLike))]
    for output in (request.out, request.runs):
        check_output(Path(output), read)


def results_path(request: Request, model: str) -> Path:
    """Where the command keeps what it measured of a model, and where an earlier run's is looked for."""
    return Path(request.runs) / model / "results.json"


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A model ready to be packed, what is to be said of it, whether it can be calibrated, and its float candidate."""

    model: DeployModel
    says: tuple[str, ...] = ()
    calibrated: bool = True
    make_eager: MakeEager


@contextmanager
def _of_registry(request: Request) -> Iterator[_Ready]:
    """A registry's model, with its own data and the weights of its run."""
    name = str(request.model)
    book = book_model(name)
    if strangers := [f"--{field.replace('_', '-')}" for field in request.of_user_model]:
        raise UsageError(
            f"{name} is a model of the registry, which has its own data and settings. It does not take "
            f"{', '.join(strangers)}; --weights, --recipe, --exporter, --max-batch and --max-drop work with it"
        )
    weights = Path(request.weights or Path(request.runs) / name / "weights.safetensors")
    if not weights.is_file():
        raise MissingData(f"no weights at {weights}. Train them: {command_line('train', name)}, or give --weights FILE")
    model = deploy_book_model(book, weights).with_max_batch(request.max_batch)
    yield _Ready(model=model, make_eager=lambda samples: eager_candidate(model, weights, samples))


@contextmanager
def _of_user(request: Request) -> Iterator[_Ready]:
    """A user's own model, with the samples of the request."""
    own = own_model(_source(request), request)
    own = replace(own, model=own.model.with_max_batch(request.max_batch))
    with eager_of(own) as make_eager:
        yield _Ready(model=own.model, says=own.says, calibrated=own.calibrated, make_eager=make_eager)


def _source(request: Request) -> Source:
    if isinstance(request.model, str):
        return open_source(
            request.model,
            weights=request.weights,
            random_weights=request.random_weights,
            classes=len(request.labels) or None,
        )
    return of_module(request.model, weights=request.weights)


def _without_samples(pairs: list[Combination], on_event: OnEvent) -> list[Combination]:
    """The pairs whose recipes need no samples.

    Raises:
        UsageError: there are none.
    """
    left = [(exporter, recipe) for exporter, recipe in pairs if not recipe.needs_calibration]
    if not left:
        raise UsageError(
            f"{', '.join(dict.fromkeys(recipe.name for _, recipe in pairs))} cannot be made without samples. Give "
            "--calibration with real ones; --random-samples calibrates on noise, and stamps the bundles unverified"
        )
    if skipped := dict.fromkeys(recipe.name for _, recipe in pairs if recipe.needs_calibration and not recipe.after):
        on_event(RecipesLeftOut(recipes=tuple(skipped)))
    return left
