"""The device's verbs: inspect, verify, pack, predict, benchmark. Each does one thing and prints it, or gives JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from . import measurement
from .benchmark import QUICK, BenchmarkResult, Settings, bundle_candidate, measure
from .bundle import Bundle, find_bundles
from .decode import to_plain
from .errors import EdgekitError, InputError, UsageError
from .manifest import Manifest, TensorSpec
from .regression import Estimate
from .replay import ReplayResult, replay
from .table import Subject, bytes_text, metric_name, metric_text, value_text
from .tasks import TASKS, Answer, task
from .terminal import err, out, print_measurement, progress
from .worker_process import Worker


def inspect(path: Path, *, as_json: bool) -> None:
    """Prints what a bundle says of itself, after its checksums were verified. Runs nothing."""
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
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
            f"{stage.stage:>20}  {'passed' if stage.passed else 'MISSED'}: SQNR {stage.sqnr_db} dB, {stage.held_to}"
        )


def verify(paths: Sequence[Path], *, as_json: bool) -> bool:
    """Opens each bundle, replays its golden inputs in a child process, and says how close the answers are.

    Goes on past a bundle that fails; returns whether all passed.
    """
    found: list[ReplayResult | EdgekitError] = []
    for path in _expand(paths):
        try:
            found.append(replay(path))
        except EdgekitError as error:
            found.append(error)
        if not as_json:
            _print_replay(path, found[-1])
    if as_json:
        print_json([{"error": str(f), "passed": False} if isinstance(f, EdgekitError) else asdict(f) for f in found])
    return all(isinstance(f, ReplayResult) and f.passed for f in found)


def pack(path: Path, target: Path | None) -> Path:
    """Packs a bundle folder into one deterministic `.zip` and opens that, as a device would."""
    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
        zipped = bundle.save_zip(target or Path(f"{bundle.folder}.zip"))
    Bundle.open(zipped).close()
    name = escape(str(zipped))
    out.print(f"{name} ({bytes_text(zipped.stat().st_size)}). Next: edgekit verify {name}", soft_wrap=True)
    return zipped


def predict(path: Path, images: Sequence[Path], *, top: int, invert: bool, as_json: bool) -> bool:
    """Answers for pictures, one line each. A picture that cannot be read is named; returns whether all were read."""
    from .preprocess import load_image  # Pillow is loaded by the one verb that reads pictures

    with Bundle.open(path) as bundle, Worker.for_bundle(bundle.folder) as worker:
        manifest = bundle.manifest
        if manifest.preprocessing is None:
            raise UsageError(
                f"{path} takes arrays, not pictures: {_tensors(manifest.inputs)}. From Python: "
                "edge_runtime.load_engine(edge_runtime.Bundle.open(PATH)).run({NAME: ARRAY})"
            )
        warn_unverified(manifest)
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


def benchmark(paths: Sequence[Path], *, threads: int, quick: bool, save_to: Path | None, as_json: bool) -> None:
    """Measures bundles against each other and prints the table; the first float bundle is the baseline."""
    folders = _expand(paths)
    manifests = [_manifest(path) for path in folders]
    for manifest in manifests:
        warn_unverified(manifest)
    chosen = QUICK if quick else Settings()
    settings = Settings(**(asdict(chosen) | {"num_threads": threads}))
    with progress("Measuring, interleaved", quiet=as_json) as on_progress:
        results = measure([bundle_candidate(path) for path in folders], settings, on_progress=on_progress)
    baseline = next((r for r, m in zip(results, manifests, strict=True) if m.recipe == "fp32"), results[0])
    measured = from_bundles(manifests, results, baseline)
    if save_to is not None:
        measurement.save(measured, results, save_to)
    if as_json:
        print_json(to_plain(measured))
    else:
        print_measurement(measured)


def from_bundles(
    manifests: Sequence[Manifest], results: Sequence[BenchmarkResult], baseline: BenchmarkResult
) -> measurement.Measurement:
    """Rows of bundles against one of them."""
    return measurement.measurement(
        ", ".join(dict.fromkeys(manifest.model for manifest in manifests)),
        [Subject.of(manifest) for manifest in manifests],
        results,
        baseline,
        stages={manifest.name: manifest.stages for manifest in manifests},
        notes={manifest.name: manifest.provenance for manifest in manifests},
    )


def print_json(value: object) -> None:
    """Machine-readable answers go to stdout, alone."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def warn_unverified(manifest: Manifest) -> None:
    """Every tool that opens an unverified bundle says so."""
    if manifest.status != "verified":
        err.print(f"[bold red]UNVERIFIED[/bold red] {manifest.name} missed a stage or its accuracy gate when packed")


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
    return "; ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in specs)


def _labels_are(manifest: Manifest) -> str:
    known = TASKS.get(manifest.task)
    return known.labels_are if known else "labels"


def _manifest(path: Path) -> Manifest:
    with Bundle.open(path) as bundle:
        return bundle.manifest


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Bundles named one by one, or all bundles of a folder."""
    found = []
    for path in paths:
        # A folder without bundles is taken for a bundle without a manifest, and refused as one.
        found += (find_bundles(path) if path.is_dir() else []) or [path]
    return found


def _print_replay(path: Path, found: ReplayResult | EdgekitError) -> None:
    if isinstance(found, EdgekitError):
        out.print(f"[red]✗[/red] {escape(str(path))}: {escape(str(found))}", soft_wrap=True)
        return
    mark = "[green]✓[/green]" if found.passed else "[red]✗[/red]"
    stamp = "" if found.status == "verified" else " [bold red]UNVERIFIED[/bold red]"
    out.print(
        f"{mark} {found.name}{stamp}: SQNR {found.sqnr_db:.1f} dB, max |Δ| {found.max_abs:.2g}, agrees "
        f"{found.agreement:.1%} on {found.samples} real samples [dim](held to {found.held_to}; {found.engine}; "
        f"since packing max |Δ| {found.max_abs_since_packed:.2g})[/dim]",
        soft_wrap=True,
    )
