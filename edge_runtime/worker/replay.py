"""A bundle proves itself where it runs: its golden inputs are replayed in a child process and the answers compared."""

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
from ..tasks.metrics import max_abs, sqnr_db
from ..tasks.registry import TASKS, task
from .policy import NO_CODE, Policy


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What replaying `golden.npz` gave here, against the float model and against the day it was packed.

    `max_abs`, `sqnr_db` (dB) and `agreement` (share of samples) compare with the float model's answers;
    `max_abs_since_packed` with the artifact's own answers when it was packed (another CPU may differ a little).
    `signature` is "good" when it was checked with a key, "not checked" when there is one and no key was given; `notes`
    are what is worth knowing about the engine installed here.
    Where the batch is free, the inputs are run a second time, `batch` rows at once; `batch_sqnr_db` (dB) compares those
    answers with the single ones. It is 200, which stands for "identical", where the batch is fixed.
    """

    name: str
    status: str
    engine: str
    samples: int
    max_abs: float
    sqnr_db: float
    agreement: float
    max_abs_since_packed: float
    held_to: str
    passed: bool
    signature: str = "none"  # or "not checked", "good"
    batch: int = 1
    batch_sqnr_db: float = 200.0
    notes: tuple[str, ...] = ()


def replay(path: str | Path, *, num_threads: int = 1, policy: Policy = NO_CODE) -> ReplayResult:
    """Opens the bundle, runs its golden inputs in a fresh process and compares.

    Args:
        policy: what the bundle may do, and the key it must be signed for.
    Raises:
        BundleError: the bundle was refused before anything was loaded.
        EngineError: the engine failed, or its process crashed.
    """
    with policy.open(path) as bundle, policy.worker(bundle, num_threads=num_threads) as worker:
        check_task(bundle)
        golden = bundle.golden()
        version = worker.load()["version"]
        found = worker.run(golden.inputs)
        batch = larger_batch(bundle.manifest.batch, golden.samples)
        together = worker.run(golden.inputs, batch=batch) if batch > 1 else found
        result = judge(bundle.manifest, golden, found, version, together=together, batch=batch)
        notes = versions.check(bundle.manifest, bundle.model_path)
        return replace(result, signature=policy.signature_of(bundle), notes=notes)


def check_task(bundle: Bundle) -> None:
    """Raises BundleError for a bundle whose answers nobody here can compare or read."""
    name = bundle.manifest.task
    if name not in TASKS:
        raise BundleError(
            f"{bundle.source} has the task {shown(repr(name), 80)}, which this edgekit does not know. "
            f"Known: {', '.join(sorted(TASKS))}. Upgrade edgekit, or pack the bundle with a known task"
        )


def larger_batch(batch: BatchRange | None, samples: int) -> int:
    """The batch that a free axis is tried with: as large as it may be, and not larger than there are samples."""
    return min(batch.max, samples) if batch else 1


def judge(
    manifest: Manifest, golden: GoldenSet, found: Arrays, engine: str, *, together: Arrays | None = None, batch: int = 1
) -> ReplayResult:
    """Compares answers to the golden inputs with the recorded ones, under the manifest's floors.

    Args:
        found: answers (N, …) to one sample at a time.
        together: answers (N, …) to `batch` samples at a time, held to the same floors against `found`.
    """
    together = found if together is None else together
    reference, answer, packed = (_joined(manifest, arrays) for arrays in (golden.outputs, found, golden.packed))
    first = manifest.outputs[0].name
    sqnr, agreement = sqnr_db(reference, answer), task(manifest.task).agreement(golden.outputs[first], found[first])
    batch_sqnr = sqnr_db(answer, _joined(manifest, together))
    batch_agreement = task(manifest.task).agreement(found[first], together[first])
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
        held_to=f"SQNR ≥ {floor.sqnr_floor_db:g} dB, agreement ≥ {floor.agreement_floor:.0%}",
        passed=min(sqnr, batch_sqnr) >= floor.sqnr_floor_db
        and min(agreement, batch_agreement) >= floor.agreement_floor,
        batch=batch,
        batch_sqnr_db=batch_sqnr,
    )


def _joined(manifest: Manifest, arrays: Arrays) -> np.ndarray:
    """All outputs side by side, one row a sample (N, everything), float64."""
    columns = [arrays[spec.name].reshape(len(arrays[spec.name]), -1) for spec in manifest.outputs]
    return np.concatenate(columns, axis=1).astype(np.float64)
