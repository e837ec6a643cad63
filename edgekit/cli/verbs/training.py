"""The verbs that train, and quickstart, which goes the whole way once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.edge_runtime.errors import UsageError

from ..options import MAKE, Json, Model, Runs, app, finish


@app.command(rich_help_panel=MAKE)
def quickstart(
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"), runs: Runs = Path("runs")
) -> None:
    """Train a digit classifier, make seven bundles of it, check and measure each. Takes a minute or two."""
    from edgekit.cli.quickstart import quickstart as run

    finish(run(out=out, runs=runs))


@app.command(rich_help_panel=MAKE)
def models(as_json: Json = False) -> None:
    """List the models that can be trained and optimized by name."""
    from edgekit.cli.train import list_models

    list_models(as_json=as_json)


@app.command(rich_help_panel=MAKE)
def train(
    model: Model,
    runs: Runs = Path("runs"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: the model's own setting.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the model's own setting.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="32-true or bf16-mixed. Default: the model's own setting.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves, pictures and weights to the run's folder.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue after the last finished epoch.")] = False,
    epoch_samples: Annotated[
        int | None, typer.Option(help="Crops per epoch, for the models of chest CTs. Fewer suit a CPU.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a built-in model with the book's settings. Ctrl-C keeps the last finished epoch."""
    from edgekit.cli.train import train_model

    train_model(
        model,
        out=runs,
        epochs=epochs,
        seed=seed,
        device=device,
        precision=precision,
        tensorboard=tensorboard,
        resume=resume,
        epoch_samples=epoch_samples,
        json=as_json,
    )


@app.command(rich_help_panel=MAKE)
def reproduce(
    chapters: Annotated[
        str | None, typer.Option(help="Such as 1-8 or 2,7,14. Default: 1-8, or the chapters of --models.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--models", help="Only this model. Repeat for more.")] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Leave out this model. The report says how long it takes.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each model, each with its own seed.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Instead of each model's own setting. The report says so.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Trainings at the same time. Most use one CPU thread.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Where the results go. Default: results in the folder of the runs.")
    ] = None,
    runs: Runs = Path("runs/reproduction"),
    docs: Annotated[
        Path | None,
        typer.Option(help="Where REPRODUCTION.md and its figures go. Default: report in the folder of the runs."),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Write to results/ and docs/, as the repository of edgekit has them.")
    ] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing. Report on finished runs.")] = False,
) -> None:
    """Train the book's models and report its figures beside ours. Ctrl-C keeps what is done; run again to continue."""
    from edgekit.cli.reproduce import reproduce_models
    from edgekit.train.reproduction.reproduce import ReproductionRequest

    if publish and (out or docs):
        raise UsageError("--publish says where everything goes: leave out --out and --docs, or --publish")
    request = ReproductionRequest(
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
        publish=publish,
    )
    finish(reproduce_models(request, report_only=report_only))
