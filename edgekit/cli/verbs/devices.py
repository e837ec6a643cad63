"""The verbs that take a bundle out of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import names
from ..options import USE, Allow, BundlePaths, Json, Key, Signed, app, one_of, policy_of

Out = Annotated[Path, typer.Option(help="A folder that is not there yet.")]
Title = Annotated[str | None, typer.Option(help="What the app is called. Default: the model's name.")]


@app.command("app", rich_help_panel=USE)
def write_app(
    device: Annotated[
        str,
        typer.Argument(help=f"What it is for: {', '.join(names.DEVICES)}.", autocompletion=one_of(names.DEVICES)),
    ],
    bundles: BundlePaths,
    out: Out,
    title: Title = None,
    single_file: Annotated[bool, typer.Option("--single-file", help="web: one HTML file that runs from disk.")] = False,
    minimal: Annotated[
        bool, typer.Option("--minimal", help="linux-x86, linux-arm64: link only the kernels that these bundles need.")
    ] = False,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Write a complete small app around one or several bundles of a model, for a device without Python.

    It carries the bundles as they are, checks their files, replays their golden samples and shows how close the answers
    are and how long they take.
    """
    from edgekit.cli.app import write as run

    policy = policy_of(allow, key=key, require_signature=require_signature)
    run(device, bundles, out, title=title, single_file=single_file, minimal=minimal, as_json=as_json, policy=policy)
