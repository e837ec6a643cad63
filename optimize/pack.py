"""The whole pipeline, from a float model to a bundle that was opened and run: read `pack_bundle` from top to bottom."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import edgekit
from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark.rows import BEST_OF
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import (
    FORMAT_VERSION,
    MAIN,
    Artifact,
    EngineRun,
    Golden,
    Manifest,
    Metric,
    Origin,
    OutputSpec,
    Program,
    SamplesOrigin,
    StageResult,
    WeightsOrigin,
)
from edgekit.edge_runtime.bundle.names import MANIFEST_FILE
from edgekit.edge_runtime.bundle.status import Status
from edgekit.edge_runtime.bundle.verdict import Verdict
from edgekit.edge_runtime.engines import RUNS_CODE
from edgekit.edge_runtime.errors import UsageError, VerificationError
from edgekit.edge_runtime.files import folder_atomically, sha256_file, write_bytes
from edgekit.edge_runtime.statistics.paired import ERROR
from edgekit.edge_runtime.worker.parent import Worker
from edgekit.edge_runtime.worker.replay import larger_batch

from .cache import MADE_FROM
from .deploy import DeployModel
from .events import OnEvent, StageChecked, StepBegun, ignore
from .exporters import Exporter
from .exporters.errors import exported
from .golden_floors import golden_floors
from .other_engines import OtherRun, record, run_others
from .recipes import Recipe
from .steps import heard_by
from .temporary_files import collected
from .tuning.table import Tuning, tuned
from .user_model.evaluation import run_in_pieces
from .verify import Chain, FloatReference, also_shown, measure, verdict_on

GOLDEN_FILE = "golden.npz"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A finished bundle, with what was read and run while it was made: nobody has to open it again.

    `answers` are the artifact's own to the validation split; {} where its accuracy was not measured, and where the
    bundle is `unchanged`: made by an earlier run. `others` are the engines besides the usual one that hold as well.
    """

    path: Path
    manifest: Manifest
    golden: GoldenSet
    answers: Arrays
    unchanged: bool = False
    others: tuple[OtherRun, ...] = ()

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def verdict(self) -> Verdict | None:
        return self.manifest.verdict

    @property
    def metric(self) -> Metric | None:
        return self.manifest.metrics[0] if self.manifest.metrics else None


def bundle_name(model: DeployModel, exporter: Exporter, recipe: Recipe) -> str:
    """Folder = bundle = command-line name, e.g. `digits_cnn-onnx-w8a8_static`."""
    return f"{model.name}-{exporter.name}-{recipe.name}"


@collected()
def pack_bundle(
    model: DeployModel,
    exporter: Exporter,
    recipe: Recipe,
    out: Path,
    *,
    reference: FloatReference,
    max_drop: float = 0.01,
    allow_unverified: bool = False,
    best_of: int = 1,
    made_from: str = "",
    other_engines: bool = False,
    on_event: OnEvent = ignore,
) -> Packed:
    """Exports `model`, proves it stage by stage, and leaves a bundle folder in `out`.

    Args:
        max_drop: how much of the float model's metric may be lost, relative (0.01 keeps 99 %).
        best_of: the best of so many lossy bundles will be taken; the manifest notes whether this one is verified then.
        allow_unverified: deliver a bundle that missed a stage or the gate all the same, stamped `unverified`.
        made_from: the fingerprint (`cache.py`) by which the bundle is known again; empty: it is not kept.
        other_engines: run it on the format's other installed engines too, and record those that hold.
        on_event: hears of each stage, and of each trial of a recipe that measures before it quantizes.
    Raises:
        UsageError: the exporter cannot carry out the recipe.
        ExportError: a library could not make a file of this model. Nothing is left behind.
        VerificationError: a stage or the accuracy gate was missed. Nothing is left behind.
    """
    if recipe.name not in exporter.recipes:
        raise UsageError(f"{exporter.name} cannot do {recipe.name}. It does: {', '.join(exporter.recipes)}")
    name = bundle_name(model, exporter, recipe)
    tools = tools_of(exporter)
    recipe = tuned(Tuning(
        model=model, reference=reference, exporter=exporter, recipe=recipe, max_drop=max_drop, tools=tools,
        on_event=on_event,
    ))  # fmt: skip

    def on_stage(result: StageResult) -> None:
        on_event(StageChecked(result=result, outputs=len(model.outputs)))

    with folder_atomically(out / name, replace=True) as folder, heard_by(on_event):
        chain = Chain(model, recipe, reference, keep_going=allow_unverified, on_stage=on_stage)
        path = folder / f"model{exporter.suffix}"
        for stage in exported(model, exporter, recipe, path):
            chain.check(stage)

        golden = GoldenSet(
            inputs=reference.golden_inputs,
            outputs=reference.golden_outputs,
            packed={run.key: chain.last_outputs for run in _engines(exporter, tools)},
            targets=reference.golden_targets,
        )
        save_golden(folder / GOLDEN_FILE, golden)
        draft = _manifest(model, exporter, recipe, folder, path.name, golden, chain, tools)
        write_bytes(folder / MANIFEST_FILE, draft.to_bytes())

        # From here on the bundle is what a device gets: opened, checked, and run where nothing of ours is loaded.
        on_event(StepBegun(text="running the finished bundle on every sample"))
        ran = (
            _run_packed(model, recipe, reference, chain, folder, golden, max_drop=max_drop, best_of=best_of)
            if exporter.runs_here
            else None
        )
        if ran and ran.verdict.status == "refused" and not allow_unverified:
            raise VerificationError(f"{name}: {ran.verdict.reason}. Nothing was written. {_ways_on(recipe)}")

        others = run_others(
            model, recipe, reference, draft, folder, golden, max_drop=max_drop, on_event=on_event
        ) if ran and other_engines else ()  # fmt: skip
        draft, golden = record(draft, golden, others, folder)
        final = replace(
            draft,
            provenance=draft.provenance
            | ({MADE_FROM: made_from} if made_from else {})
            | ({BEST_OF: str(best_of)} if ran and ran.as_best else {}),
            status=_status(model, chain, ran.verdict) if ran else "not_run",
            verdict=ran.verdict if ran else None,
            metrics=ran.metrics if ran else (),
            stages=tuple(chain.results),
        )
        write_bytes(folder / MANIFEST_FILE, final.to_bytes())
        with Bundle.open(folder) as bundle:
            manifest = bundle.manifest
    answers = ran.answers if ran else {}
    return Packed(path=out / name, manifest=manifest, golden=golden, answers=answers, others=others)


@dataclass(frozen=True, kw_only=True)
class _Ran:
    """What the finished bundle answered in a process of its own, and what that says of it."""

    answers: Arrays
    metrics: tuple[Metric, ...]
    verdict: Verdict
    as_best: bool  # verified also as the best of several


def _run_packed(
    model: DeployModel,
    recipe: Recipe,
    reference: FloatReference,
    chain: Chain,
    folder: Path,
    golden: GoldenSet,
    *,
    max_drop: float,
    best_of: int,
) -> _Ran:
    """Runs the bundle in a process of its own and holds it to the float model."""
    with Worker.for_bundle(folder, allow=RUNS_CODE) as worker:  # which opens and checks it
        worker.load()
        on_golden = worker.run(golden.inputs)
        chain.check_reload(on_golden)
        if model.batch is not None:
            chain.check_batch(on_golden, worker.run(golden.inputs, batch=larger_batch(model.batch, golden.samples)))
        answers: Arrays = {}
        metric, scores = None, None
        if reference.metric is not None:
            answers = run_in_pieces(worker.run, model.validation)
            metric, scores = measure(model, answers, partial(run_in_pieces, worker.run), reference)
        unlabelled = run_in_pieces(worker.run, model.unlabelled) if model.unlabelled else {}
    judged = answers or on_golden

    def verdict(error: float) -> Verdict:
        return verdict_on(model, recipe, reference, judged, scores, unlabelled, max_drop=max_drop, error=error)

    decided = verdict(ERROR)
    # The best of several that passed is wrong more often than one of them; so the error is divided among them.
    as_best = decided.kept and (decided.lossless or best_of == 1 or verdict(ERROR / best_of).kept)
    metrics = (metric, *also_shown(model, metric, answers, reference)) if metric else ()
    return _Ran(answers=answers, metrics=metrics, verdict=decided, as_best=as_best)


def _ways_on(recipe: Recipe) -> str:
    """What to try after a refusal."""
    other = "Try --recipe w8a8_tuned, or mixed, which leaves layers in float; " if recipe.quantized else ""
    return f"{other}--max-drop allows more, and --allow-unverified keeps the bundle for study"


def tools_of(exporter: Exporter) -> dict[str, str]:
    """The exact versions that an exporter's bundles depend on."""
    return {package: importlib.metadata.version(package) for package in (*exporter.tools, "numpy")} | {
        "edgekit": edgekit.__version__
    }


def run_again(model: DeployModel, folder: Path) -> Arrays:
    """What an earlier run's bundle answers to the validation split, in a process of its own."""
    with Worker.for_bundle(folder, allow=RUNS_CODE) as worker:
        worker.load()
        return run_in_pieces(worker.run, model.validation)


def _manifest(
    model: DeployModel,
    exporter: Exporter,
    recipe: Recipe,
    folder: Path,
    file: str,
    golden: GoldenSet,
    chain: Chain,
    tools: dict[str, str],
) -> Manifest:
    path, golden_path = folder / file, folder / GOLDEN_FILE
    outputs = tuple(OutputSpec.of(spec, model.output_holds(place)) for place, spec in enumerate(model.outputs))
    requires, features = versions.requirements(exporter.format, path, tools)
    program = Program(
        name=MAIN,
        artifact=Artifact(file=file, format=exporter.format, bytes=path.stat().st_size, sha256=sha256_file(path)),
        inputs=model.inputs,
        outputs=outputs,
        golden=Golden(
            file=GOLDEN_FILE,
            bytes=golden_path.stat().st_size,
            sha256=sha256_file(golden_path),
            samples=golden.samples,
            replay="by_output",
            floors=golden_floors(outputs, recipe, golden.outputs, chain.last_outputs, held=chain.passed),
        ),
        engines=_engines(exporter, tools),
        requires=requires,
        features=features,
    )
    return Manifest(
        format_version=FORMAT_VERSION,
        name=bundle_name(model, exporter, recipe),
        model=model.name,
        task=model.task,
        recipe=recipe.name,
        exporter=exporter.name,
        status="unverified",
        verdict=None,
        programs=(program,),
        preprocessing=model.preprocessing,
        labels=model.labels,
        metrics=(),
        stages=(),
        origin=Origin(
            weights=model.weights_from or WeightsOrigin(source="", licence=None),
            golden=model.samples_from or SamplesOrigin(source=model.origin, licence=None, may_travel=None),
        ),
        tools=tools | {"python": platform.python_version()},
        suppression=model.suppression,
        provenance={"weights_sha256": model.weights_sha256, "data": model.origin} | model.notes | chain.notes,
    )


def _engines(exporter: Exporter, tools: dict[str, str]) -> tuple[EngineRun, ...]:
    """What runs the golden samples while the bundle is packed; nothing where no engine here has what the file needs."""
    if not exporter.runs_here:
        return ()
    name = versions.ENGINE_PACKAGES[exporter.format]
    return (EngineRun(name=name, version=tools[name], precision="float32", verdict=None),)


def _status(model: DeployModel, chain: Chain, verdict: Verdict) -> Status:
    if verdict.status == "refused" or not chain.passed or model.noise:
        return "unverified"
    return verdict.status
