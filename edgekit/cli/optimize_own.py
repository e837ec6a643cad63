"""`edgekit optimize WHAT` for a model that is not of the registry, and `optimize.optimize` behind one way of working.

What is printed and written is the same as for the registry's models; nothing here exports or measures itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from edgekit.edge_runtime.errors import UsageError
from edgekit.optimize.deliver import Delivered, deliver
from edgekit.optimize.exporters import Exporter
from edgekit.optimize.options import Options, combinations
from edgekit.optimize.recipes import Recipe
from edgekit.optimize.user_model.eager import eager_of
from edgekit.optimize.user_model.given import Wishes
from edgekit.optimize.user_model.inputs import PictureWishes, Shape
from edgekit.optimize.user_model.model import OwnModel, own_model
from edgekit.optimize.user_model.picture_samples import read_labels
from edgekit.optimize.user_model.sources import is_registered, open_source

from .optimize import finish, sayer


def wishes_of(
    what: str,
    *,
    calibration: Path | None,
    validation: Path | None,
    labels: Path | None,
    task: str,
    name: str,
    sample_shape: Sequence[str] | None,
    calibration_samples: int,
    random_samples: bool,
    random_weights: bool,
    resize: str | None,
    resize_to: int | None,
    mean: str | None,
    std: str | None,
    mode: str | None,
    interpolation: str | None,
) -> Wishes:
    """What the command line says of a model of the user's own, checked.

    Raises:
        UsageError: something that cannot be read, or that does not belong to a model of the registry.
        MissingData, InputError: a labels file that is not there, or is none.
    """
    picture = PictureWishes(
        resize=resize,
        resize_to=resize_to,
        mean=_numbers("mean", mean),
        std=_numbers("std", std),
        mode=mode,
        interpolation=interpolation,
    )
    given = (calibration, validation, labels, task, name, sample_shape, random_samples, random_weights, picture)
    if is_registered(what) and any(given):
        raise UsageError(
            f"{what} is a model of the registry, which has its own data and settings. --weights, --recipe, --exporter, "
            "--max-batch and --max-drop work with it; the options for a model of your own do not"
        )
    return Wishes(
        calibration=calibration,
        validation=validation,
        labels=read_labels(labels) if labels else (),
        task=task,
        name=name,
        shapes=tuple(map(Shape.parse, sample_shape or ())),
        picture=picture,
        most=calibration_samples,
        random=random_samples,
    )


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--{option} {text!r} should be numbers with commas, like 0.485,0.456,0.406") from None


def optimize_own(
    what: str,
    wishes: Wishes,
    *,
    weights: Path | None,
    random_weights: bool,
    runs: Path,
    options: Options,
    as_json: bool,
) -> bool:
    """Packs, verifies and measures; results.json and report.html go to `runs`/NAME. Returns whether all passed."""
    pairs = combinations(options)
    classes = len(wishes.labels) or None
    source = open_source(what, weights=weights, random_weights=random_weights, classes=classes)
    own = own_model(source, wishes)
    say = sayer(as_json)
    results = runs / own.model.name / "results.json"
    delivered = deliver_own(own, pairs, options, say=say, quiet=as_json, earlier=results)
    return finish(delivered, results, options, as_json=as_json)


def deliver_own(
    own: OwnModel,
    pairs: Sequence[tuple[Exporter, Recipe]],
    options: Options,
    *,
    say: Callable[[str], None],
    quiet: bool,
    earlier: Path | None = None,
) -> Delivered:
    """`deliver` for a user's own model, after saying what is known of it and what cannot be proven.

    `earlier`: see `deliver`.

    Raises:
        UsageError: only recipes were asked for that need samples which are not there.
    """
    for text in own.says:
        say(f"  [dim]{escape(text)}[/dim]")
    left = [(e, r) for e, r in pairs if own.calibrated or not r.needs_calibration]
    skipped = list(dict.fromkeys(r.name for e, r in pairs if (e, r) not in left and not r.after))
    if not left:
        raise UsageError(
            f"{', '.join(dict.fromkeys(r.name for _, r in pairs))} cannot be made without samples. Give --calibration "
            "with real ones; --random-samples calibrates on noise, and stamps the bundles unverified"
        )
    if skipped:
        say(f"  [yellow]{', '.join(skipped)} left out: there are no samples to calibrate on (--calibration)[/yellow]")
    model = own.model.with_max_batch(options.max_batch)
    with eager_of(replace(own, model=model)) as eager:
        return deliver(model, left, options, eager, say=say, quiet=quiet, earlier=earlier)
