"""The verbs for chest CTs: chapters 9 to 14."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgekit.edge_runtime.command_line import EDGEKIT

from ..options import MAKE, Json, app, finish

luna = typer.Typer(
    no_args_is_help=True, help="Chest CTs for chapters 10 to 14: make synthetic ones, or prepare real ones."
)
app.add_typer(luna, name="luna", rich_help_panel=MAKE)


class _ScanUnlessNamed(TyperGroup):
    """Reads `edgekit nodules SCAN` as `edgekit nodules scan SCAN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = not args or args[0] in (*self.commands, "--help", "-h")
        return super().parse_args(ctx, args if known else ["scan", *args])


analysis = typer.Typer(
    cls=_ScanUnlessNamed,
    no_args_is_help=True,
    help=f"Find nodules in a chest CT: {EDGEKIT} nodules SCAN. Or in many scans, and count the hits: evaluate.",
)
app.add_typer(analysis, name="nodules", rich_help_panel=MAKE)

Jobs = Annotated[int, typer.Option(min=1, help="Scans to work on at the same time.")]
Ray = Annotated[
    str | None,
    typer.Option(help="Run each scan as a Ray task: local starts Ray with --jobs workers, host:port joins a cluster."),
]

Store = Annotated[Path | None, typer.Option(help="Default: luna/store in the data folder.")]
Weights = Annotated[str | None, typer.Option(help="book: the published checkpoints. The default if no file is given.")]
Segmenter = Annotated[Path | None, typer.Option(help="Weights of luna_unet, together with --classifier.")]
Classifier = Annotated[Path | None, typer.Option(help="Weights of luna_classifier.")]
NetBundles = Annotated[
    Path | None, typer.Option(help="Instead of weights: a folder with one bundle of each net, in any format.")
]


@luna.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where the scans go, in LUNA16's layout.")],
    scans: Annotated[int, typer.Option(help="How many scans to make.")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed makes other scans.")] = 1,
    slices: Annotated[int, typer.Option(help="Slices of each scan, 1.25 mm apart.")] = 120,
    side: Annotated[int, typer.Option(help="Pixels along a slice, 0.7 mm each. Real scans have 512.")] = 256,
    others: Annotated[int, typer.Option(min=1, help="Candidates in each scan that are not nodules.")] = 60,
) -> None:
    """Make SYNTHETIC chest CTs with nodules of known position and size. They show no patient."""
    from edgekit.cli.luna import synthesize as run

    run(folder, count=scans, seed=seed, slices=slices, side=side, others=others)


@luna.command("prepare")
def luna_prepare(
    folder: Annotated[Path, typer.Argument(help="The folder with subset0 to subset9 and the two lists.")],
    store: Store = None,
    jobs: Jobs = 1,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Cut out all candidates of LUNA16's scans once, so that training opens no whole scan. Run again to continue."""
    from edgekit.cli.luna import prepare as run

    finish(run(folder, store=store, jobs=jobs, ray=ray, as_json=as_json))


@luna.command("samples")
def luna_samples(
    store: Store = None,
) -> None:
    """Prepare the few real crops of the data folder. They are enough to check artifacts, too few to train on."""
    from edgekit.cli.luna import samples as run

    run(store=store)


@analysis.command("scan")
def nodules(
    scan: Annotated[Path, typer.Argument(help="A chest CT: a .mhd or .mha file, or a folder of DICOM slices.")],
    out: Annotated[Path, typer.Option(help="A new folder for the page, its pictures and nodules.json.")] = Path(
        "nodules"
    ),
    weights: Weights = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    malignancy: Annotated[
        Path | None, typer.Option(help="Weights of luna_malignancy, to rate how likely each finding is malignant.")
    ] = None,
    bundles: NetBundles = None,
    against: Annotated[
        Path | None, typer.Option(help="The --out of an earlier run on this scan, to list what changed.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many findings get a picture.")] = 20,
    as_json: Json = False,
) -> None:
    """Find nodules in a whole chest CT, as the book's chapter 14 does. For study only: not a medical device."""
    from edgekit.cli.nodules import nodules as run

    run(
        scan,
        out=out,
        weights=weights,
        segmenter=segmenter,
        classifier=classifier,
        malignancy=malignancy,
        bundles=bundles,
        against=against,
        top=top,
        as_json=as_json,
    )


@analysis.command("evaluate")
def nodules_evaluate(
    folder: Annotated[Path, typer.Argument(help="LUNA16: the folder with subset0 to subset9 and the list of nodules.")],
    out: Annotated[
        Path, typer.Option(help="Where the result of each scan and evaluation.json go. Run again to continue.")
    ] = Path("nodules-evaluation"),
    split: Annotated[str, typer.Option(help="validation (every tenth series) or all.")] = "validation",
    series: Annotated[Path | None, typer.Option(help="Instead of a split: a file with one series per line.")] = None,
    weights: Weights = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    malignancy: Annotated[Path | None, typer.Option(help="Weights of luna_malignancy, for one more column.")] = None,
    bundles: NetBundles = None,
    jobs: Jobs = 1,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Count over many scans which nodules were found and which findings are none: the book's confusion table."""
    from edgekit.cli.nodules_evaluate import nodules_evaluate as run

    finish(
        run(
            folder,
            out=out,
            split=split,
            series=series,
            weights=weights,
            segmenter=segmenter,
            classifier=classifier,
            malignancy=malignancy,
            bundles=bundles,
            jobs=jobs,
            ray=ray,
            as_json=as_json,
        )
    )
