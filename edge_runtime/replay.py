"""A bundle proves itself where it runs: its golden inputs are replayed in a child process and the answers compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bundle import Bundle
from .golden import GoldenSet
from .manifest import Manifest
from .metrics import max_abs, sqnr_db
from .tasks import task
from .worker_process import Arrays, Worker


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What replaying `golden.npz` gave here, against the float model and against the day it was packed.

    `max_abs`, `sqnr_db` (dB) and `agreement` (share of samples) compare with the float model's answers;
    `max_abs_since_packed` with the artifact's own answers when it was packed (another CPU may differ a little).
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


def replay(path: str | Path, *, num_threads: int = 1) -> ReplayResult:
    """Opens the bundle, runs its golden inputs in a fresh process and compares.

    Raises:
        BundleError: the bundle was refused before anything was loaded.
        EngineError: the engine failed, or its process crashed.
    """
    with Bundle.open(path) as bundle, Worker.for_bundle(bundle.folder, num_threads=num_threads) as worker:
        golden = bundle.golden()
        version = worker.load()["version"]
        return judge(bundle.manifest, golden, worker.run(golden.inputs), version)


def judge(manifest: Manifest, golden: GoldenSet, found: Arrays, engine: str) -> ReplayResult:
    """Compares answers to the golden inputs with the recorded ones, under the manifest's floors."""
    reference, answer, packed = (_joined(manifest, arrays) for arrays in (golden.outputs, found, golden.packed))
    first = manifest.outputs[0].name
    sqnr, agreement = sqnr_db(reference, answer), task(manifest.task).agreement(golden.outputs[first], found[first])
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
        passed=sqnr >= floor.sqnr_floor_db and agreement >= floor.agreement_floor,
    )


def _joined(manifest: Manifest, arrays: Arrays) -> np.ndarray:
    """All outputs side by side, one row a sample (N, everything), float64."""
    columns = [arrays[spec.name].reshape(len(arrays[spec.name]), -1) for spec in manifest.outputs]
    return np.concatenate(columns, axis=1).astype(np.float64)
