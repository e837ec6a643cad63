"""One combination of model, exporter and recipe, made in its own process: the result, or why there is none.

A row is a small JSON file, written when its combination is finished; existing rows are not made again.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError, shown
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.python_child import end_with_parent
from edgekit.edge_runtime.tasks.metrics import top_agreement
from edgekit.optimize.deploy import DeployModel
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import bundle_name, pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference

from .models import Surveyed, safe_name

RECIPE_NAMES = ("fp32", "w8_dynamic", "w8a8_static")
RESCUES = ("w8a8_tuned", "mixed")  # tried in turn where w8a8_static was made but missed a floor or the budget
_OUTCOMES = {"verified": "verified", "consistent": "verified", "undecided": "undecided", "not_run": "not_run"}
_TO_WARM = ("onnx", "torch_export", "executorch_xnnpack")
_TO_STOP_S = 10.0  # that a process has to clean up before it is killed


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What a row is made of."""

    model: str
    """The model's name in the survey."""
    exporter: str
    """A name in EXPORTERS."""
    recipe: str
    """A name in RECIPES."""

    @property
    def offered(self) -> bool:
        """Whether the exporter has that recipe."""
        return self.recipe in EXPORTERS[self.exporter].recipes

    def file(self, place: Path) -> Path:
        return place / "rows" / safe_name(self.model) / f"{self.exporter}-{self.recipe}.json"


def kept_row(combination: Combination, place: Path) -> dict[str, Any] | None:
    """The finished row, or None, also for half a file, which a full disk may leave."""
    try:
        return json.loads(combination.file(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep_row(combination: Combination, place: Path, row: dict[str, Any]) -> None:
    path = combination.file(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, canonical_json(row))


def bundle_folder(row: dict[str, Any], place: Path) -> Path:
    """Where a row's bundle lies, if it was made in `place`."""
    return place / "bundles" / safe_name(row["model"]) / row["bundle"]


def warm(model: DeployModel, exporters: Collection[str]) -> None:
    """Exports once in this process, and discards the result.

    At their first export, libraries import and set up a lot, 10 s and more for ExecuTorch; forked processes then find
    that done. Nothing is run, because an engine's threads would be missing in the forked processes.
    """
    for name in _TO_WARM:
        for recipe in ("fp32", "w8a8_static") if name in exporters else ():
            # What fails here will fail again in its own row, which says why.
            with tempfile.TemporaryDirectory(prefix="edgekit-") as folder, contextlib.suppress(Exception):
                path = Path(folder) / f"model{EXPORTERS[name].suffix}"
                for _ in EXPORTERS[name].export(model, RECIPES[recipe], path):
                    pass


def failed_row(combination: Combination, outcome: str, reason: str) -> dict[str, Any]:
    """`outcome` is failed, crashed or timeout."""
    return {**vars(combination), "outcome": outcome, "reason": shown(reason, 600)}


def make_row(
    combination: Combination,
    surveyed: Surveyed,
    reference: FloatReference,
    place: Path,
    *,
    timeout_s: float,
) -> dict[str, Any]:
    """Packs one bundle into `place`/bundles/MODEL, in a forked process; returns its row, whatever happened.

    Forked, so that torch and the model are there at once, and a crash or an endless loop costs only this row.

    Raises:
        KeyboardInterrupt: Ctrl-C; the process is ended and its unfinished files are removed.
    """
    folder = place / "bundles" / safe_name(combination.model)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, combination, surveyed, reference, folder))
    began = time.monotonic()
    child.start()
    theirs.close()
    try:
        if not ours.poll(timeout_s):
            row = failed_row(combination, "timeout", f"not finished after {timeout_s:.0f} s")
        else:
            row = ours.recv()
    except EOFError:
        child.join(_TO_STOP_S)
        row = failed_row(combination, "crashed", f"its process ended with {_ending(child.exitcode)}")
    finally:
        _end(child)
        ours.close()
        for left in folder.glob(f".{safe_name(combination.model)}-{combination.exporter}-{combination.recipe}.*"):
            shutil.rmtree(left, ignore_errors=True)
    about = {"weights": surveyed.weights, "mflop": surveyed.mflop, "convolutional": surveyed.convolutional}
    return row | about | {"seconds": round(time.monotonic() - began, 1)}


def _child(
    pipe: Connection, combination: Combination, surveyed: Surveyed, reference: FloatReference, folder: Path
) -> None:
    torch.set_num_threads(1)  # the parent's threads are not here, and waiting for them would never end
    os.setsid()  # so that whatever it starts can be ended with it
    end_with_parent()
    # A shell starts background jobs with SIGINT ignored, but only an interrupted process ends the worker it started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            row = _packed(combination, surveyed, reference, folder)
        except EdgekitError as error:
            row = failed_row(combination, "failed", str(error))
        except KeyboardInterrupt:
            return
        except Exception as error:
            row = failed_row(combination, "failed", f"{type(error).__name__}: {error}")
    pipe.send(row)
    pipe.close()


def _packed(combination: Combination, surveyed: Surveyed, reference: FloatReference, folder: Path) -> dict[str, Any]:
    exporter, recipe = EXPORTERS[combination.exporter], RECIPES[combination.recipe]
    made = pack_bundle(surveyed.model, exporter, recipe, folder, reference=reference, allow_unverified=True)
    manifest, golden = made.manifest, made.golden
    last, notes = manifest.stages[-1], manifest.provenance
    metric = made.metric
    return {
        **vars(combination),
        "outcome": _OUTCOMES.get(manifest.status, "inaccurate"),
        "reason": "",
        "missed": [stage.stage for stage in manifest.stages if not stage.passed],
        "bundle": bundle_name(surveyed.model, exporter, recipe),
        "bytes": manifest.artifact.bytes,
        "sqnr_db": round(last.sqnr_db, 2),
        "agreement": _agreement(surveyed, golden, last.agreement),
        "metric": None if metric is None else to_plain(metric),
        "outside_delegate": notes.get("outside_delegate", ""),
        "rewrites": notes.get("rewrites", ""),
    }


def _agreement(surveyed: Surveyed, golden: GoldenSet, measured: float) -> float:
    """Top-1 agreement on the golden samples; other tasks have their own kind, which the stages measured."""
    first = surveyed.model.outputs[0]
    if surveyed.model.task != "none" or len(first.shape) != 2 or not (own := golden.own_answers()):
        return round(measured, 4)
    return round(top_agreement(golden.outputs[first.name], own[first.name]), 4)


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"


def _end(child: multiprocessing.process.BaseProcess) -> None:
    """Ends the process and everything it started; first in a way that lets it clean up."""
    for how in (signal.SIGINT, signal.SIGKILL):
        child.join(0.5)
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, how)
        if not child.is_alive():
            break
        child.join(_TO_STOP_S)
