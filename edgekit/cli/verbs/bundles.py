"""The verbs for bundles that are there: check, sign, run, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import USE, Allow, BundlePath, BundlePaths, Json, Key, Signed, app, finish, policy_of


@app.command(rich_help_panel=USE)
def inspect(bundle: BundlePath, key: Key = None, as_json: Json = False) -> None:
    """Say what a bundle is, what it takes and gives, and what was proven of it. Checks every file, runs nothing.

    Attestations that lie beside the bundle are shown, and whether they are of it.
    """
    from edgekit.cli.inspect import inspect as run

    run(bundle, as_json=as_json, key=key)


@app.command(rich_help_panel=USE)
def verify(
    bundles: BundlePaths,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    attest: Annotated[
        bool, typer.Option("--attest", help="Write what was found on this device beside the bundle: NAME.attest.json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every file, replay the golden inputs in a child process, and compare with the float model's answers."""
    from edgekit.cli.bundles import verify as run

    policy = policy_of(allow, key=key, require_signature=require_signature)
    finish(run(bundles, as_json=as_json, policy=policy, attest=attest))


@app.command(rich_help_panel=USE)
def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or .zip, or an attestation beside one.")],
    key: Annotated[Path, typer.Option(help="A private EC key in PEM, without a password.")],
) -> None:
    """Sign a bundle, so that `verify --key` can tell who made it, or an attestation. An older signature is replaced.

    To make a pair of keys: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`, then
    `openssl ec -in key.pem -pubout -out public.pem`. Keep key.pem to yourself; give public.pem to devices.
    """
    from edgekit.cli.bundles import sign as run

    run(bundle, key)


@app.command(rich_help_panel=USE)
def pack(
    bundle: BundlePath, out: Annotated[Path | None, typer.Option(help="Default: the bundle's name with .zip.")] = None
) -> None:
    """Put a bundle into one .zip; the same bundle always gives the same bytes."""
    from edgekit.cli.bundles import pack as run

    run(bundle, out)


@app.command(rich_help_panel=USE)
def predict(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(help="Pictures: JPEG, PNG, WebP, TIFF, BMP or GIF.")],
    top: Annotated[int, typer.Option(min=1, help="How many answers to show for each.")] = 3,
    invert: Annotated[bool, typer.Option("--invert", help="Swap dark and light first (ink on paper).")] = False,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Answer for pictures with a bundle."""
    from edgekit.cli.bundles import predict as run

    policy = policy_of(allow, key=key, require_signature=require_signature)
    finish(run(bundle, images, top=top, invert=invert, as_json=as_json, policy=policy))


@app.command(rich_help_panel=USE)
def demo(
    bundles: Annotated[Path, typer.Option(help="The folder of bundles to show.")] = Path("bundles"),
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    allow: Allow = None,
) -> None:
    """Compare the full and the quantized model side by side in the browser, on this machine only."""
    from edgekit.demo_app.launch import launch

    policy = policy_of(allow)
    launch(bundles, port=port, open_browser=browser, allow=policy.allow)
