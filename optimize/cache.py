"""What need not be made again: a bundle, or a failure, whose every cause is the same as when it was made.

Causes are the weights, the float model's own answers, all samples, recipe, exporter, budget, the tools' versions and
the code of `optimize` itself. A bundle carries their digest; a failure is kept in the user's cache. Makes nothing.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import Arrays
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.files import user_cache, write_bytes

from .deploy import DeployModel
from .exporters import Exporter
from .recipes import Recipe
from .verify import FloatReference

MADE_FROM = "made_from"  # in the manifest's provenance


def causes(
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
    digest = hashlib.sha256(_code().encode())
    specs = [to_plain(spec) for spec in (*model.inputs, *model.outputs)]
    preprocessing = to_plain(model.preprocessing) if model.preprocessing else None
    of_model = [model.name, model.task, list(model.labels), preprocessing, specs, model.weights_sha256, model.notes]
    digest.update(canonical_json([*of_model, exporter.name, recipe.name, tools, [str(value) for value in settings]]))
    targets: Arrays = {} if model.targets is None else {"": model.targets}
    trained_on: Arrays = {}
    if recipe.needs_training and model.training is not None:
        trained_on = {"inputs": model.training.inputs, "targets": model.training.targets}
        digest.update(repr(model.training.fit).encode())
    for arrays in (model.calibration, model.validation, targets, trained_on, reference.validation):
        for name, rows in sorted(arrays.items()):
            digest.update(f"{name} {rows.dtype} {rows.shape}".encode())
            digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def unchanged_bundle(folder: Path, made_from: str) -> bool:
    """Whether a sound bundle made from the same causes lies in `folder`."""
    try:
        with Bundle.open(folder) as bundle:
            return bundle.manifest.provenance.get(MADE_FROM) == made_from
    except BundleError:  # none, or a damaged one: it is made again
        return False


def failed_before(made_from: str) -> str | None:
    """Why the same attempt failed before; None where it was never made."""
    try:
        return _failure(made_from).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def keep_failure(made_from: str, reason: str) -> None:
    """Keeps the reason, so that the same attempt need not be made again."""
    path = _failure(made_from)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, reason.encode())


def measured_layers(made_from: str) -> Path:
    """Where a search for layers keeps what it measured, so that an interrupted one goes on."""
    return user_cache() / "layers" / f"{made_from}.json"


def _failure(made_from: str) -> Path:
    return user_cache() / "failed" / f"{made_from}.txt"


@functools.cache
def _code() -> str:
    """The digest of edgekit's own code that makes bundles."""
    digest = hashlib.sha256()
    here = Path(__file__).resolve().parent
    for path in sorted(here.rglob("*.py")):
        digest.update(path.relative_to(here).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
