"""The verbs that take a bundle out of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import names
from ..options import USE, Allow, BundlePaths, Json, Key, Signed, app, one_of, policy_of

Out = Annotated[Path, typer.Option(help="A folder that is not there yet.")]
SingleFile = Annotated[bool, typer.Option("--single-file", help="web: one HTML file that runs from disk.")]
WebGpu = Annotated[bool, typer.Option("--webgpu", help="web: with the engine for WebGPU, 27 MB more.")]
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
    single_file: SingleFile = False,
    webgpu: WebGpu = False,
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
    asked = {"single_file": single_file, "minimal": minimal, "webgpu": webgpu}
    run(device, bundles, out, title=title, **asked, as_json=as_json, policy=policy)


@app.command("web", rich_help_panel=USE)
def write_web(
    bundles: BundlePaths,
    out: Out,
    title: Title = None,
    single_file: SingleFile = False,
    webgpu: WebGpu = False,
    key: Key = None,
    require_signature: Signed = False,
    as_json: Json = False,
) -> None:
    """Write a web app that runs ONNX bundles of a model in the browser; short for `app web`.

    A folder of plain files for any web server. It works offline after the first load, and runs nothing before each
    bundle has passed its golden samples in that browser.
    """
    from edgekit.cli.app import write as run

    policy = policy_of(None, key=key, require_signature=require_signature)
    asked = {"single_file": single_file, "minimal": False, "webgpu": webgpu}
    run("web", bundles, out, title=title, **asked, as_json=as_json, policy=policy)
