"""What the page has to know of each bundle, as plain data, and which bundles it cannot take. Reads manifests only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...bundle.bundle import Bundle
from ...bundle.manifest import FORMAT_VERSION, Manifest
from ...bundle.names import MANIFEST_FILE, SIGNATURE_FILE
from ...bundle.status import stamp_of, tone_of, why_of
from ...bundle.versions import release
from ...command_line import command_line
from ...decode import to_plain
from ...errors import shown
from ...format import bytes_text, floor_text, metric_name, metric_text, smaller_text
from ...tasks.registry import TASKS, unread
from .engine_files import PACKAGE, VERSION, WASM, WEBGPU

MOST_AXES = 4  # of an input that a form can give; more are volumes


def refuses(manifest: Manifest) -> str:
    """Why the page cannot take a bundle of ONNX, and what to do; "" where it can."""
    program, again = manifest.programs[0], command_line("optimize", manifest.model)
    if manifest.format_version < FORMAT_VERSION:
        return f"it is of format {manifest.format_version}, which only Python reads. `{again}` makes it again"
    if manifest.task not in TASKS:
        return (
            f"it has the task {shown(repr(manifest.task), 80)}, which the page does not know. Known: {', '.join(TASKS)}"
        )
    if wrong := unread([spec.holds for spec in program.outputs], TASKS[manifest.task]):
        return f"it has {wrong}. Pack it again, and say what the output holds"
    if manifest.preprocessing and len(program.inputs) > 1:
        return f"beside a picture it takes {program.inputs[1].name}, which the page has no form for. Answer in Python"
    if large := [spec for spec in program.inputs if len(spec.shape) > MOST_AXES]:
        return (
            f"its input {large[0].name} is a volume, {large[0].shape_text}, as of a scan, which the page has no form "
            f"for. `{command_line('predict', 'BUNDLE', '--input', 'FILE.npy')}` answers in Python"
        )
    if program.inputs[0].batch and program.inputs[0].batch.min > 1:
        return "it takes several samples at a time, and the page gives one. Pack it with a batch from 1 up"
    needed = program.requires.get("onnxruntime", "")
    if (release(needed) or ()) > (release(VERSION) or ()):
        return (
            f"it needs onnxruntime {needed} or newer, and the browser's is {PACKAGE} {VERSION}. Make it again with an "
            "older opset"
        )
    return ""


def contract(
    bundles: Iterable[Bundle],
    *,
    title: str,
    single_file: bool,
    engine: Mapping[str, bytes],
    webgpu: bool,
) -> dict[str, Any]:
    """The constants of an app: what `contract.js` exports as APP.

    Args:
        engine: the files of onnxruntime-web, by name.
    """
    opened = list(bundles)
    first = opened[0].manifest.artifact.bytes
    files = {name: _entry(content) for name, content in engine.items()}
    kinds = {"wasm": WASM} | ({"webgpu": WEBGPU} if webgpu else {})
    return {
        "title": title,
        "single_file": single_file,
        "engine": {
            "version": VERSION,
            "files": files,
            **{kind: dict(zip(("script", "glue", "binary"), names, strict=True)) for kind, names in kinds.items()},
        },
        "bundles": [_bundle(bundle, first) for bundle in opened],
    }


def bundle_files(bundle: Bundle) -> dict[str, Path]:
    """The bundle's own files by their names, the manifest first."""
    names = [MANIFEST_FILE, *(entry.file for entry in bundle.manifest.files), *([SIGNATURE_FILE] * bundle.signed)]
    return {name: bundle.folder / name for name in names}


def folder_of(bundle: Bundle) -> str:
    """Where the app keeps the bundle's files."""
    return f"bundles/{bundle.name}"


def _bundle(bundle: Bundle, first_bytes: int) -> dict[str, Any]:
    manifest, program = bundle.manifest, bundle.manifest.program()
    floors = program.golden.floors
    metric = manifest.metrics[0] if manifest.metrics else None
    return {
        "name": manifest.name,
        "model_name": manifest.model,
        "recipe": manifest.recipe,
        "task": manifest.task,
        "status": manifest.status,
        "stamp": stamp_of(manifest.status),
        "why": why_of(manifest.status),
        "tone": tone_of(manifest.status),
        "folder": folder_of(bundle),
        "files": {name: _entry(path.read_bytes()) for name, path in bundle_files(bundle).items()},
        "model": program.artifact.file,
        "size": bytes_text(program.artifact.bytes),
        "smaller": "" if program.artifact.bytes == first_bytes else smaller_text(first_bytes / program.artifact.bytes),
        "requires": program.requires,
        "inputs": [to_plain(spec) for spec in program.inputs],
        "outputs": [to_plain(spec) for spec in program.outputs],
        "most_rows": program.inputs[0].batch.max if program.inputs[0].batch else 1,
        "golden": {
            "file": program.golden.file,
            "samples": program.golden.samples,
            "floors": {name: to_plain(floor) for name, floor in floors.items()},
        },
        "packed_by": next((run.key for run in program.engines if run.name == "onnxruntime"), ""),
        "held_to": {name: floor_text(floor) for name, floor in floors.items()},
        "labels": list(manifest.labels),
        "preprocessing": to_plain(manifest.preprocessing) if manifest.preprocessing else None,
        "suppression": to_plain(manifest.suppression) if manifest.suppression else None,
        "metric": f"{metric_name(metric.name)} {metric_text(metric)}, when it was packed" if metric else "",
    }


def _entry(content: bytes) -> list[int | str]:
    return [len(content), hashlib.sha256(content).hexdigest()]
