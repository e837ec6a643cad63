"""`python -m experiments.peers`: our bundles beside the raw libraries, measured on this machine when it is idle.

Files and figures of each model are kept under --place, so a run that was stopped continues; files are made once, and a
model that was measured with as many threads is not measured again, unless --again. Raw samples stay there. Writes
results/peers.json, from which `python -m experiments.docs` makes the tables of docs/SPEED.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError, MissingDependency, unknown
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.format import count_text
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.profiling.machine_peaks import machine_peaks
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.edge_runtime.python_child import run as run_python
from edgekit.edge_runtime.tasks.variation import varying_sqnr_db
from edgekit.train import provenance

from ..survey.models import safe_name
from .candidates import ENVIRONMENTS, MODELS, RECIPES, Candidate, candidates
from .environments import python_of, versions_of
from .make import DATA, FRONT, REFERENCE, maker
from .measure import Measured, Settings, measure

ROOT = Path(__file__).resolve().parent.parent.parent
_MAKING_S = 3600.0
OnProgress = Callable[[int, int], None]


def make_all(model: str, wanted: Sequence[Candidate], place: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Makes the files that are missing; why not, by maker, where one cannot be made.

    Raises:
        EdgekitError: not even the bare model could be made.
    """
    folder = place / safe_name(model)
    folder.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(("bare", *(one.made_by for one in wanted)))
    if "litert-int8" in names:  # which is made of the float file
        names = dict.fromkeys(("bare", "litert-fp32", *names))
    reasons = {name: reason for name in names if (reason := _make(name, model, folder, say))}
    if "bare" in reasons:
        raise EdgekitError(f"{model} could not be prepared: {reasons['bare']}")
    return reasons


def _make(name: str, model: str, folder: Path, say: Callable[[str], None]) -> str:
    """Makes one kind of file, unless that was tried before; returns why it could not be made, "" where it was."""
    kept = folder / f"made-{name}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))["error"]
    say(f"{model}: making {name}")
    reason = ""
    try:
        done = run_python(
            "experiments.peers.make",
            [name, model, str(folder.resolve())],
            timeout_s=_MAKING_S,
            python=python_of(maker(name)[0]),
        )
        if done.returncode:
            lines = [line.strip() for line in done.stderr.strip().splitlines() if line.strip()]
            reason = (lines[-1] if lines else f"its process ended with status {done.returncode}")[:400]
            write_bytes(folder / f"made-{name}.log", done.stderr.encode())
    except MissingDependency:
        raise
    except subprocess.TimeoutExpired:
        reason = f"not made within {_MAKING_S:.0f} s"
    except EdgekitError as error:
        reason = str(error)
    write_bytes(kept, json.dumps({"error": reason}).encode())
    return reason


def measure_model(
    model: str,
    wanted: Sequence[Candidate],
    place: Path,
    *,
    threads: int,
    settings: Settings,
    reasons: dict[str, str],
    on_progress: OnProgress,
) -> None:
    """Measures the candidates that have files, and keeps rows and raw samples in the model's folder at once."""
    folder = place / safe_name(model)
    facts = json.loads((folder / FRONT).read_text(encoding="utf-8"))
    with np.load(folder / DATA) as data:
        samples = {name: data[name] for name in ("pixels", "tensors")}
        wanted_answers = data["answers"]
    there = [one for one in wanted if one.made_by not in reasons]
    found = measure(
        there, folder, samples, facts["front"], num_threads=threads, settings=settings, on_progress=on_progress
    )
    deployed, reference = pickle.loads((folder / REFERENCE).read_bytes())  # our own file, made by `make.bare`
    rows = {one.candidate.name: _row(one, wanted_answers, folder, deployed, reference) for one in found}
    for one in wanted:
        if one.made_by in reasons:
            rows[one.name] = _described(one) | {"error": f"not made: {reasons[one.made_by]}"}
    raw = {f"{one.candidate.name}/{i}": wall.astype(np.int64) for one in found for i, wall in enumerate(one.wall_ns)}
    np.savez_compressed(folder / f"raw-{threads}.npz", **raw)  # type: ignore[arg-type]
    kept = {"rows": rows, "mflop": facts["mflop"], "weights": facts["weights"], "samples": facts["samples"]}
    provided = {"settings": asdict(settings), "versions": provenance.versions(), "commit": provenance.commit()}
    write_bytes(folder / f"measured-{threads}.json", canonical_json(kept | provided))


def _described(one: Candidate) -> dict[str, Any]:
    return {"library": one.library, "precision": one.precision, "job": one.job, "ours": one.ours}


def _row(one: Measured, wanted: np.ndarray, folder: Path, deployed: Any, reference: Any) -> dict[str, Any]:
    """What the results hold of one candidate: the median of each round, and how right it is."""
    row = _described(one.candidate)
    if one.error:
        return row | {"error": one.error}
    assert one.answers is not None
    if one.answers.size != wanted.size:
        return row | {"error": f"it answers {list(one.answers.shape)} in place of {list(wanted.shape)}"}
    answers = one.answers.reshape(wanted.shape).astype(np.float32)
    wall = np.concatenate(one.wall_ns)
    path = folder / one.candidate.file
    parts = [path, path.with_suffix(".bin")] if path.suffix in (".xml", ".param") else [path]
    files = [file for part in parts for file in ([part] if part.is_file() else part.glob("model.*"))]
    return row | {
        "engine": one.engine,
        "p50_ms": float(np.percentile(wall, 50)) / 1e6,
        "p90_ms": float(np.percentile(wall, 90)) / 1e6,
        "runs": len(wall),
        "rounds_p50_ms": [float(np.median(rows)) / 1e6 for rows in one.wall_ns],
        "load_ms": round(one.load_ms, 2),
        "peak_rss_bytes": one.peak_rss_bytes,
        "bytes": sum(file.stat().st_size for file in files),
        "db": round(varying_sqnr_db(wanted, answers), 2),
        "verdict": _verdict(one.candidate, answers, deployed, reference),
        "disturbed": list(one.disturbed),
        "error": "",
    }


def _verdict(candidate: Candidate, answers: np.ndarray, deployed: Any, reference: Any) -> str:
    """The gate's word on a candidate's answers, the same for ours and for the libraries' own files."""
    from edgekit.optimize.recipes import RECIPES as WAYS
    from edgekit.optimize.verify import verdict_on

    floating = {"fp32": "fp32", "bf16": "fp16"}  # a float recipe with 16 bits, whatever the sixteen are
    recipe = WAYS[candidate.precision if candidate.ours else floating.get(candidate.precision, "w8a8_static")]
    name = deployed.outputs[0].name
    judged = answers if reference.metric is not None else answers[reference.golden_indices]
    return verdict_on(deployed, recipe, reference, {name: judged}, None, {}, max_drop=0.01).status


def collected(place: Path, models: Sequence[str] = MODELS) -> dict[str, Any]:
    """Everything that was measured under `place`, as results/peers.json holds it."""
    found: dict[str, Any] = {}
    for model in models:
        files = sorted((place / safe_name(model)).glob("measured-*.json"))
        by_threads = {
            file.stem.removeprefix("measured-"): json.loads(file.read_text(encoding="utf-8")) for file in files
        }
        if by_threads:
            found[model] = by_threads
    peaks = {}
    for file in sorted(place.glob("peaks-*.json")):
        peaks[file.stem.removeprefix("peaks-")] = json.loads(file.read_text(encoding="utf-8"))
    return {
        "models": found,
        "peaks": peaks,
        "machine": machine(),
        "versions": provenance.versions(),
        "libraries": {name: versions_of(name) for name in ENVIRONMENTS},
        "commit": provenance.commit(),
    }


def keep_peaks(place: Path, threads: int) -> None:
    """Measures what the machine can do at best in 8 bits and in float, 10⁹ operations a second."""
    peaks = machine_peaks(threads, again=True)
    figures = {name: peak.value for name in ("int8", "fp32") if (peak := peaks.arithmetic(name)) is not None}
    write_bytes(place / f"peaks-{threads}.json", canonical_json(figures))


def _bar(model: str, threads: int) -> AbstractContextManager[OnProgress]:
    from edgekit.cli.terminal import progress

    return progress(f"{model}, {count_text(threads, 'thread')}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _chosen(options: argparse.Namespace) -> list[Candidate]:
    """The candidates whose names hold one of --candidates."""
    known = candidates(tuple(options.recipes))
    for part in options.candidates:
        if not any(part in one.name for one in known):
            raise unknown("candidate", part, [one.name for one in known])
    return [one for one in known if not options.candidates or any(part in one.name for part in options.candidates)]


@program(interrupted=GOES_ON)
def main(arguments: Sequence[str] | None = None) -> None:
    """Makes files, measures, writes --out."""
    parser = argparse.ArgumentParser(prog="python -m experiments.peers", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument(
        "--candidates",
        nargs="+",
        default=[],
        help="parts of names, such as xnnpack or edgekit-onnx; what is measured replaces the model's earlier figures, "
        "since only what ran together is compared",
    )
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="of our bundles")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--round-s", type=float, default=Settings.round_s, help="seconds of a turn")
    parser.add_argument("--only-make", action="store_true", help="make the files, measure nothing")
    parser.add_argument("--remake", action="store_true", help="make all files of these models again")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument("--place", type=Path, default=Path("runs/peers"), help="folder of files and raw samples")
    parser.add_argument("--out", type=Path, default=Path("results/peers.json"))
    options = parser.parse_args(arguments)
    for name in options.models:
        if name not in MODELS:
            raise unknown("model", name, MODELS)
    wanted = _chosen(options)
    settings = Settings(rounds=options.rounds, round_s=options.round_s)
    # Children are started with a safe path, and these modules are in no environment.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    options.place.mkdir(parents=True, exist_ok=True)
    failed = {}
    for model in options.models:
        folder = options.place / safe_name(model)
        if options.remake:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            reasons = make_all(model, wanted, options.place, say)
            for threads in () if options.only_make else options.threads:
                if (folder / f"measured-{threads}.json").is_file() and not options.again:
                    continue
                if not (options.place / f"peaks-{threads}.json").is_file():
                    keep_peaks(options.place, threads)
                with _bar(model, threads) as on_progress:
                    measure_model(
                        model,
                        wanted,
                        options.place,
                        threads=threads,
                        settings=settings,
                        reasons=reasons,
                        on_progress=on_progress,
                    )
                say(f"{model}: measured with {threads} thread{'s' * (threads > 1)}")
        except EdgekitError as error:
            failed[model] = str(error)
            say(f"{model}: {error}")
        results = collected(options.place)
        if results["models"]:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(options.out, canonical_json(results))  # after each model, so that a stopped run keeps them
    print(f"wrote {options.out}" if options.out.is_file() else "nothing was measured")
    if failed:
        raise EdgekitError(f"not all models were measured: {', '.join(failed)}. Their reasons are above")
