"""`edgekit inspect`: what a bundle's manifest says, and the attestations beside the bundle. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.attestation import Beside, find_attestations
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.manifest import (
    ImagePreprocessing,
    Manifest,
    Program,
    StageResult,
    Suppression,
    Verdict,
)
from edgekit.edge_runtime.choice import kept_choice
from edgekit.edge_runtime.command_line import EDGEKIT, command_line
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.engines import installed_engines
from edgekit.edge_runtime.errors import EdgekitError, shown
from edgekit.edge_runtime.format import (
    bytes_text,
    count_text,
    db_text,
    floor_text,
    metric_name,
    metric_text,
    percent_text,
    value_text,
)
from edgekit.edge_runtime.tasks.registry import TASKS
from edgekit.edge_runtime.worker.policy import Policy

from .bundles import tensors_text, warn_unverified
from .json_answer import print_json
from .terminal import escape, listing, out

NOT_STATED = "not stated"
_MAY_TRAVEL = {
    True: "may be passed on",
    False: "may not be passed on",
    None: "not stated whether they may be passed on",
}
_SIGNATURES = {"none": "not signed", "not checked": "signed; check it with --key", "good": "signature is good"}


def inspect_all(path: Path, *, as_json: bool, key: Path | None = None) -> bool:
    """`inspect` for a bundle; for a folder of bundles one row each. Returns whether all of them could be opened."""
    bundles = find_bundles(path) if path.is_dir() else []
    if bundles in ([], [path]):
        inspect(path, as_json=as_json, key=key)
        return True
    opened: dict[Path, Manifest | EdgekitError] = {}
    for one in bundles:
        try:
            with Policy(key=key).look(one) as bundle:
                opened[one] = bundle.manifest
        except EdgekitError as error:
            opened[one] = error
    if as_json:
        plain = {
            str(one): {"error": str(m)} if isinstance(m, EdgekitError) else to_plain(m) for one, m in opened.items()
        }
        print_json(plain)
    else:
        heads = ("bundle", "status", "size", "runs on", "accuracy")
        good = {one: manifest for one, manifest in opened.items() if isinstance(manifest, Manifest)}
        listing(heads, [_row(one, manifest) for one, manifest in good.items()])
        for one, found in opened.items():
            if isinstance(found, EdgekitError):
                text = str(found) if str(found).startswith(str(one)) else f"{one}: {found}"
                out.print(f"[red]✗[/red] {escape(text)}", soft_wrap=True)
        if good:
            out.print(f"[dim]More of one: {escape(command_line('inspect', next(iter(good))))}[/dim]", soft_wrap=True)
    return not any(isinstance(one, EdgekitError) for one in opened.values())


def _row(path: Path, manifest: Manifest) -> tuple[str, str, str, str, str]:
    metric = manifest.metrics[0] if manifest.metrics else None
    size = bytes_text(sum(program.artifact.bytes for program in manifest.programs))
    formats = ", ".join(dict.fromkeys(program.artifact.format for program in manifest.programs))
    value = f"{metric_name(metric.name)} {metric_text(metric)}" if metric else "not measured"
    return str(path), manifest.status.replace("_", " "), size, formats, value


def inspect(path: Path, *, as_json: bool, key: Path | None = None) -> None:
    """Prints what a bundle's manifest says, once its checksums were verified, and the attestations beside it.

    Args:
        key: the public key that the bundle must be signed for, and that the attestations' signatures are checked with.
    """
    with Policy(key=key).look(path) as bundle:
        manifest, signed, here = bundle.manifest, bundle.signed, _engines_here(bundle)
        attestations = find_attestations(path, bundle.sha256)
    checked = {one.path: _signature_of(one, key) for one in attestations}
    if as_json:
        found = [_plain(one, checked[one.path]) for one in attestations]
        print_json(to_plain(manifest) | {"attestations": found, "engines_here": here})
        return
    warn_unverified(manifest)
    signature_text = "good" if key else "present; check it with --key" if signed else "none"
    for name, value in _lines(manifest, signature_text):
        out.print(f"[bold]{escape(f'{name:>20}')}[/bold]  {escape(value)}", soft_wrap=True)
    for name, value in here.items():
        prefix = f"{name} " if len(here) > 1 else ""
        out.print(f"[bold]{escape(f'{prefix}engine here'):>20}[/bold]  {escape(value)}", soft_wrap=True)
    for stage in manifest.stages:
        out.print(escape(_stage_line(stage, several=len(manifest.programs) > 1)), soft_wrap=True)
    for one in attestations:
        out.print(f"[bold]{'attested':>20}[/bold]  {_attestation_text(one, checked[one.path])}", soft_wrap=True)


def _lines(manifest: Manifest, signature_text: str) -> Iterator[tuple[str, str]]:
    known, metric = TASKS.get(manifest.task), manifest.metrics[0] if manifest.metrics else None
    labels_are = known.labels_are if known else "labels"
    labels_are = (
        {"classes": "class"}.get(labels_are, labels_are.removesuffix("s")) if len(manifest.labels) == 1 else labels_are
    )
    yield "bundle", f"{manifest.name} ({manifest.status}, format {manifest.format_version})"
    yield "model", f"{manifest.model}: {manifest.task}, {len(manifest.labels)} {labels_are}"
    if known:
        yield "task", known.description
    if manifest.suppression:
        yield "boxes", _suppression_text(manifest.suppression)
    yield "made by", f"{manifest.exporter}, recipe {manifest.recipe}"
    for program in manifest.programs:
        prefix = f"{program.name} " if len(manifest.programs) > 1 else ""
        for name, value in _program_lines(program):
            yield f"{prefix}{name}", value
    yield "signature", signature_text
    yield "picture", _picture_text(manifest.preprocessing)
    if manifest.verdict:
        yield "verdict", _verdict_text(manifest.verdict)
    yield (
        metric_name(metric.name) if metric else "accuracy",
        f"{metric_text(metric)} on {count_text(metric.samples, 'sample')}; float "
        f"{value_text(metric.name, metric.float_value)}; same answer to {percent_text(metric.agreement)} of them"
        if metric
        else "not measured",
    )
    for further in manifest.metrics[1:]:
        float_text = value_text(further.name, further.float_value)
        yield metric_name(further.name), f"{metric_text(further)}; float {float_text}"
    yield "labels", ", ".join(manifest.labels[:12]) + (", …" if len(manifest.labels) > 12 else "")
    if manifest.format_version > 1:
        weights, golden = manifest.origin.weights, manifest.origin.golden
        yield "weights from", f"{weights.source or NOT_STATED}; licence: {weights.licence or NOT_STATED}"
        yield (
            "golden samples from",
            f"{golden.source or NOT_STATED}; licence: {golden.licence or NOT_STATED}; {_MAY_TRAVEL[golden.may_travel]}",
        )
    yield "tools", ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items()))
    for name, value in manifest.provenance.items():
        yield name.replace("_", " "), value


def _program_lines(program: Program) -> Iterator[tuple[str, str]]:
    artifact, golden = program.artifact, program.golden
    yield "file", f"{artifact.file}, {bytes_text(artifact.bytes)}, sha256 {artifact.sha256}"
    yield "inputs", tensors_text(program.inputs)
    yield "outputs", tensors_text(program.outputs)
    floors = list(dict.fromkeys(map(floor_text, golden.floors.values())))
    if len(floors) > 1:
        floors = [f"{name}: {floor_text(floor)}" for name, floor in golden.floors.items()]
    yield "golden", f"{count_text(golden.samples, 'sample')}; required of a replay: {'; '.join(floors)}"
    if program.engines:
        yield "ran on", ", ".join(f"{run.name} {run.version} in {run.precision}" for run in program.engines)
    if program.requires or program.features:
        needs = [f"{engine} {version} or newer" for engine, version in sorted(program.requires.items())]
        because = [f"{name.replace('_', ' ')} {value}" for name, value in sorted(program.features.items())]
        yield "needs", "; ".join(part for part in (", ".join(needs), ", ".join(because)) if part)


def _engines_here(bundle: Bundle) -> dict[str, str]:
    """What runs each program on this machine: the usual engine, others, and what was chosen among them and why."""
    texts = {}
    for program in bundle.manifest.programs:
        format = program.artifact.format
        found = [f"{name} {versions.installed_version(name)}".strip() for name in installed_engines(format)]
        chosen = kept_choice(bundle, program=program.name)
        if not found:
            texts[program.name] = f"none that runs {format} is installed"
        elif chosen is not None:
            texts[program.name] = f"{', '.join(found)}; auto takes {chosen.text}"
        elif len(found) > 1:
            advice = f"`{EDGEKIT} benchmark --engine auto` finds out which is fastest"
            texts[program.name] = f"{found[0]}; also installed: {', '.join(found[1:])}. {advice}"
        else:
            texts[program.name] = found[0]
    return texts


def _picture_text(contract: ImagePreprocessing | None) -> str:
    if contract is None:
        return "none, takes arrays"
    if contract.dtype == "uint8":
        return contract.expects
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (contract.mean, contract.std))
    return f"{contract.expects}; the device normalizes it: mean {mean}, std {std}"


def _suppression_text(suppression: Suppression) -> str:
    return (
        f"from a score of {suppression.score_threshold:g}; of one label, a box that overlaps a surer one by more than "
        f"{suppression.iou_threshold:g} (intersection over union) is dropped; at most {suppression.max_detections:,}"
    )


def _verdict_text(verdict: Verdict) -> str:
    reason = verdict.reason.removeprefix(f"{verdict.basis}: ")
    text = f"{verdict.status} ({verdict.basis}): {reason}" if reason else verdict.status
    if verdict.samples and verdict.basis != "value":  # one number for all samples knows no flips
        text += f"; {count_text(verdict.flips, 'flip')}, {verdict.lost:,} lost and {verdict.won:,} won"
        text += f" on {count_text(verdict.samples, 'sample')}"
    return text


def _stage_line(stage: StageResult, *, several: bool) -> str:
    of = " ".join(part for part in (stage.program if several else "", stage.output) if part)
    result = f"{'passed' if stage.passed else 'MISSED'}{f' {of}' if of else ''}: SQNR {db_text(stage.sqnr_db)}"
    return f"{stage.stage:>20}  {result} (required: {stage.held_to})"


def _signature_of(one: Beside, key: Path | None) -> str:
    """One of `_SIGNATURES`, or why the signature was refused."""
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
    """One line: by which engine, where and when, and the result; or why the file does not count for this bundle."""
    if one.attestation is None or one.unfit:
        return f"[red]✗[/red] {escape(f'{one.path.name}: {one.unfit}')}"
    attestation = one.attestation
    engines = ", ".join(dict.fromkeys(result.engine for result in attestation.results))
    worst = min(result.sqnr_db for result in attestation.results)
    good = attestation.passed and signature_text in _SIGNATURES
    return f"{'[green]✓[/green]' if good else '[red]✗[/red]'} " + escape(
        f"{attestation.when} on {attestation.device.processor} ({attestation.device.system}) by {engines}: "
        f"{'passed' if attestation.passed else 'MISSED'}, worst SQNR {db_text(worst)} "
        f"({_SIGNATURES.get(signature_text, signature_text)}; {one.path.name})"
    )
