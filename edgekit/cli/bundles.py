"""The verbs for finished bundles: inspect, verify, sign, pack, predict. Each prints its answer, or gives it as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.manifest import Manifest, TensorSpec
from edgekit.edge_runtime.bundle.status import why_of
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import EdgekitError, InputError, UsageError
from edgekit.edge_runtime.format import (
    bytes_text,
    count_text,
    db_text,
    metric_name,
    metric_text,
    percent_text,
    value_text,
)
from edgekit.edge_runtime.tasks.classification import Answer
from edgekit.edge_runtime.tasks.registry import TASKS, task
from edgekit.edge_runtime.tasks.regression import Estimate
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import ReplayResult, check_task, replay

from .terminal import err, escape, out, stamp_markup


def inspect(path: Path, *, as_json: bool) -> None:
    """Prints what a bundle's manifest says, once its checksums were verified. Runs nothing."""
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
        "signature": "present; check it with `edgekit verify --key`" if signed else "none",
        "inputs": _tensors(manifest.inputs),
        "outputs": _tensors(manifest.outputs),
        "picture": manifest.preprocessing.expects if manifest.preprocessing else "none, takes arrays",
        metric_name(metric.name) if metric else "accuracy": (
            f"{metric_text(metric)} on {count_text(metric.samples, 'sample')}; float "
            f"{value_text(metric.name, metric.float_value)}; same answer to {percent_text(metric.agreement)} of them"
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
            f"{escape(f'{stage.stage:>20}')}  {'passed' if stage.passed else 'MISSED'}: SQNR {db_text(stage.sqnr_db)} "
            f"(required: {escape(stage.held_to)})",
            soft_wrap=True,
        )


def verify(paths: Sequence[Path], *, as_json: bool, policy: Policy = NO_CODE) -> bool:
    """Replays each bundle's golden inputs in a child process and prints how close the answers are.

    A bundle that fails does not stop the others. Returns whether all passed.
    """
    outcomes: list[ReplayResult | EdgekitError] = []
    for path in expand_folders(paths):
        try:
            outcomes.append(replay(path, policy=policy))
        except EdgekitError as error:
            outcomes.append(error)
        if not as_json:
            _print_outcome(path, outcomes[-1])
    if as_json:
        print_json(
            [{"error": str(one), "passed": False} if isinstance(one, EdgekitError) else asdict(one) for one in outcomes]
        )
    return all(isinstance(one, ReplayResult) and one.passed for one in outcomes)


def sign(path: Path, key: Path) -> None:
    """Signs a bundle with a private key, once its checksums were verified."""
    from edgekit.edge_runtime.bundle import signature

    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
    written, name = signature.sign(path, key), escape(str(path))
    out.print(f"Signed: {escape(str(written))}. Next: edgekit verify {name} --key PUBLIC.pem", soft_wrap=True)


def pack(path: Path, target: Path | None) -> Path:
    """Packs a bundle folder into one `.zip`, always with the same bytes, and opens it as a device would."""
    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
        if target is None and not path.is_dir():
            raise UsageError(f"{path} is already a .zip. To copy it, name the new file with --out")
        zipped = bundle.save_zip(target or Path(f"{bundle.folder}.zip"))
    Bundle.open(zipped).close()
    name = escape(str(zipped))
    out.print(f"{name} ({bytes_text(zipped.stat().st_size)}). Next: edgekit verify {name}", soft_wrap=True)
    return zipped


def predict(
    path: Path, images: Sequence[Path], *, top: int, invert: bool, as_json: bool, policy: Policy = NO_CODE
) -> bool:
    """Prints the answer for each picture, a line each, or why it cannot be read. Returns whether all could be read."""
    from edgekit.edge_runtime.preprocess.image import load_image  # Pillow is loaded by the one verb that reads pictures

    with policy.open(path) as bundle, policy.worker(bundle) as worker:
        manifest = bundle.manifest
        if manifest.preprocessing is None:
            raise UsageError(
                f"{path} takes arrays, not pictures: {_tensors(manifest.inputs)}. Run it from Python: "
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
            plain, line = _in_both_forms(answer, top)
            answers.append({"image": str(image), **plain})
            if not as_json:
                out.print(f"{escape(str(image))}: {line}", soft_wrap=True)
    if as_json:
        print_json({"bundle": manifest.name, "status": manifest.status, "answers": answers})
    return all("error" not in answer for answer in answers)


def print_json(value: object) -> None:
    """Prints a machine-readable answer, the only thing on stdout."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not is_utf8))  # escaped where the encoding lacks characters


def warn_unverified(manifest: Manifest) -> None:
    """Warns of a bundle of which something was not proven; every verb that opens one does."""
    if stamp := stamp_markup(manifest.status):
        err.print(f"{stamp} {manifest.name}: {escape(why_of(manifest.status))}", soft_wrap=True)


def warn(bundle: Bundle) -> None:
    """Warns of what a user should know before a bundle runs: that it is unverified, or was proven on another engine."""
    warn_unverified(bundle.manifest)
    for note in versions.check(bundle.manifest, bundle.model_path):
        err.print(f"[yellow]note:[/yellow] {escape(note)}", soft_wrap=True)


def _in_both_forms(answer: Answer | Estimate, top: int) -> tuple[dict[str, Any], str]:
    """An answer as plain data and as one line: the `top` most probable labels, or every number."""
    if isinstance(answer, Estimate):
        line = ", ".join(f"{escape(label)} [bold]{value:.4g}[/bold]" for label, value in answer.values)
        return {"values": dict(answer.values)}, line
    ranking = [{"label": label, "probability": p} for label, p in answer.ranking[:top]]
    others = ", ".join(f"{escape(label)} {percent_text(p)}" for label, p in answer.ranking[1:top])
    plain = {"label": answer.label, "probability": answer.probability, "top": ranking}
    return plain, f"[bold]{escape(answer.label)}[/bold] {percent_text(answer.probability)}  [dim]{others}[/dim]"


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return "; ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in specs)


def _labels_are(manifest: Manifest) -> str:
    known = TASKS.get(manifest.task)
    return known.labels_are if known else "labels"


def expand_folders(paths: Sequence[Path]) -> list[Path]:
    """The bundles among `paths`; a folder of bundles stands for all of them."""
    bundles = []
    for path in paths:
        # A folder without bundles is taken for a bundle without a manifest, and refused as one.
        bundles += (find_bundles(path) if path.is_dir() else []) or [path]
    return bundles


def _print_outcome(path: Path, outcome: ReplayResult | EdgekitError) -> None:
    if isinstance(outcome, EdgekitError):
        text = str(outcome) if str(outcome).startswith(str(path)) else f"{path}: {outcome}"
        out.print(f"[red]✗[/red] {escape(text)}", soft_wrap=True)
        return
    mark = "[green]✓[/green]" if outcome.passed else "[red]✗[/red]"
    stamp = f" {stamp_markup(outcome.status)}" if stamp_markup(outcome.status) else ""
    stamp += {
        "good": " [green](signature is good)[/green]",
        "not checked": " (signed; give --key to check the signature)",
    }.get(outcome.signature, "")
    batched = ""
    if outcome.batch > 1:
        batched = f"; in batches of {outcome.batch} against single samples: SQNR {db_text(outcome.batch_sqnr_db)}"
    out.print(
        f"{mark} {outcome.name}{stamp}: SQNR {db_text(outcome.sqnr_db)}, max |Δ| {outcome.max_abs:.2g}, agrees on "
        f"{percent_text(outcome.agreement)} of {outcome.samples} real samples [dim](required: {outcome.held_to}; "
        f"{outcome.engine}; max |Δ| since packing {outcome.max_abs_since_packed:.2g}{batched})[/dim]",
        soft_wrap=True,
    )
    for note in outcome.notes:
        out.print(f"    [yellow]{escape(note)}[/yellow]", soft_wrap=True)
