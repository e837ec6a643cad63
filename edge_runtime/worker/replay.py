"""A bundle proves itself where it runs: a child process replays its golden inputs, and the answers are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..arrays import Arrays
from ..bundle import versions
from ..bundle.bundle import Bundle
from ..bundle.golden import GoldenSet
from ..bundle.manifest import BatchRange, Manifest
from ..errors import BundleError, shown
from ..format import limit_text
from ..tasks.metrics import max_abs, sqnr_db
from ..tasks.registry import TASKS, task
from .policy import NO_CODE, Policy


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What replaying `golden.npz` gave here, against the float model and against the day the bundle was packed."""

    name: str
    """The bundle."""
    status: str
    """What was proven of it."""
    engine: str
    """The library that ran it, and its version."""
    samples: int
    """How many golden samples it has."""
    max_abs: float
    """Largest difference from the float model's answers."""
    sqnr_db: float
    """SQNR of the answers against the float model's."""
    agreement: float
    """Share of samples with the float model's answer."""
    max_abs_since_packed: float
    """Largest difference from its own answers when it was packed; another CPU may differ a little."""
    held_to: str
    """What was required of it."""
    passed: bool
    """Whether it is close enough."""
    signature: str = "none"
    """"good" if it was checked with a key, "not checked" if there is one and no key was given, else "none"."""
    batch: int = 1
    """Where the batch is free, the inputs ran a second time in batches of this size."""
    batch_sqnr_db: float = 200.0
    """SQNR of those answers against the single ones; 200, for "identical", where the batch is fixed."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about the engine installed here."""


def replay(path: str | Path, *, num_threads: int = 1, policy: Policy = NO_CODE) -> ReplayResult:
    """Opens the bundle, runs its golden inputs in a fresh process and compares the answers.

    Args:
        policy: what the bundle may do, and the key that must verify its signature.
    Raises:
        BundleError: the bundle was refused before anything was loaded.
        EngineError: the engine failed, or its process crashed.
    """
    with policy.open(path) as bundle, policy.worker(bundle, num_threads=num_threads) as worker:
        check_task(bundle)
        golden = bundle.golden()
        version = worker.load()["version"]
        answers = worker.run(golden.inputs)
        batch = larger_batch(bundle.manifest.batch, golden.samples)
        together = worker.run(golden.inputs, batch=batch) if batch > 1 else answers
        result = judge(bundle.manifest, golden, answers, version, together=together, batch=batch)
        notes = versions.check(bundle.manifest, bundle.model_path)
        return replace(result, signature=policy.signature_of(bundle), notes=notes)


def check_task(bundle: Bundle) -> None:
    """Raises BundleError for a bundle whose task is unknown here, so that its answers cannot be compared or read."""
    name = bundle.manifest.task
    if name not in TASKS:
        raise BundleError(
            f"{bundle.source} has the task {shown(repr(name), 80)}, which this edgekit does not know. "
            f"Known: {', '.join(sorted(TASKS))}. Upgrade edgekit, or pack the bundle with a known task"
        )


def larger_batch(batch: BatchRange | None, samples: int) -> int:
    """The batch size to try a free axis with: the largest it allows, but no more than there are samples."""
    return min(batch.max, samples) if batch else 1


def judge(
    manifest: Manifest,
    golden: GoldenSet,
    answers: Arrays,
    engine: str,
    *,
    together: Arrays | None = None,
    batch: int = 1,
) -> ReplayResult:
    """Compares answers to the golden inputs with the recorded ones, under the manifest's floors.

    Args:
        answers: (N, …) to one sample at a time.
        together: answers (N, …) to `batch` samples at a time; the same floors apply between them and `answers`.
    """
    together = answers if together is None else together
    reference, answer, packed = (_joined(manifest, arrays) for arrays in (golden.outputs, answers, golden.packed))
    first = manifest.outputs[0].name
    sqnr, agreement = sqnr_db(reference, answer), task(manifest.task).agreement(golden.outputs[first], answers[first])
    batch_sqnr = sqnr_db(answer, _joined(manifest, together))
    batch_agreement = task(manifest.task).agreement(answers[first], together[first])
    floor = manifest.golden
    return ReplayResult(
        name=manifest.name,
        status=manifest.status,
        engine=engine,
        samples=golden.samples,
        max_abs=max_abs(reference, answer),
        sqnr_db=sqnr,
        agreement=agreement,
        max_abs_since_packed=max_abs(packed, answer),
        held_to=f"SQNR ≥ {floor.sqnr_floor_db:g} dB, agreement ≥ {limit_text(floor.agreement_floor)}",
        passed=min(sqnr, batch_sqnr) >= floor.sqnr_floor_db
        and min(agreement, batch_agreement) >= floor.agreement_floor,
        batch=batch,
        batch_sqnr_db=batch_sqnr,
    )


def _joined(manifest: Manifest, arrays: Arrays) -> np.ndarray:
    """All outputs side by side, one row per sample (N, everything), float64."""
    columns = [arrays[spec.name].reshape(len(arrays[spec.name]), -1) for spec in manifest.outputs]
    return np.concatenate(columns, axis=1).astype(np.float64)
