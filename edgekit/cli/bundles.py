"""The device's verbs: verify, sign, pack, predict. Each does one thing and prints it, or gives JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.table import bytes_text
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.attestation import SUFFIX
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.manifest import Manifest, OutputSpec, TensorSpec
from edgekit.edge_runtime.bundle.status import Tone, stamp_of, tone_of, why_of
from edgekit.edge_runtime.errors import EdgekitError, InputError, UsageError
from edgekit.edge_runtime.tasks.registry import Answer, answers_to, task
from edgekit.edge_runtime.tasks.regression import Estimate
from edgekit.edge_runtime.worker.attest import attestation_of, write_attestation
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import OutputReplay, ReplayResult, check_task, replay_opened

from .terminal import err, escape, out

COLORS: dict[Tone, str] = {"good": "green", "fair": "yellow", "bad": "red"}


def verify(paths: Sequence[Path], *, as_json: bool, policy: Policy = NO_CODE, attest: bool = False) -> bool:
    """Opens each bundle, replays its golden inputs in a child process, and says how close the answers are.

    Goes on past a bundle that fails; returns whether all passed.

    Args:
        attest: also write what was found beside each bundle, as an attestation.
    """
    found: list[ReplayResult | EdgekitError] = []
    for path in _expand(paths):
        written: Path | None = None
        try:
            with policy.open(path) as bundle:
                found.append(replay_opened(bundle, policy=policy))
                if attest:
                    written = write_attestation(path, bundle, attestation_of(bundle, found[-1]))
        except EdgekitError as error:
            found.append(error)
        if not as_json:
            _print_replay(path, found[-1])
        if written:
            err.print(f"attested in {escape(str(written))}", soft_wrap=True)
    if as_json:
        print_json([{"error": str(f), "passed": False} if isinstance(f, EdgekitError) else asdict(f) for f in found])
    return all(isinstance(f, ReplayResult) and f.passed for f in found)


def sign(path: Path, key: Path) -> None:
    """Signs a sound bundle, or an attestation that lies beside one, with a private key."""
    from edgekit.edge_runtime.bundle import signature

    if path.name.endswith(SUFFIX):
        written = signature.sign_attestation(path, key)
        out.print(f"signed: {escape(str(written))}. Next: edgekit inspect BUNDLE --key PUBLIC.pem", soft_wrap=True)
        return
    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
    written, name = signature.sign(path, key), escape(str(path))
    out.print(f"signed: {escape(str(written))}. Next: edgekit verify {name} --key PUBLIC.pem", soft_wrap=True)


def pack(path: Path, target: Path | None) -> Path:
    """Packs a bundle folder into one deterministic `.zip` and opens that, as a device would."""
    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
        if target is None and not path.is_dir():
            raise UsageError(f"{path} is a .zip already. Name another file with --out")
        zipped = bundle.save_zip(target or Path(f"{bundle.folder}.zip"))
    Bundle.open(zipped).close()
    name = escape(str(zipped))
    out.print(f"{name} ({bytes_text(zipped.stat().st_size)}). Next: edgekit verify {name}", soft_wrap=True)
    return zipped


def predict(
    path: Path, images: Sequence[Path], *, top: int, invert: bool, as_json: bool, policy: Policy = NO_CODE
) -> bool:
    """Answers for pictures, one line each. A picture that cannot be read is named; returns whether all were read."""
    from edgekit.edge_runtime.preprocess.image import load_image  # Pillow is loaded by the one verb that reads pictures

    with policy.open(path) as bundle, policy.worker(bundle) as worker:
        manifest = bundle.manifest.only()
        if manifest.preprocessing is None:
            raise UsageError(
                f"{path} takes arrays, not pictures: {tensors_text(manifest.inputs)}. From Python: "
                "edgekit.load_engine(edgekit.Bundle.open(PATH)).run({NAME: ARRAY})"
            )
        check_task(bundle)
        warn(bundle)
        worker.load()
        answers: list[dict[str, Any]] = []
        for image in images:
            try:
                pixels = load_image(image, manifest.preprocessing, invert=invert)
            except InputError as error:
                answers.append({"image": str(image), "error": str(error)})
                err.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
                continue
            first = manifest.outputs[0]
            outputs = worker.run({manifest.inputs[0].name: pixels})[first.name]
            known = task(manifest.task)
            answer = answers_to(outputs, task=known, holds=first.holds, labels=manifest.labels)[0]
            said, line = _said(answer, top)
            answers.append({"image": str(image), **said})
            if not as_json:
                out.print(f"{escape(str(image))}: {line}", soft_wrap=True)
    if as_json:
        print_json({"bundle": manifest.name, "status": manifest.status, "answers": answers})
    return all("error" not in answer for answer in answers)


def print_json(value: object) -> None:
    """Machine-readable answers go to stdout, alone."""
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not readable))  # escaped where the encoding holds no more


def warn_unverified(manifest: Manifest) -> None:
    """Every tool that opens a bundle of which something was not proven says so."""
    if said := stamp_of(manifest.status):
        color = COLORS[tone_of(manifest.status)]
        err.print(f"[bold {color}]{said}[/bold {color}] {manifest.name}: {why_of(manifest.status)}", soft_wrap=True)


def warn(bundle: Bundle) -> None:
    """What a user should know before a bundle runs: that it is unverified, or proven on another engine."""
    warn_unverified(bundle.manifest)
    programs = [program.name for program in bundle.manifest.programs]
    notes = [note for name in programs for note in versions.check(bundle.manifest.only(name), bundle.path_of(name))]
    for note in dict.fromkeys(notes):
        err.print(f"[yellow]note:[/yellow] {escape(note)}", soft_wrap=True)


def _said(answer: Answer | Estimate, top: int) -> tuple[dict[str, Any], str]:
    """An answer as plain data and as one line: the `top` most probable labels, or every number."""
    if isinstance(answer, Estimate):
        return {"values": dict(answer.values)}, ", ".join(
            f"{escape(label)} [bold]{v:.4g}[/bold]" for label, v in answer.values
        )
    ranking = [{"label": label, "probability": p} for label, p in answer.ranking[:top]]
    others = ", ".join(f"{escape(label)} {p:.1%}" for label, p in answer.ranking[1:top])
    said = {"label": answer.label, "probability": answer.probability, "top": ranking}
    return said, f"[bold]{escape(answer.label)}[/bold] {answer.probability:.1%}  [dim]{others}[/dim]"


def tensors_text(specs: Sequence[TensorSpec]) -> str:
    """What a program takes or gives, in one line."""
    return "; ".join(
        f"{spec.name} {spec.dtype} {spec.shape_text}" + (f" ({spec.holds})" if isinstance(spec, OutputSpec) else "")
        for spec in specs
    )


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Bundles named one by one, or all bundles of a folder."""
    found = []
    for path in paths:
        # A folder without bundles is taken for a bundle without a manifest, and refused as one.
        found += (find_bundles(path) if path.is_dir() else []) or [path]
    return found


def _print_replay(path: Path, found: ReplayResult | EdgekitError) -> None:
    if isinstance(found, EdgekitError):
        said = str(found) if str(found).startswith(str(path)) else f"{path}: {found}"
        out.print(f"[red]✗[/red] {escape(said)}", soft_wrap=True)
        return
    mark = "[green]✓[/green]" if found.passed else "[red]✗[/red]"
    said = stamp_of(found.status)
    stamp = f" [bold {COLORS[tone_of(found.status)]}]{said}[/]" if said else ""
    stamp += {"good": " [green](signature good)[/green]", "not checked": " (signed; no --key to check it with)"}.get(
        found.signature, ""
    )
    together = f"; {found.batch} at once SQNR {found.batch_sqnr_db:.1f} dB to one at a time" if found.batch > 1 else ""
    packed = found.max_abs_since_packed
    since = "never run before" if packed is None else f"since packing max |Δ| {packed:.2g}"
    out.print(
        f"{mark} {found.name}{stamp}: SQNR {found.sqnr_db:.1f} dB, max |Δ| {found.max_abs:.2g}, agrees "
        f"{found.agreement:.1%} on {found.samples} real samples [dim](held to {found.held_to}; {found.engine}; "
        f"{since}{together})[/dim]",
        soft_wrap=True,
    )
    if len(found.outputs) > 1:
        for output in found.outputs:
            out.print(
                f"    {_output_line(output, several=len({o.program for o in found.outputs}) > 1)}", soft_wrap=True
            )
    for note in found.notes:
        out.print(f"    [yellow]{escape(note)}[/yellow]", soft_wrap=True)


def _output_line(output: OutputReplay, *, several: bool) -> str:
    name = f"{output.program} {output.output}" if several else output.output
    mark = "[green]✓[/green]" if output.passed else "[red]✗[/red]"
    return (
        f"{mark} {escape(name)}: SQNR {output.sqnr_db:.1f} dB, max |Δ| {output.max_abs:.2g}, agrees "
        f"{output.agreement:.1%} [dim](held to {output.held_to})[/dim]"
    )
