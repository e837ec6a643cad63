"""Writes the app of a device: checks that it can run the bundles, then makes the folder whole or not at all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..bundle.bundle import Bundle
from ..command_line import command_line
from ..errors import BundleError, UsageError
from ..files import check_output, folder_atomically
from ..worker.policy import NO_CODE, Policy
from .device import AppRequest, Device


@dataclass(frozen=True, kw_only=True)
class App:
    """An app that was written."""

    folder: Path
    """Where it is."""
    device: str
    """What it is for."""
    bundles: tuple[tuple[str, str], ...]
    """Name and status of each bundle inside."""
    bytes: int
    """All its files together."""
    next: tuple[str, ...]
    """The commands that the user types next."""


def write_app(
    device: Device,
    paths: Sequence[Path],
    out: Path,
    *,
    title: str | None = None,
    single_file: bool = False,
    minimal: bool = False,
    webgpu: bool = False,
    policy: Policy = NO_CODE,
) -> App:
    """Writes the app of `device` for these bundles into `out`.

    Args:
        paths: bundle folders or .zip files, all of one model.
        out: a folder that is not there yet, or an empty one.
        title: what the app is called; the model's name without it.
        policy: the key that must verify the bundles' signatures, if any.
    Raises:
        UsageError: an option that the device does not know, bundles of different models, a place that is not free.
        BundleError: a bundle is damaged, or of a kind that the device cannot run.
    """
    for option, asked in (("single_file", single_file), ("minimal", minimal), ("webgpu", webgpu)):
        if asked and option not in device.options:
            raise UsageError(f"{device.name} has no --{option.replace('_', '-')}. Leave it out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already, and is not an empty folder. Give another --out, or remove it")
    check_output(out, paths)
    with ExitStack() as stack:
        bundles = tuple(stack.enter_context(policy.look(path)) for path in paths)
        _check(device, bundles)
        request = AppRequest(
            bundles=bundles,
            out=out,
            title=title or bundles[0].manifest.model,
            single_file=single_file,
            minimal=minimal,
            webgpu=webgpu,
        )
        with folder_atomically(out, replace=False) as staging:
            after = device.write(request, staging)
        return App(
            folder=out,
            device=device.name,
            bundles=tuple((bundle.name, bundle.manifest.status) for bundle in bundles),
            bytes=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
            next=tuple(command.replace("{folder}", shlex.quote(str(out))) for command in after),
        )


def _check(device: Device, bundles: Sequence[Bundle]) -> None:
    if not bundles:
        raise UsageError("an app needs at least one bundle")
    models = list(dict.fromkeys(bundle.manifest.model for bundle in bundles))
    if len(models) > 1:
        raise UsageError(
            f"an app compares bundles of one model, found {' and '.join(models[:9])}. Make one app for each"
        )
    names = [bundle.name for bundle in bundles]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two bundles are called {twice[0]}. Give each once")
    for bundle in bundles:
        manifest = bundle.manifest
        if len(manifest.programs) > 1:
            raise BundleError(
                f"{bundle.source} holds {len(manifest.programs)} programs; the app for {device.name} runs one. Give "
                "a bundle of one program"
            )
        found = manifest.artifact.format
        if found not in device.formats:
            make = command_line("optimize", manifest.model, "--exporter", device.exporters[0])
            raise BundleError(
                f"{bundle.source} holds a model file of the format {found}, and {device.name} runs "
                f"{' or '.join(device.formats)}. `{make}` makes one"
            )
        if reason := device.refuses(manifest):
            raise BundleError(f"{bundle.source}: {reason}")
