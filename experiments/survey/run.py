"""`python -m experiments.survey`: every model × exporter × recipe, made and verified; `--measure` times what was made.

Each combination is a row of its own under --place, so a run that was stopped can continue. Rows of --out that are
missing there, as on another machine, are taken over first. Writes results/survey.json, from which
`python -m experiments.docs` makes the tables of docs/OPTIMIZATION.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgekit.edge_runtime import locking
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError, Interrupted, UsageError, unknown
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.verify import FloatReference
from edgekit.train import provenance

from .measure import COMPARED, MODES, keep_latency, kept_latency, measure_all
from .models import Surveyed, is_backbone, known_models, prepare
from .rows import RECIPE_NAMES, RESCUES, Combination, bundle_folder, failed_row, keep_row, kept_row, make_row, warm

BACKBONE_RECIPES = ("fp32", "w8a8_static")


def combinations(
    models: Sequence[str], exporters: Sequence[str] = (), recipes: Sequence[str] = ()
) -> list[Combination]:
    """The combinations to make, model by model; backbones in fewer ways, unless these are named.

    Raises:
        UsageError: an unknown name; lists the known ones.
    """
    for kind, names, known in (
        ("model", models, known_models()),
        ("exporter", exporters, EXPORTERS),
        ("recipe", recipes, RECIPE_NAMES),
    ):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    chosen = []
    for model in models or known_models():
        backbone = is_backbone(model)
        for exporter in exporters or (COMPARED if backbone else EXPORTERS):
            for recipe in recipes or (BACKBONE_RECIPES if backbone else RECIPE_NAMES):
                chosen.append(Combination(model=model, exporter=exporter, recipe=recipe))
    return [one for one in chosen if one.offered]


def survey(
    wanted: Sequence[Combination], place: Path, *, timeout_s: float, retry: bool = False, remake: bool = False
) -> None:
    """Makes every row that is missing, and keeps each as soon as it is finished.

    Args:
        retry: repeat rows that failed.
        remake: repeat rows whose bundle is not in `place`.

    Raises:
        Interrupted: Ctrl-C; finished rows are kept.
    """
    left = [one for one in wanted if _to_do(one, place, retry=retry, remake=remake)]
    say(f"{len(wanted) - len(left)} of {len(wanted)} combinations are finished, {len(left)} to do")
    began, surveyed, reference, failure = time.monotonic(), None, None, ""
    for i, one in enumerate(left):
        try:
            if i == 0 or one.model != left[i - 1].model:
                surveyed, reference, failure = _ready(one.model, place)
                if i == 0 and surveyed is not None:
                    warm(surveyed.model, {each.exporter for each in left})
            if surveyed is None or reference is None:
                row = failed_row(one, "failed", failure)
            else:
                row = make_row(one, surveyed, reference, place, timeout_s=timeout_s)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted at {one.model}. The {i} rows made now are kept; the same command continues"
            ) from None
        keep_row(one, place, row)
        minutes = (time.monotonic() - began) / (i + 1) * (len(left) - i - 1) / 60
        size = f" {row['bytes'] / 1e6:.2f} MB, {row['sqnr_db']:.1f} dB" if "bytes" in row else f" {row['reason'][:90]}"
        say(f"[{i + 1}/{len(left)}, {minutes:.0f} min left] {one.model} {one.exporter} {one.recipe}: "
            f"{row['outcome']}{size}")  # fmt: skip


def rescues(wanted: Sequence[Combination], place: Path, recipe: str) -> list[Combination]:
    """`recipe`, one of `RESCUES`, for those of `wanted` in 8 bits whose earlier recipes were all made and missed."""
    before = ("w8a8_static", *RESCUES[: RESCUES.index(recipe)])
    again = []
    for one in wanted:
        rows = [kept_row(replace(one, recipe=name), place) for name in before]
        missed = all(row is not None and row["outcome"] == "inaccurate" for row in rows)
        rescue = replace(one, recipe=recipe)
        if one.recipe == "w8a8_static" and missed and rescue.offered:
            again.append(rescue)
    return again


def _to_do(one: Combination, place: Path, *, retry: bool, remake: bool) -> bool:
    row = kept_row(one, place)
    if row is None or (retry and row["outcome"] in ("failed", "crashed", "timeout")):
        return True
    return remake and "bundle" in row and not bundle_folder(row, place).is_dir()


def take_over(results: dict[str, Any], place: Path) -> int:
    """Adds rows and latencies from another machine's `collected` where `place` has none; returns how many rows."""
    taken = 0
    for row in results["rows"]:
        one = Combination(model=row["model"], exporter=row["exporter"], recipe=row["recipe"])
        if kept_row(one, place) is None:
            keep_row(one, place, row)
            taken += 1
    here = kept_latency(place)
    for name, latency in results["latency"].items():
        if name not in here:
            keep_latency(name, place, latency)
    return taken


def _ready(name: str, place: Path) -> tuple[Surveyed | None, FloatReference | None, str]:
    """The model and its float answers; or None and the reason, which then stands in its rows."""
    try:
        surveyed = prepare(name, place / "trained")
        return surveyed, FloatReference.of(surveyed.model), ""
    except EdgekitError as error:
        return None, None, str(error)
    except Exception as error:  # a library's model may raise anything
        return None, None, f"{name} could not be built: {type(error).__name__}: {error}"


def collected(place: Path) -> dict[str, Any]:
    """All rows and latencies under `place`, in the order of the registry, as results/survey.json holds them."""
    planned = combinations(known_models())
    saving = [replace(one, recipe=recipe) for one in planned if one.recipe == "w8a8_static" for recipe in RESCUES]
    kept = [row for one in (*planned, *saving) if (row := kept_row(one, place)) is not None]
    backbones = sum(is_backbone(one.model) for one in planned)
    return {
        "planned": {"models": len(planned) - backbones, "backbones": backbones},
        "rows": _without_needless(kept),
        "latency": kept_latency(place),
        "machine": machine(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def _without_needless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows except rescues that are no longer needed: the model was trained since, so they have other weights."""
    missed = {
        (row["model"], row["exporter"]): row.get("weights")
        for row in rows
        if row["recipe"] == "w8a8_static" and row["outcome"] == "inaccurate"
    }

    def needed(row: dict[str, Any]) -> bool:
        way = (row["model"], row["exporter"])
        return row["recipe"] not in RESCUES or (way in missed and missed[way] == row.get("weights"))

    return [row for row in rows if needed(row)]


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Raises UsageError if another survey works in `place`: two would remove each other's unfinished bundles."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w", encoding="utf-8") as lock:
        try:
            locking.lock(lock.fileno())
        except OSError:
            raise UsageError(f"another survey works in {place}. Wait for it, or give another --place") from None
        yield


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@program(interrupted=GOES_ON)
def main(arguments: Sequence[str] | None = None) -> None:
    """Makes rows, or measures bundles; writes --out."""
    parser = argparse.ArgumentParser(prog="python -m experiments.survey", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=[], help="registry names, torchvision:NAME, timm:NAME")
    parser.add_argument("--exporters", nargs="+", default=[], help=f"of {', '.join(EXPORTERS)}")
    parser.add_argument("--recipes", nargs="+", default=[], help=f"of {', '.join(RECIPE_NAMES)}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quality-only", action="store_true", help="make and verify, time nothing (the default)")
    timed = "conv = float against int8 of convolutional models above 10 MFLOP, all = every bundle"
    what.add_argument("--rescue", action="store_true", help=f"where w8a8_static missed, make {', then '.join(RESCUES)}")
    what.add_argument("--measure", choices=MODES, nargs="?", const="conv", help=f"time the bundles: {timed}")
    parser.add_argument("--remake", action="store_true", help="make rows again whose bundles are on another machine")
    parser.add_argument("--retry", action="store_true", help="repeat what failed or was not valid")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one combination")
    parser.add_argument("--place", type=Path, default=Path("runs/survey"), help="folder of rows and bundles")
    parser.add_argument("--out", type=Path, default=Path("results/survey.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    wanted = combinations(options.models, options.exporters, options.recipes)
    with _alone(options.place):
        if options.out.is_file() and (taken := take_over(json.loads(options.out.read_bytes()), options.place)):
            say(f"{taken} rows taken over from {options.out}")
        try:
            if options.measure:
                measure_all(wanted, options.place, mode=options.measure, retry=options.retry, say=say)
            elif options.rescue:
                for recipe in RESCUES:
                    left = rescues(wanted, options.place, recipe)
                    survey(left, options.place, timeout_s=options.timeout, retry=options.retry, remake=options.remake)
            else:
                survey(wanted, options.place, timeout_s=options.timeout, retry=options.retry, remake=options.remake)
        finally:
            results = collected(options.place)
            if results["rows"]:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(options.out, canonical_json(results))
    print(f"wrote {options.out}")
