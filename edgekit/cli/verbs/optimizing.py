"""`edgekit optimize` and `edgekit report`.

The options of `optimize` are the fields of `edgekit.optimize.Request`, which takes seconds to import: their names,
defaults and texts stand here once more, and `tests/optimize/test_request.py` compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import names
from ..options import MAKE, Json, Quick, Runs, app, finish, one_of, starting

OWN = "A model of your own"
HELP = f"""Export and quantize a trained model in every way that works, and deliver only what is proven on real samples.

Your own model needs real samples: `--calibration`, and `--validation` for its accuracy. See docs/OWN_MODEL.md.

Recipes, what is done to the weights:

{names.listed(names.RECIPES)}

Exporters, what file comes out:

{names.listed(names.EXPORTERS)}
"""


@app.command(rich_help_panel=MAKE, help=HELP)
def optimize(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="A built-in model, torchvision:NAME, timm:NAME, or package.module:callable or file.py:callable that "
            "returns an nn.Module.",
            autocompletion=starting(names.models),
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors file or a state dict. Default: the trained run's, or the source's own."),
    ] = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", help="Only this recipe, listed above. Repeat for more.", autocompletion=one_of(names.RECIPES)
        ),
    ] = None,
    exporters: Annotated[
        list[str] | None,
        typer.Option(
            "--exporter",
            help="Only this exporter, listed above. Repeat for more. aot runs only when it is named here.",
            autocompletion=one_of(names.EXPORTERS),
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Only what this runs: android, ios, linux-arm64, linux-x86, server or web.",
            autocompletion=one_of(names.TARGETS),
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"),
    runs: Runs = Path("runs"),
    max_batch: Annotated[
        int, typer.Option(min=1, help="Make bundles with a free batch, from 1 to this many samples in one run.")
    ] = 1,
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="How much of the float accuracy may be lost: 0.01 is 1 %.")
    ] = 0.01,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Keep a bundle that misses its gate, stamped UNVERIFIED.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail unless every bundle is verified: one that is undecided, or of unknown accuracy, is not enough.",
        ),
    ] = False,
    objective: Annotated[
        str,
        typer.Option(help="What the best bundle should be best in: latency, size or memory. Default: size and speed."),
    ] = "",
    time_budget_s: Annotated[
        str | None,
        typer.Option(
            "--time-budget",
            help="Such as 10m or 90s. The most promising combinations come first; those left over are not tried.",
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Make everything again, even bundles that have not changed since they were packed."
        ),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take the options from a results.json, to repeat that run, or from a JSON file of options. Options on "
            "the command line take precedence.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Real samples: a folder of pictures, or .npy, .npz, .h5.", rich_help_panel=OWN)
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Samples with true answers: one folder per class, a CSV of file,label, boxes in COCO's format "
            "(.json), or arrays with `targets`.",
            rich_help_panel=OWN,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the pictures that a COCO file names. Default: where the file is.", rich_help_panel=OWN
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            help="Further samples without true answers: they show how many answers flip, so fewer labels decide.",
            rich_help_panel=OWN,
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="One label per line, in the order of the outputs.", rich_help_panel=OWN)
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="classification, multi_label, regression, segmentation, detection or none. Default: what the outputs "
            "and the true answers suggest.",
            rich_help_panel=OWN,
            autocompletion=one_of(names.TASKS),
        ),
    ] = "",
    metric: Annotated[
        str,
        typer.Option(
            help="What bundles are held to instead of the task's own metric: iou for masks; average_precision_50 for "
            "boxes; f1, recall, precision or auc.",
            rich_help_panel=OWN,
        ),
    ] = "",
    score_threshold: Annotated[
        float | None,
        typer.Option(help="The lowest score of a box that counts, 0 to 1. Default: 0.05.", rich_help_panel=OWN),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(
            help="Drop a box that overlaps a surer one of its label by more than this, 0 to 1. Default: 0.5.",
            rich_help_panel=OWN,
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(help="Keep at most this many boxes of a picture. Default: 100.", rich_help_panel=OWN),
    ] = None,
    expect_accuracy: Annotated[
        float | None,
        typer.Option(help="What the float model should reach, such as 0.89: stop at once where it does not."),
    ] = None,
    name: Annotated[str, typer.Option(help="The name of the model in its bundles.", rich_help_panel=OWN)] = "",
    golden: Annotated[
        Path | None,
        typer.Option(
            help="The samples that may travel with every bundle: a folder of pictures, or .npy, .npz, .h5. Default: "
            "some of --validation.",
            rich_help_panel=OWN,
        ),
    ] = None,
    golden_licence: Annotated[str, typer.Option(help="The licence of the samples that travel, for the manifest.")] = "",
    weights_licence: Annotated[str, typer.Option(help="The licence of the weights, for the manifest.")] = "",
    sample_shape: Annotated[
        list[str] | None,
        typer.Option(help="Such as 1,3,224,224 or tokens=1,16:int64. Repeat for each input.", rich_help_panel=OWN),
    ] = None,
    calibration_samples: Annotated[
        int, typer.Option(min=1, help="Calibrate on at most this many samples.", rich_help_panel=OWN)
    ] = 256,
    random_samples: Annotated[
        bool,
        typer.Option(
            "--random-samples", help="Calibrate on noise. The bundles are stamped UNVERIFIED.", rich_help_panel=OWN
        ),
    ] = False,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="Keep the random initial weights, to try everything offline.",
            rich_help_panel=OWN,
        ),
    ] = False,
    resize: Annotated[
        str | None,
        typer.Option(help="How to bring a picture to its size: stretch or resize_crop.", rich_help_panel=OWN),
    ] = None,
    resize_to: Annotated[
        int | None,
        typer.Option(
            min=1, help="For resize_crop: scale the shorter side to this, then cut out the centre.", rich_help_panel=OWN
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="On a scale from 0 to 1, such as 0.485,0.456,0.406.", rich_help_panel=OWN)
    ] = None,
    std: Annotated[str | None, typer.Option(help="Such as 0.229,0.224,0.225.", rich_help_panel=OWN)] = None,
    no_normalise: Annotated[
        bool,
        typer.Option(
            "--no-normalise",
            help="The model takes pixel / 255: say so where neither --mean nor the source says how pixels are "
            "normalized.",
            rich_help_panel=OWN,
        ),
    ] = False,
    mode: Annotated[str | None, typer.Option(help="RGB or L (grey).", rich_help_panel=OWN)] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic or nearest.", rich_help_panel=OWN)
    ] = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Fills a request with what was typed. The help is `HELP`."""
    from edgekit.cli.optimize import optimize_command

    # Only what was typed: all other defaults are the record's, or the file's.
    typed = {name: value for name, value in context.params.items() if _typed(context, name)}
    finish(optimize_command(typed, file, as_json=as_json))


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return name not in ("file", "as_json") and source is not None and source.name == "COMMANDLINE"


@app.command(rich_help_panel=MAKE)
def report(
    results: Annotated[Path, typer.Argument(help="A results.json from `optimize`, `quickstart` or `benchmark --out`.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html beside the results.")] = None,
) -> None:
    """Turn a measurement into one HTML file with plots, which opens anywhere, offline."""
    from edgekit.cli.report import report as run

    run(results, out)
