"""`edgekit inspect`: what a bundle says of itself, and what lies beside it says of it. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.benchmark.table import bytes_text, metric_name, metric_text, value_text
from edgekit.edge_runtime.bundle.attestation import Beside, find_attestations
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing, Manifest, Program, StageResult, Verdict
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import EdgekitError, shown
from edgekit.edge_runtime.tasks.registry import TASKS

from .bundles import print_json, tensors_text, warn_unverified
from .terminal import escape, out

NOT_SAID = "not said"


def inspect(path: Path, *, as_json: bool, key: Path | None = None) -> None:
    """Prints what a bundle says of itself, after its checksums were verified, and the attestations beside it.

    Args:
        key: the public key that the bundle must be signed for, and that signatures of attestations are checked with.
    """
    with Bundle.open(path, private=key is not None) as bundle:
        if key is not None:
            from edgekit.edge_runtime.bundle import signature

            signature.check(bundle, key)
        manifest, signed = bundle.manifest, bundle.signed
        found = find_attestations(path, bundle.sha256)
    checked = {one.path: _signature_of(one, key) for one in found}
    if as_json:
        attestations = [_plain(one, checked[one.path]) for one in found]
        print_json(to_plain(manifest) | {"attestations": attestations})
        return
    warn_unverified(manifest)
    signature_text = "good" if key else "there is one; --key checks it" if signed else "none"
    for name, value in _lines(manifest, signature_text):
        out.print(f"[bold]{escape(f'{name:>20}')}[/bold]  {escape(value)}", soft_wrap=True)
    for stage in manifest.stages:
        out.print(_stage_line(stage, several=len(manifest.programs) > 1), soft_wrap=True)
    for one in found:
        out.print(f"[bold]{'attested':>20}[/bold]  {_attestation_text(one, checked[one.path])}", soft_wrap=True)


def _lines(manifest: Manifest, signature_text: str) -> Iterator[tuple[str, str]]:
    known, metric = TASKS.get(manifest.task), manifest.metrics[0] if manifest.metrics else None
    labels_are = known.labels_are if known else "labels"
    yield "bundle", f"{manifest.name} ({manifest.status}, format {manifest.format_version})"
    yield "model", f"{manifest.model}: {manifest.task}, {len(manifest.labels)} {labels_are}"
    yield "made by", f"{manifest.exporter}, recipe {manifest.recipe}"
    for program in manifest.programs:
        prefix = f"{program.name} " if len(manifest.programs) > 1 else ""
        for name, value in _program_lines(program):
            yield f"{prefix}{name}", value
    yield "signature", signature_text
    yield "picture", _picture_text(manifest.preprocessing)
    if manifest.verdict:
        yield "verdict", _verdict_text(manifest.verdict)
    if metric is None:
        yield "accuracy", "not measured"
    else:
        before = value_text(metric.name, metric.float_value)
        yield (
            metric_name(metric.name),
            f"{metric_text(metric)} on {metric.samples:,} samples; float {before}, same answer {metric.agreement:.2%}",
        )
    yield "labels", ", ".join(manifest.labels[:12]) + (", …" if len(manifest.labels) > 12 else "")
    if manifest.format_version > 1:
        weights, golden = manifest.origin.weights, manifest.origin.golden
        travel = {
            True: "may be handed on",
            False: "may not be handed on",
            None: "whether they may be handed on is not said",
        }
        yield "weights from", f"{weights.source or NOT_SAID}; licence: {weights.licence or NOT_SAID}"
        yield (
            "golden samples from",
            f"{golden.source or NOT_SAID}; licence: {golden.licence or NOT_SAID}; {travel[golden.may_travel]}",
        )
    yield "tools", ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items()))
    yield from manifest.provenance.items()


def _program_lines(program: Program) -> Iterator[tuple[str, str]]:
    artifact, golden = program.artifact, program.golden
    yield "file", f"{artifact.file}, {bytes_text(artifact.bytes)}, sha256 {artifact.sha256}"
    yield "takes", tensors_text(program.inputs)
    yield "gives", tensors_text(program.outputs)
    floors = list(dict.fromkeys(floor.text for floor in golden.floors.values()))
    held_to = floors[0] if len(floors) == 1 else "; ".join(f"{name} {f.text}" for name, f in golden.floors.items())
    yield "golden", f"{golden.samples:,} samples; a replay is held to {held_to}"
    if program.engines:
        yield "ran on", ", ".join(f"{run.name} {run.version} in {run.precision}" for run in program.engines)
    if program.requires or program.features:
        needs = [f"{engine} {version} or newer" for engine, version in sorted(program.requires.items())]
        because = [f"{name.replace('_', ' ')} {value}" for name, value in sorted(program.features.items())]
        yield "needs", "; ".join(part for part in (", ".join(needs), ", ".join(because)) if part)


def _picture_text(contract: ImagePreprocessing | None) -> str:
    if contract is None:
        return "none: takes arrays"
    if contract.dtype == "uint8":
        return contract.expects
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (contract.mean, contract.std))
    return f"{contract.expects}; the device normalises: mean {mean}, std {std}"


def _verdict_text(verdict: Verdict) -> str:
    said = f"{verdict.status} ({verdict.basis}): {verdict.reason}" if verdict.reason else verdict.status
    flips = f"; {verdict.flips:,} flips, {verdict.lost:,} lost, {verdict.won:,} won of {verdict.samples:,}"
    return said + (flips if verdict.samples else "")


def _stage_line(stage: StageResult, *, several: bool) -> str:
    of = " ".join(part for part in (stage.program if several else "", stage.output) if part)
    said = f"{'passed' if stage.passed else 'MISSED'}{f' {of}' if of else ''}: SQNR {stage.sqnr_db} dB, {stage.held_to}"
    return f"{escape(f'{stage.stage:>20}')}  {escape(said)}"


def _signature_of(one: Beside, key: Path | None) -> str:
    """ "none", "not checked", "good", or why it was refused."""
    if one.attestation is None or not one.signature_path.exists():
        return "none"
    if key is None:
        return "not checked"
    from edgekit.edge_runtime.bundle import signature

    try:
        signature.check_attestation(one.path, key)
    except EdgekitError as error:
        return shown(error)
    return "good"


def _plain(one: Beside, signature_text: str) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "fits": not one.unfit,
        "unfit": one.unfit,
        "signature": signature_text,
        "attestation": None if one.attestation is None else to_plain(one.attestation),
    }


def _attestation_text(one: Beside, signature_text: str) -> str:
    """One line: by what, where and when, and how it came out; or why the file says nothing of this bundle."""
    if one.attestation is None or one.unfit:
        return f"[red]✗[/red] {escape(f'{one.path.name}: {one.unfit}')}"
    found = one.attestation
    engines = ", ".join(dict.fromkeys(result.engine for result in found.results))
    worst = min(result.sqnr_db for result in found.results)
    said = {"none": "not signed", "not checked": "signed; --key checks it", "good": "signature good"}
    is_bad = signature_text not in said
    mark = "[green]✓[/green]" if found.passed and not is_bad else "[red]✗[/red]"
    return f"{mark} " + escape(
        f"{found.when} on {found.device.processor} ({found.device.system}) by {engines}: "
        f"{'held' if found.passed else 'MISSED'}, SQNR {worst:.1f} dB at the worst "
        f"({said.get(signature_text, signature_text)}; {one.path.name})"
    )
