"""`edgekit optimize` and `edgekit report`.

The options of `optimize` are the fields of `edgekit.optimize.Request`, which takes seconds to import: their names,
defaults and texts stand here once more, and `tests/optimize/test_request.py` compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import MAKE, Json, Quick, Runs, app, finish

OWN = "A model of your own"


@app.command(rich_help_panel=MAKE)
def optimize(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="A model of the registry; or package.module:callable or file.py:callable that gives an nn.Module; "
            "or torchvision:NAME, timm:NAME.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors file or a state dict; default: the trained run's, or the source's own."),
    ] = None,
    recipes: Annotated[list[str] | None, typer.Option("--recipe", help="Only this recipe; may be given again.")] = None,
    exporters: Annotated[
        list[str] | None,
        typer.Option("--exporter", help="Only this exporter; may be given again. aot is made only so."),
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
        str,
        typer.Option(help="What the best bundle is the best in: latency, size or memory; default: size and speed."),
    ] = "",
    time_budget_s: Annotated[
        str | None,
        typer.Option("--time-budget", help="Like 10m or 90s: most promising first, the rest is left out."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make everything anew, even what has not changed since it was packed.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take the options from a results.json, to repeat that run, or from a JSON file of them; those typed "
            "here go before.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Real samples: a folder of pictures, or .npy, .npz, .h5.", rich_help_panel=OWN)
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Samples with true answers: one folder per class, a CSV of file,label, or arrays with `targets`.",
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
        int, typer.Option(min=1, help="Calibrate on at most this many samples.", rich_help_panel=OWN)
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
            "--random-weights",
            help="Leave the weights as they are drawn, to try everything offline.",
            rich_help_panel=OWN,
        ),
    ] = False,
    resize: Annotated[
        str | None,
        typer.Option(help="How a picture is brought to its size: stretch or resize_crop.", rich_help_panel=OWN),
    ] = None,
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
    from edgekit.cli.optimize import optimize_command

    # Only what was typed: all other defaults are the record's, or the file's.
    typed = {name: value for name, value in context.params.items() if _typed(context, name)}
    finish(optimize_command(typed, file, as_json=as_json))


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return name not in ("file", "as_json") and source is not None and source.name == "COMMANDLINE"


@app.command(rich_help_panel=MAKE)
def report(
    results: Annotated[Path, typer.Argument(help="A results.json of `optimize`, `quickstart` or `benchmark --out`.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html beside the results.")] = None,
) -> None:
    """Turn a measurement into one HTML file with plots that opens anywhere, offline."""
    from edgekit.cli.report import report as run

    run(results, out)
