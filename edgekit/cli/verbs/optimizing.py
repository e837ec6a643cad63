"""`edgekit optimize` and `edgekit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import MAKE, Json, Quick, Runs, app, finish

OWN = "A model of your own"


@app.command(rich_help_panel=MAKE)
def optimize(
    what: Annotated[
        str,
        typer.Argument(
            help="A model of the registry; or package.module:callable or file.py:callable that gives an nn.Module; "
            "or torchvision:NAME, timm:NAME."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors or a state dict; default: the trained run's, or the source's own."),
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Only this recipe; may be given again.")] = None,
    exporter: Annotated[
        list[str] | None, typer.Option(help="Only this exporter; may be given again. aot is made only so.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"),
    runs: Runs = Path("runs"),
    max_batch: Annotated[
        int, typer.Option(min=1, help="Leave the batch free, for 1 to this many rows in one run.")
    ] = 1,
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="How much of the float accuracy may be lost, relative.")
    ] = 0.01,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Keep a bundle that missed its gate, stamped unverified.")
    ] = False,
    objective: Annotated[
        str, typer.Option(help="What the best is the best in: latency, size or memory; default: size and speed.")
    ] = "",
    time_budget: Annotated[
        str | None, typer.Option(help="Like 10m or 90s: most promising first, the rest is left out.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make everything anew, also what has not changed since it was packed.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="Real samples: a folder of pictures, or .npy, .npz, .h5.", rich_help_panel=OWN)
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Samples with true answers: one folder a class, a CSV of file,label, or arrays with `targets`.",
            rich_help_panel=OWN,
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="One label a line, in the order of the outputs.", rich_help_panel=OWN)
    ] = None,
    task: Annotated[
        str,
        typer.Option(help="classification (puts a softmax behind logits), regression or none.", rich_help_panel=OWN),
    ] = "",
    name: Annotated[str, typer.Option(help="What the bundles are called.", rich_help_panel=OWN)] = "",
    sample_shape: Annotated[
        list[str] | None,
        typer.Option(help="Like 1,3,224,224, or tokens=1,16:int64; again for each further input.", rich_help_panel=OWN),
    ] = None,
    calibration_samples: Annotated[
        int, typer.Option(min=1, help="Calibrate on at most so many of them.", rich_help_panel=OWN)
    ] = 256,
    random_samples: Annotated[
        bool,
        typer.Option(
            "--random-samples", help="Calibrate on noise; bundles are stamped unverified.", rich_help_panel=OWN
        ),
    ] = False,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="Weights as they are drawn, to try the way offline.", rich_help_panel=OWN
        ),
    ] = False,
    resize: Annotated[str | None, typer.Option(help="stretch or resize_crop.", rich_help_panel=OWN)] = None,
    resize_to: Annotated[
        int | None, typer.Option(min=1, help="Scale the shorter side to this, then cut.", rich_help_panel=OWN)
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="On the scale 0 to 1, like 0.485,0.456,0.406.", rich_help_panel=OWN)
    ] = None,
    std: Annotated[str | None, typer.Option(help="Like 0.229,0.224,0.225.", rich_help_panel=OWN)] = None,
    mode: Annotated[str | None, typer.Option(help="RGB or L (grey).", rich_help_panel=OWN)] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic or nearest.", rich_help_panel=OWN)
    ] = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Export and quantize a trained model every way it can go; deliver only what was proven on real samples.

    A model of your own needs real samples: `--calibration`, and `--validation` for its accuracy. See docs/OWN_MODEL.md.
    """
    from edgekit.cli.optimize import optimize_model, seconds_of
    from edgekit.cli.optimize_own import optimize_own, wishes_of
    from edgekit.optimize.options import Options
    from edgekit.optimize.user_model.sources import is_registered

    options = Options(
        recipes=tuple(recipe or ()),
        exporters=tuple(exporter or ()),
        out=out,
        max_drop=max_drop,
        max_batch=max_batch,
        allow_unverified=allow_unverified,
        quick=quick,
        objective=objective,
        time_budget_s=None if time_budget is None else seconds_of(time_budget),
        again=again,
    )
    wishes = wishes_of(
        what,
        calibration=calibration,
        validation=validation,
        labels=labels,
        task=task,
        name=name,
        sample_shape=sample_shape,
        calibration_samples=calibration_samples,
        random_samples=random_samples,
        random_weights=random_weights,
        resize=resize,
        resize_to=resize_to,
        mean=mean,
        std=std,
        mode=mode,
        interpolation=interpolation,
    )
    if is_registered(what):
        finish(optimize_model(what, weights=weights, runs=runs, options=options, as_json=as_json))
        return
    finish(
        optimize_own(
            what,
            wishes,
            weights=weights,
            random_weights=random_weights,
            runs=runs,
            options=options,
            as_json=as_json,
        )
    )


@app.command(rich_help_panel=MAKE)
def report(
    results: Annotated[Path, typer.Argument(help="A results.json of `optimize`, `quickstart` or `benchmark --out`.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html beside the results.")] = None,
) -> None:
    """Turn a measurement into one HTML file with plots that opens anywhere, offline."""
    from edgekit.cli.report import report as run

    run(results, out)
