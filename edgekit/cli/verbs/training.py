"""The verbs that train, and `quickstart`, which does everything once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import MAKE, Json, Model, Runs, app, finish


@app.command(rich_help_panel=MAKE)
def quickstart(
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"), runs: Runs = Path("runs")
) -> None:
    """Train a digit classifier, then make, verify and measure seven bundles of it. Takes a minute or two."""
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
    epochs: Annotated[int | None, typer.Option(min=1, help="Override the model's own number of epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Override the model's own seed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="32-true or bf16-mixed; overrides the model's own.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves, pictures and weights into the run's folder.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last finished epoch.")] = False,
    epoch_samples: Annotated[
        int | None, typer.Option(help="Crops in an epoch, for models of chest CTs; use fewer on a CPU.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model of the registry with the book's settings. After Ctrl-C, resume with --resume."""
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
    model: Annotated[list[str] | None, typer.Option("--models", help="Only this model; repeat for more.")] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Leave out this model; the report says how long it would take.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each model, each with its own seed.")] = 3,
    epochs: Annotated[
        int | None, typer.Option(help="Override each model's own number of epochs; the report says so.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Trainings at the same time; most use one CPU thread.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    runs: Runs = Path("runs/reproduction"),
    docs: Annotated[Path, typer.Option(help="Folder of REPRODUCTION.md and its figures.")] = Path("docs"),
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing; report on finished runs.")] = False,
) -> None:
    """Train the book's models and compare the results with the book's. After Ctrl-C, run it again to continue."""
    from edgekit.cli.reproduce import reproduce_models
    from edgekit.train.reproduction.reproduce import ReproductionRequest

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
    )
    finish(reproduce_models(request, report_only=report_only))
