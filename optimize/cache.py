"""What need not be done again: a bundle, a failure or a measurement whose every cause is the same as before.

The causes of a bundle are the weights, the float model's own answers, all samples, recipe, exporter, budget, the tools'
versions and the code that makes bundles (`MAKES_BUNDLES`). Their digest is its fingerprint: a bundle carries it, a
failure is kept under it in the user's cache. Makes and measures nothing.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import Settings
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import MANIFEST_FILE
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import BundleError, UsageError
from edgekit.edge_runtime.files import cached, keep
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.owner import sweep_once

from .deploy import DeployModel
from .exporters import Exporter
from .recipes import Recipe
from .verify import FloatReference

MADE_FROM = "made_from"  # the fingerprint, in the manifest's provenance

# The code that a bundle follows from: what changes it makes every bundle anew. A model's inputs, and what a user's
# samples are read as, are causes themselves, so that the code that reads them is not among these.
MAKES_BUNDLES = (
    *("optimize/pack.py", "optimize/verify.py", "optimize/golden_floors.py", "optimize/deploy.py"),
    "optimize/heads.py",
    *("optimize/capture.py", "optimize/user_model/signature.py"),
    *("optimize/gate.py", "optimize/judge.py", "optimize/ruling.py", "edge_runtime/statistics"),
    "optimize/other_engines.py",
    *("optimize/user_model/module.py", "optimize/user_model/evaluation.py", "optimize/layer_notes.py"),
    *("optimize/exporters", "optimize/recipes", "optimize/rewrites", "optimize/tuning"),
    *("edge_runtime/bundle/contract.py", "edge_runtime/bundle/golden.py", "edge_runtime/bundle/manifest.py"),
    *("edge_runtime/bundle/verdict.py", "edge_runtime/bundle/versions.py", "edge_runtime/bundle/onnx_file.py"),
    "edge_runtime/tasks",
)
TRAINS_BUNDLES = ("train/loop", "train/book_model.py")  # besides, where a recipe trains on
_ROOT = Path(__file__).resolve().parent.parent  # the folders of all parts, in a source checkout and in a wheel


def fingerprint(
    model: DeployModel,
    reference: FloatReference,
    exporter: Exporter,
    recipe: Recipe,
    *,
    tools: dict[str, str],
    settings: tuple[object, ...],
) -> str:
    """The digest of all that a bundle follows from, 64 hexadecimal digits. `settings`: budget and the like.

    The float model's answers stand for its code, which may change while its weights do not.
    """
    digest = hashlib.sha256(code_digest(trains=recipe.needs_training).encode())
    specs = [to_plain(spec) for spec in (*model.inputs, *model.outputs)]
    preprocessing = to_plain(model.preprocessing) if model.preprocessing else None
    of_model = [model.name, model.task, list(model.labels), preprocessing, specs, model.weights_sha256, model.notes]
    origins = [to_plain(one) for one in (model.samples_from, model.weights_from) if one]
    kept = to_plain(model.suppression) if model.suppression else None
    of_model += [model.gated, model.shown, model.holds or "", kept, origins]
    digest.update(canonical_json([*of_model, exporter.name, recipe.name, tools, [str(value) for value in settings]]))
    targets: Arrays = {} if model.targets is None else {"": model.targets}
    trained_on: Arrays = {}
    if recipe.needs_training and model.training is not None:
        trained_on = {"inputs": model.training.inputs, "targets": model.training.targets}
        digest.update(repr(model.training.fit).encode())
    groups: Arrays = {} if model.groups is None else {"": np.asarray(model.groups)}
    golden: Arrays = {} if model.golden is None else model.golden.inputs
    samples = (golden, model.calibration, model.validation, model.unlabelled, targets, groups, trained_on)
    for arrays in (*samples, reference.validation):
        for name, rows in sorted(arrays.items()):
            digest.update(f"{name} {rows.dtype} {rows.shape}".encode())
            digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


@functools.cache
def code_digest(*, trains: bool, root: Path = _ROOT) -> str:
    """The digest of edgekit's own code that makes bundles; `trains`: also of that which trains them on."""
    digest = hashlib.sha256()
    for part in MAKES_BUNDLES + (TRAINS_BUNDLES if trains else ()):
        place = root / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def unchanged_bundle(folder: Path, made_from: str) -> Bundle | None:
    """The bundle in `folder`, opened, where it is sound and was made from the same causes."""
    sweep_once(folder.parent.absolute())  # it may be set aside, by a run that was killed before it had a new one
    try:
        bundle = Bundle.open(folder)
    except BundleError:  # none, or a damaged one: it is made again
        return None
    return bundle if bundle.manifest.provenance.get(MADE_FROM) == made_from else None


def failed_before(made_from: str) -> str | None:
    """Why the same attempt failed before; None where it was never made."""
    path = _failure(made_from)
    try:
        return None if path is None else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def keep_failure(made_from: str, reason: str) -> None:
    """Keeps the reason, so that the same attempt need not be made again."""
    keep(_failure(made_from), reason.encode())


def measured_layers(made_from: str) -> Path | None:
    """Where a search for layers keeps what it measured, so that an interrupted one goes on; None if nowhere."""
    return cached("layers", f"{made_from}.json")


def measured_before(path: Path, baseline: str, bundles: Sequence[Path], settings: Settings) -> Measurement | None:
    """The measurement in `path` where it is of just these candidates as they are now; None where it is not.

    Args:
        path: an earlier run's results.json.
        baseline: the name of the first row, "" where that is a bundle.
        bundles: folders of the other rows, in order.
        settings: how they would be measured now.
    """
    try:
        earlier = measurement.load(path)
        measured_ns = path.stat().st_mtime_ns
        if any((folder / MANIFEST_FILE).stat().st_mtime_ns > measured_ns for folder in bundles):
            return None
    except (UsageError, OSError):  # none, one of another version, or half of it removed
        return None
    wanted = [*([baseline] if baseline else []), *(folder.name for folder in bundles)]
    # Which engines a bundle was measured with follows from the bundle.
    found = list(dict.fromkeys(row.name.partition("@")[0] for row in earlier.rows if not row.error))
    here = (earlier.machine, earlier.settings) == (machine(), settings)
    return earlier if here and found == wanted else None


def _failure(made_from: str) -> Path | None:
    return cached("failed", f"{made_from}.txt")
