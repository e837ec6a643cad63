"""The front door: one `edgekit` command. Each verb lives in the folder that does it and is imported when it is used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.errors import EdgekitError

app = typer.Typer(
    name="edgekit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From a trained PyTorch model to the smallest and fastest bundle that provably keeps its accuracy.\n\n"
    "Start with `edgekit quickstart`; then `edgekit demo` to look at what it made.",
)

MAKE, USE = "Make bundles", "Check, run and measure bundles (no torch needed for ONNX)"

Model = Annotated[str, typer.Argument(help="A model of the registry; `edgekit models` lists them.")]
BundlePath = Annotated[Path, typer.Argument(help="A bundle folder or .zip.")]
BundlePaths = Annotated[list[Path], typer.Argument(help="Bundle folders or .zip files, or a folder of them.")]
Runs = Annotated[Path, typer.Option(help="Where training runs and measurements are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else there.")]
Quick = Annotated[bool, typer.Option("--quick", help="Measure for a shorter time: rougher figures.")]


@app.command(rich_help_panel=MAKE)
def quickstart(
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"), runs: Runs = Path("runs")
) -> None:
    """Train a digit classifier, make seven bundles of it, prove and measure each. Takes a minute or two."""
    from optimize.quickstart import quickstart as run

    _finish(run(out=out, runs=runs))


@app.command(rich_help_panel=MAKE)
def models(as_json: Json = False) -> None:
    """List the models that can be trained and optimized by name."""
    from train.commands import list_models

    list_models(as_json=as_json)


@app.command(rich_help_panel=MAKE)
def train(
    model: Model,
    runs: Runs = Path("runs"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the model's own setting.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the model's own setting.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="32-true or bf16-mixed, instead of the model's own setting.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves, pictures and weights into the run's folder.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model of the registry with the book's settings; Ctrl-C keeps the last epoch."""
    from train.commands import train_model

    train_model(
        model,
        out=runs,
        epochs=epochs,
        seed=seed,
        device=device,
        precision=precision,
        tensorboard=tensorboard,
        resume=resume,
        json=as_json,
    )


@app.command(rich_help_panel=MAKE)
def reproduce(
    chapters: Annotated[
        str | None, typer.Option(help="Like 1-8 or 2,7,8. Default: all, or those of the models named.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--models", help="Only this model; may be given again.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Not this model; the report says how long it takes.")] = None,
    seeds: Annotated[int, typer.Option(help="How many runs of each model, each with another seed.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Instead of each model's own; the report says so.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Trainings at the same time; most use one CPU thread.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("results"),
    runs: Runs = Path("runs/reproduction"),
    docs: Annotated[Path, typer.Option(help="Where REPRODUCTION.md and its figures go.")] = Path("docs"),
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing: report on finished runs.")] = False,
) -> None:
    """Train the book's models and write a report: its figures beside ours. Ctrl-C keeps all; the same again goes on."""
    from train.reproduce import Request
    from train.reproduce import reproduce as run

    asked = Request(
        chapters=chapters,
        models=tuple(model or ()),
        skip=tuple(skip or ()),
        seeds=seeds,
        epochs=epochs,
        device=device,
        jobs=jobs,
        out=out,
        runs=runs,
        docs=docs,
    )
    _finish(run(asked, report_only=report_only))


@app.command(rich_help_panel=MAKE)
def optimize(
    model: Model,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors, or a state dict in .pt; default: the trained run's.")
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Only this recipe; may be given again.")] = None,
    exporter: Annotated[list[str] | None, typer.Option(help="Only this exporter; may be given again.")] = None,
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"),
    runs: Runs = Path("runs"),
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="How much of the float accuracy may be lost, relative.")
    ] = 0.01,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Keep a bundle that missed its gate, stamped unverified.")
    ] = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Export and quantize a trained model every way it can go; deliver only what was proven on real samples."""
    from optimize.commands import Options, optimize_model

    options = Options(
        recipes=tuple(recipe or ()),
        exporters=tuple(exporter or ()),
        out=out,
        max_drop=max_drop,
        allow_unverified=allow_unverified,
        quick=quick,
    )
    _finish(optimize_model(model, weights=weights, runs=runs, options=options, as_json=as_json))


@app.command(rich_help_panel=MAKE)
def report(
    results: Annotated[Path, typer.Argument(help="A results.json of `optimize`, `quickstart` or `benchmark --out`.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html beside the results.")] = None,
) -> None:
    """Turn a measurement into one HTML file with plots that opens anywhere, offline."""
    from optimize.report import report_command

    report_command(results, out)


@app.command(rich_help_panel=USE)
def inspect(bundle: BundlePath, as_json: Json = False) -> None:
    """Say what a bundle is, what it takes and gives, and what was proven of it. Checks every file, runs nothing."""
    from edge_runtime.commands import inspect as run

    run(bundle, as_json=as_json)


@app.command(rich_help_panel=USE)
def verify(bundles: BundlePaths, as_json: Json = False) -> None:
    """Check every file, replay the golden inputs in a child process, and compare with the float model's answers."""
    from edge_runtime.commands import verify as run

    _finish(run(bundles, as_json=as_json))


@app.command(rich_help_panel=USE)
def pack(
    bundle: BundlePath, out: Annotated[Path | None, typer.Option(help="Default: the bundle's name with .zip.")] = None
) -> None:
    """Put a bundle into one .zip; the same bundle always gives the same bytes."""
    from edge_runtime.commands import pack as run

    run(bundle, out)


@app.command(rich_help_panel=USE)
def predict(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(help="Pictures: JPEG, PNG, WebP, TIFF, BMP or GIF.")],
    top: Annotated[int, typer.Option(min=1, help="How many answers to show for each.")] = 3,
    invert: Annotated[bool, typer.Option("--invert", help="Swap dark and light first (ink on paper).")] = False,
    as_json: Json = False,
) -> None:
    """Answer for pictures with a bundle."""
    from edge_runtime.commands import predict as run

    _finish(run(bundle, images, top=top, invert=invert, as_json=as_json))


@app.command(rich_help_panel=USE)
def benchmark(
    bundles: BundlePaths,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for each inference.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Keep rows and raw samples in this .json (and .npz).")] = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Measure bundles against each other, interleaved; the first float one is what ratios refer to."""
    from edge_runtime.commands import benchmark as run

    run(bundles, threads=threads, quick=quick, save_to=out, as_json=as_json)


@app.command(rich_help_panel=USE)
def demo(
    bundles: Annotated[Path, typer.Option(help="The folder of bundles to show.")] = Path("bundles"),
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Compare the full and the quantized model side by side in the browser, on this machine only."""
    from demo_app.launch import launch

    launch(bundles, port=port, open_browser=browser)


def main() -> None:
    """Runs the command. Expected failures are one message and an exit status, never a traceback."""
    try:
        app()
    except EdgekitError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _complain(f"this needs {error.name}, which is not installed. Run: pip install 'edgekit[{extra}]'")
        sys.exit(1)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output (`| head`) is gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{place}")
        sys.exit(1)


# What a missing package belongs to, for verbs that need more than the base install.
_EXTRAS = {
    "torch": "optimize",
    "torchvision": "optimize",
    "lightning": "optimize",
    "safetensors": "optimize",
    "sklearn": "optimize",
    "h5py": "optimize",
    "pydicom": "optimize",
    "onnx": "optimize",
    "onnxscript": "optimize",
    "torchao": "optimize",
    "executorch": "optimize",
    "matplotlib": "optimize",
    "onnxruntime": "onnx",
    "streamlit": "demo",
    "altair": "demo",
}


def _finish(passed: bool) -> None:
    if not passed:
        raise typer.Exit(1)


def _complain(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
