"""What engines other than the usual one of a format make of a finished bundle: replayed, judged, and recorded.

An engine whose golden replay or verdict misses is left out of the bundle's record, with a remark that says so. The
usual engine is `pack`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import EngineRun, Manifest, Metric
from edgekit.edge_runtime.engines import RUNS_CODE, installed_engines
from edgekit.edge_runtime.errors import EdgekitError, shown
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.format import db_text
from edgekit.edge_runtime.worker.parent import Worker
from edgekit.edge_runtime.worker.replay import judge, larger_batch

from .deploy import DeployModel
from .events import OnEvent, Remark
from .recipes import Recipe
from .user_model.evaluation import run_in_pieces
from .verify import FloatReference, measure, verdict_on


@dataclass(frozen=True, kw_only=True)
class OtherRun:
    """A bundle that another engine ran; `answers` to the validation split are {} where no accuracy was measured."""

    run: EngineRun
    on_golden: Arrays
    answers: Arrays
    metric: Metric | None


def other_versions(format: str) -> dict[str, str]:
    """The other engines of a format that are installed, with their versions."""
    return {name: versions.installed_version(name) for name in installed_engines(format) if not _is_usual(name, format)}


def run_others(
    model: DeployModel,
    recipe: Recipe,
    reference: FloatReference,
    manifest: Manifest,
    folder: Path,
    golden: GoldenSet,
    *,
    max_drop: float,
    on_event: OnEvent,
) -> tuple[OtherRun, ...]:
    """Runs the bundle in `folder` on each, in a process of its own; those that hold."""
    held = []
    for name, version in other_versions(manifest.artifact.format).items():
        try:
            with Worker.for_bundle(folder, engine=name, allow=RUNS_CODE) as worker:
                loaded = worker.load()["version"]
                on_golden = worker.run(golden.inputs)
                batch = larger_batch(model.batch, golden.samples)
                together = worker.run(golden.inputs, batch=batch) if batch > 1 else on_golden
                replayed = judge(manifest, golden, on_golden, loaded, together=together, batch=batch)
                answers, metric, scores = _measured(model, reference, worker)
                unlabelled = run_in_pieces(worker.run, model.unlabelled) if model.unlabelled else {}
        except EdgekitError as error:
            on_event(Remark(text=f"{name} {version} does not run it: {shown(error)}"))
            continue
        verdict = verdict_on(model, recipe, reference, answers or on_golden, scores, unlabelled, max_drop=max_drop)
        if not replayed.passed or verdict.status == "refused":
            golden_text = f"golden replay {db_text(replayed.sqnr_db)} (required: {replayed.held_to})"
            on_event(Remark(text=f"{loaded} is left out: {verdict.reason if replayed.passed else golden_text}"))
            continue
        run = EngineRun(name=name, version=version, precision="float32", verdict=verdict)
        held.append(OtherRun(run=run, on_golden=on_golden, answers=answers, metric=metric))
    return tuple(held)


def run_others_again(
    model: DeployModel, reference: FloatReference, manifest: Manifest, folder: Path
) -> Iterator[OtherRun]:
    """What those that are recorded answer to the validation split now, one after another."""
    for run in manifest.engines:
        if not _is_usual(run.name, manifest.artifact.format) and run.name in other_versions(manifest.artifact.format):
            with Worker.for_bundle(folder, engine=run.name, allow=RUNS_CODE) as worker:
                worker.load()
                answers, metric, _ = _measured(model, reference, worker)
            yield OtherRun(run=run, on_golden={}, answers=answers, metric=metric)


def record(
    manifest: Manifest, golden: GoldenSet, others: tuple[OtherRun, ...], folder: Path
) -> tuple[Manifest, GoldenSet]:
    """The manifest and the golden file with these engines' answers; the file in `folder` is written anew."""
    if not others:
        return manifest, golden
    kept = replace(golden, packed=golden.packed | {other.run.key: other.on_golden for other in others})
    program = manifest.program()
    path = folder / program.golden.file
    save_golden(path, kept)
    entry = replace(program.golden, bytes=path.stat().st_size, sha256=sha256_file(path))
    program = replace(program, golden=entry, engines=(*program.engines, *(other.run for other in others)))
    return replace(manifest, programs=(program,)), kept


def _measured(
    model: DeployModel, reference: FloatReference, worker: Worker
) -> tuple[Arrays, Metric | None, np.ndarray | None]:
    """The answers to the validation split, their metric, and the scores of a user's own `evaluate`."""
    if reference.metric is None:
        return {}, None, None
    answers = run_in_pieces(worker.run, model.validation)
    return answers, *measure(model, answers, partial(run_in_pieces, worker.run), reference)


def _is_usual(engine: str, format: str) -> bool:
    return engine == versions.ENGINE_PACKAGES[format]
