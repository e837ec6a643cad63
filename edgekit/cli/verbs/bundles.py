"""The verbs for finished bundles: check, sign, pack, run, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.edge_runtime.errors import UsageError

from ..options import USE, Allow, BundlePath, BundlePaths, EngineName, Json, Key, On, Signed, app, finish, policy_of


@app.command(rich_help_panel=USE)
def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or .zip, or a folder that holds some.")],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what a bundle is, its inputs and outputs, and what was proven. Checks every file and runs nothing.

    Also shows the attestations beside the bundle, and whether they belong to it. Of a folder of bundles: one row each.
    """
    from edgekit.cli.inspect import inspect_all as run

    finish(run(bundle, as_json=as_json, key=key))


@app.command(rich_help_panel=USE)
def verify(
    bundles: BundlePaths,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    engine: EngineName = None,
    attest: Annotated[
        bool,
        typer.Option("--attest", help="Also write the result on this device beside the bundle, as NAME.attest.json."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail unless every bundle is verified: undecided, say, is not enough.")
    ] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Check every file, run the golden inputs in a child process, and compare with the float model's answers."""
    policy = policy_of(allow, key=key, require_signature=require_signature)
    if on is not None:
        from edgekit.cli.remote import verify as run_there

        if engine is not None or attest:
            raise UsageError("--engine and --attest are of this machine: leave them out with --on")
        finish(run_there(bundles, on, as_json=as_json, strict=strict, policy=policy))
        return
    from edgekit.cli.bundles import verify as run

    finish(run(bundles, engine=engine, as_json=as_json, policy=policy, attest=attest, strict=strict))


@app.command(rich_help_panel=USE)
def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or .zip, or an attestation beside one.")],
    key: Annotated[Path, typer.Option(help="A private EC key in PEM, without a password.")],
) -> None:
    """Sign a bundle, so that `verify --key` can tell who made it, or an attestation. Replaces an older signature.

    To make a pair of keys: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`, then
    `openssl ec -in key.pem -pubout -out public.pem`. Keep key.pem secret; give public.pem to devices.
    """
    from edgekit.cli.bundles import sign as run

    run(bundle, key)


@app.command(rich_help_panel=USE)
def pack(
    bundle: BundlePath, out: Annotated[Path | None, typer.Option(help="Default: the bundle's name with .zip.")] = None
) -> None:
    """Pack a bundle into one .zip. The same bundle always gives the same bytes."""
    from edgekit.cli.bundles import pack as run

    run(bundle, out)


@app.command(rich_help_panel=USE)
def predict(
    bundle: BundlePath,
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures: JPEG, PNG, WebP, TIFF, BMP or GIF.")] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="For models of arrays: FILE.npy, NAME=FILE.npy for each of several inputs, or FILE.npz with all of "
            "them. A file holds one sample, or many.",
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option("--row", help="For models of one row of numbers: 7.4,0.7,0. Repeat for more rows."),
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="For models of characters: the text before. Repeat for more.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels to show for each picture.")] = 3,
    invert: Annotated[bool, typer.Option("--invert", help="Invert the picture first, such as ink on paper.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write all outputs to this .npz, for a program to read.")] = None,
    engine: EngineName = None,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Run a bundle on pictures, arrays, rows of numbers or text, and print its answers."""
    from edgekit.cli.predict import Given
    from edgekit.cli.predict import predict as run

    policy = policy_of(allow, key=key, require_signature=require_signature)
    given = Given(images=images or (), files=files or (), rows=rows or (), texts=texts or (), invert=invert)
    finish(run(bundle, given, top=top, engine=engine, save_to=out, as_json=as_json, policy=policy))


@app.command(rich_help_panel=USE)
def demo(
    bundles: Annotated[Path, typer.Option(help="The folder of bundles to show.")] = Path("bundles"),
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
) -> None:
    """Compare the full and the quantized model side by side in a browser. Serves this machine only."""
    from edgekit.demo_app.launch import launch

    policy = policy_of(allow, key=key, require_signature=require_signature)
    launch(bundles, port=port, open_browser=browser, allow=policy.allow, key=policy.key)
