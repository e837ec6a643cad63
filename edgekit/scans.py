"""The verbs for chest CTs: chapters 9 to 14."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import MAKE, Json, app, finish

luna = typer.Typer(no_args_is_help=True, help="Chest CTs for chapters 10 to 14: make synthetic ones, prepare any.")
app.add_typer(luna, name="luna", rich_help_panel=MAKE)


@luna.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where the scans go, in LUNA16's own layout.")],
    scans: Annotated[int, typer.Option(help="How many.")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed, other scans.")] = 1,
    slices: Annotated[int, typer.Option(help="Of each scan, 1.25 mm apart.")] = 120,
    side: Annotated[int, typer.Option(help="Pixels of 0.7 mm along a slice; patients have 512.")] = 256,
    others: Annotated[int, typer.Option(min=1, help="Candidates of each scan that are no nodules.")] = 60,
) -> None:
    """Make SYNTHETIC chest CTs with nodules of known place and size. They show no patient."""
    from train.luna_commands import synthesize as run

    run(folder, count=scans, seed=seed, slices=slices, side=side, others=others)


@luna.command("prepare")
def luna_prepare(
    folder: Annotated[Path, typer.Argument(help="subset0 to subset9 with the two lists beside them.")],
    store: Annotated[Path | None, typer.Option(help="Default: luna/store in the data folder.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Scans that are read at the same time.")] = 1,
    as_json: Json = False,
) -> None:
    """Cut all candidates of LUNA16's scans once, so that training opens no whole scan. The same again goes on."""
    from train.luna_commands import prepare as run

    finish(run(folder, store=store, jobs=jobs, as_json=as_json))


@luna.command("samples")
def luna_samples(
    store: Annotated[Path | None, typer.Option(help="Default: luna/store in the data folder.")] = None,
) -> None:
    """Prepare the few real crops of the data folder, where it has them: to prove artifacts, too few to train on."""
    from train.luna_commands import samples as run

    run(store=store)


@app.command(rich_help_panel=MAKE)
def nodules(
    scan: Annotated[Path, typer.Argument(help="A chest CT: a .mhd or .mha file, or a folder of DICOM slices.")],
    out: Annotated[Path, typer.Option(help="Where the page, its pictures and nodules.json go; not there yet.")] = Path(
        "nodules"
    ),
    weights: Annotated[
        str | None, typer.Option(help="book: the published checkpoints. The default where no file is given.")
    ] = None,
    segmenter: Annotated[Path | None, typer.Option(help="Weights of luna_unet, together with --classifier.")] = None,
    classifier: Annotated[Path | None, typer.Option(help="Weights of luna_classifier.")] = None,
    malignancy: Annotated[
        Path | None, typer.Option(help="Weights of luna_malignancy: says of each finding how likely it is malignant.")
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="In place of weights: a folder with one bundle of each net, of any format.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many findings get a picture.")] = 20,
    as_json: Json = False,
) -> None:
    """Look for nodules in a whole chest CT, as the book's chapter 14 does. For study: no medical device."""
    from train.nodules_commands import nodules as run

    run(
        scan,
        out=out,
        weights=weights,
        segmenter=segmenter,
        classifier=classifier,
        malignancy=malignancy,
        bundles=bundles,
        top=top,
        as_json=as_json,
    )
