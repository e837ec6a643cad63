"""The device's verbs: inspect, verify, sign, pack, predict. Each does one thing and prints it, or gives JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.table import bytes_text, metric_name, metric_text, value_text
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.manifest import Manifest, TensorSpec
from edgekit.edge_runtime.bundle.status import PROVEN, stamp_of, why_of
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import EdgekitError, InputError, UsageError
from edgekit.edge_runtime.tasks.registry import TASKS, Answer, task
from edgekit.edge_runtime.tasks.regression import Estimate
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import ReplayResult, check_task, replay

from .terminal import err, escape, out


def inspect(path: Path, *, as_json: bool) -> None:
    """Prints what a bundle says of itself, after its checksums were verified. Runs nothing."""
    with Bundle.open(path) as bundle:
        manifest, signed = bundle.manifest, bundle.signed
    if as_json:
        print_json(to_plain(manifest))
        return
    warn_unverified(manifest)
    metric = manifest.metrics[0] if manifest.metrics else None
    lines = {
        "bundle": f"{manifest.name} ({manifest.status}, format {manifest.format_version})",
        "model": f"{manifest.model}: {manifest.task}, {len(manifest.labels)} {_labels_are(manifest)}",
        "made by": f"{manifest.exporter}, recipe {manifest.recipe}",
        "file": f"{manifest.artifact.file}, {bytes_text(manifest.artifact.bytes)}, sha256 {manifest.artifact.sha256}",
        "signature": "there is one; `edgekit verify --key` checks it" if signed else "none",
        "takes": _tensors(manifest.inputs),
        "gives": _tensors(manifest.outputs),
        "picture": manifest.preprocessing.expects if manifest.preprocessing else "none: takes arrays",
        metric_name(metric.name) if metric else "accuracy": (
            f"{metric_text(metric)} on {metric.samples:,} samples; "
            f"float {value_text(metric.name, metric.float_value)}, same answer {metric.agreement:.2%}"
            if metric
            else "not measured"
        ),
        "labels": ", ".join(manifest.labels[:12]) + (", …" if len(manifest.labels) > 12 else ""),
        "tools": ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items())),
    }
    for key, value in (lines | manifest.provenance).items():
        out.print(f"[bold]{escape(f'{key:>20}')}[/bold]  {escape(value)}", soft_wrap=True)
    for stage in manifest.stages:
        out.print(
            f"{escape(f'{stage.stage:>20}')}  {'passed' if stage.passed else 'MISSED'}: SQNR {stage.sqnr_db} dB, "
            f"{escape(stage.held_to)}",
            soft_wrap=True,
        )


def verify(paths: Sequence[Path], *, as_json: bool, policy: Policy = NO_CODE) -> bool:
    """Opens each bundle, replays its golden inputs in a child process, and says how close the answers are.

    Goes on past a bundle that fails; returns whether all passed.
    """
    found: list[ReplayResult | EdgekitError] = []
    for path in _expand(paths):
        try:
            found.append(replay(path, policy=policy))
        except EdgekitError as error:
            found.append(error)
        if not as_json:
            _print_replay(path, found[-1])
    if as_json:
        print_json([{"error": str(f), "passed": False} if isinstance(f, EdgekitError) else asdict(f) for f in found])
    return all(isinstance(f, ReplayResult) and f.passed for f in found)


def sign(path: Path, key: Path) -> None:
    """Signs a sound bundle with a private key."""
    from edgekit.edge_runtime.bundle import signature

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
        manifest = bundle.manifest
        if manifest.preprocessing is None:
            raise UsageError(
                f"{path} takes arrays, not pictures: {_tensors(manifest.inputs)}. From Python: "
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
            outputs = worker.run({manifest.inputs[0].name: pixels})[manifest.outputs[0].name]
            answer = task(manifest.task).answer(outputs, manifest.labels)[0]
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
        color = "yellow" if manifest.status in PROVEN else "red"
        err.print(f"[bold {color}]{said}[/bold {color}] {manifest.name}: {why_of(manifest.status)}", soft_wrap=True)


def warn(bundle: Bundle) -> None:
    """What a user should know before a bundle runs: that it is unverified, or proven on another engine."""
    warn_unverified(bundle.manifest)
    for note in versions.check(bundle.manifest, bundle.model_path):
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


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return "; ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in specs)


def _labels_are(manifest: Manifest) -> str:
    known = TASKS.get(manifest.task)
    return known.labels_are if known else "labels"


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
    stamp = f" [bold {'yellow' if found.status in PROVEN else 'red'}]{said}[/]" if said else ""
    stamp += {"good": " [green](signature good)[/green]", "not checked": " (signed; no --key to check it with)"}.get(
        found.signature, ""
    )
    together = f"; {found.batch} at once SQNR {found.batch_sqnr_db:.1f} dB to one at a time" if found.batch > 1 else ""
    out.print(
        f"{mark} {found.name}{stamp}: SQNR {found.sqnr_db:.1f} dB, max |Δ| {found.max_abs:.2g}, agrees "
        f"{found.agreement:.1%} on {found.samples} real samples [dim](held to {found.held_to}; {found.engine}; "
        f"since packing max |Δ| {found.max_abs_since_packed:.2g}{together})[/dim]",
        soft_wrap=True,
    )
    for note in found.notes:
        out.print(f"    [yellow]{escape(note)}[/yellow]", soft_wrap=True)
