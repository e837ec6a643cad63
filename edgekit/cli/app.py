"""The verb `app`: writes a device's app and says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgekit.edge_runtime.devices.app import write_app
from edgekit.edge_runtime.devices.registry import device
from edgekit.edge_runtime.format import bytes_text
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy

from .bundles import expand_folders
from .json_answer import print_json
from .terminal import err, escape, out, stamp_markup


def write(
    name: str,
    paths: Sequence[Path],
    target: Path,
    *,
    title: str | None,
    single_file: bool,
    minimal: bool,
    webgpu: bool,
    as_json: bool,
    policy: Policy = NO_CODE,
) -> None:
    """Writes the app into `target` and prints the commands that come next."""
    made = write_app(
        device(name),
        expand_folders(paths),
        target,
        title=title,
        single_file=single_file,
        minimal=minimal,
        webgpu=webgpu,
        policy=policy,
    )
    if as_json:
        print_json(asdict(made) | {"folder": str(made.folder)})
        return
    for bundle, status in made.bundles:
        if stamp := stamp_markup(status):
            err.print(f"{stamp} {escape(bundle)}", soft_wrap=True)
    out.print(f"{escape(str(made.folder))}: an app for {made.device}, {bytes_text(made.bytes)}", soft_wrap=True)
    for command in made.next:
        out.print(f"  {escape(command)}", soft_wrap=True)
