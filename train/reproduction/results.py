"""The results of a reproduction, `reproduction-<chapter>-<device>.json`, made from finished runs.

Each file holds all that the report needs, so that the report can be made without the runs. Nothing here trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.decode import DecodeError, canonical_json, parse_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError, MissingData
from edgekit.edge_runtime.tasks.registry import task
from edgekit.train.book_model import BookModel, what_is_learned
from edgekit.train.checkpoint import RunRecord, read_run, write_file
from edgekit.train.loop import resume
from edgekit.train.nodules import diameter_baseline
from edgekit.train.registry import BOOK_MODELS
from edgekit.train.reproduction import diameter_lines, representation, skip_note
from edgekit.train.reproduction import lines as reproduction_lines
from edgekit.train.reproduction.compare import compare

FORMAT_VERSION = 1
# Accuracy on (training, validation) pictures as drawn in the book's figure 8.13: the heights of its bars, measured in
# the published notebook's picture to about 0.0015. The text gives the same figures with two digits.
FIGURE_8_13 = {
    "birds_cnn": (0.932, 0.891),
    "birds_cnn_width": (0.964, 0.898),
    "birds_cnn_l2": (0.902, 0.873),
    "birds_cnn_dropout": (0.895, 0.880),
    "birds_cnn_batchnorm": (0.997, 0.892),
    "birds_cnn_depth": (0.954, 0.898),
    "birds_cnn_res": (0.968, 0.9005),
    "birds_cnn_resdeep": (0.974, 0.8645),
}


def ignore_note(_: str) -> None:
    """For callers that show nothing."""


def write_results(
    chapters: Sequence[int],
    place: Path,
    out: Path,
    *,
    device: str,
    epochs: int | None = None,
    on_note: Callable[[str], None] = ignore_note,
) -> list[Path]:
    """Writes a file for each chapter that has a finished run in `place`, which holds `seed-*/MODEL`; returns them.

    Where an earlier file has more runs of a model with the same settings than `place`, its entry is kept.

    Args:
        epochs: report on the runs of this many epochs, instead of each model's own number.
        on_note: called with a sentence on each model that is measured, kept or left out.

    Raises:
        EdgekitError: a file could not be written, or a model's data are missing.
    """
    written = []
    for chapter in chapters:
        path = out / f"reproduction-{chapter}-{device}.json"
        results = chapter_results(chapter, place, device=device, epochs=epochs, earlier=_entries(path), on_note=on_note)
        if results["models"] or results["lines"]:
            written.append(path)
            write_file(path, canonical_json(results))
    return written


def chapter_results(
    chapter: int,
    place: Path,
    *,
    device: str,
    epochs: int | None = None,
    earlier: Mapping[str, dict[str, Any]] = {},
    on_note: Callable[[str], None] = ignore_note,
) -> dict[str, Any]:
    """One chapter as plain data: the models that were measured, and the others with the reason.

    Args:
        earlier: the entries of an earlier file, by model; see `write_results`.
        epochs, on_note: as for `write_results`.
    """
    models, not_run = [], []
    everything: dict[str, dict[Path, RunRecord]] = {}
    for model in BOOK_MODELS.values():
        if model.chapter != chapter:
            continue
        runs = finished_runs(model, place, epochs=epochs or model.fit.epochs, on_note=on_note)
        everything[model.name] = runs
        kept = earlier.get(model.name)
        if kept and _of_these_settings(kept, model, epochs) and len(kept["ours"]["runs"]) > len(runs):
            on_note(f"keeping {model.name}: {_runs(len(kept['ours']['runs']))} measured earlier")
            models.append(kept)
        elif runs:
            on_note(f"measuring {model.name}: {_runs(len(runs))}")
            models.append(_entry(model, runs, epochs=epochs or model.fit.epochs))
        else:
            not_run.append({"model": model.name, "summary": model.summary, "reason": _why_not(model, place)})
    return {
        "format_version": FORMAT_VERSION,
        "chapter": chapter,
        "device": device,
        "models": models,
        "not_run": not_run,
        "representation": _representation(everything) if chapter == 1 else None,
        "lines": _lines() if chapter == 5 else [],
        **(_diameter(on_note) if chapter == 14 else {}),
    }


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """The models of a results file by name; none where there is no such file, or one that cannot be read."""
    try:
        results = parse_json(path.read_bytes())
        if results["format_version"] != FORMAT_VERSION:
            return {}
        return {entry["model"]: entry for entry in results["models"]}
    except (OSError, DecodeError, KeyError, TypeError):
        return {}


def _of_these_settings(entry: Mapping[str, Any], model: BookModel, epochs: int | None) -> bool:
    fit = to_plain(replace(model.fit, epochs=epochs or model.fit.epochs, seed=0))
    return what_is_learned(entry["config"] | {"seed": 0}) == what_is_learned(fit)


def finished_runs(
    model: BookModel, place: Path, *, epochs: int, on_note: Callable[[str], None] = ignore_note
) -> dict[Path, RunRecord]:
    """The finished runs of `model` with its own settings (seed aside) and `epochs`, by folder, in order of seed."""
    records: dict[Path, RunRecord] = {}
    for folder in place.glob(f"seed-*/{model.name}"):
        try:
            record = read_run(folder)
        except EdgekitError:  # not finished
            continue
        if record.config.learns_like(replace(model.fit, seed=record.config.seed, epochs=epochs)):
            records[folder] = record
        else:
            on_note(f"note: {folder} was trained with other settings and is left out")
    return dict(sorted(records.items(), key=lambda item: item[1].config.seed))


def _entry(model: BookModel, runs: dict[Path, RunRecord], *, epochs: int) -> dict[str, Any]:
    """The comparison (see `compare`), and what else the report says."""
    target = replace(model.target, curve={e: loss for e, loss in model.target.curve.items() if e <= epochs})
    shortened = replace(model, fit=replace(model.fit, epochs=epochs), target=target)
    entry: dict[str, Any] = compare(shortened, list(runs))
    drawn = _drawn_epochs(min(len(record.curve) for record in runs.values()))
    metric = task(model.task).metric()
    for run, record in zip(entry["ours"]["runs"], runs.values(), strict=True):
        run["losses"] = [float(f"{record.curve[epoch - 1].loss:.4g}") for epoch in drawn]
        if tenth := len(record.curve) // 10:
            values = [epoch.validation[metric.name] for epoch in record.curve[-tenth:]]
            run["last_tenth"] = [min(values), max(values)]
    same = metric.name == model.target.metric
    return entry | {
        "summary": model.summary,
        "parameters": next(iter(runs.values())).parameters,
        "measured": metric.name,
        "is_share": metric.is_share,
        "higher_is_better": metric.higher_is_better,
        "difference": entry["ours"]["mean"] - model.target.value if same else None,
        "loss_epochs": drawn,
        "book": {
            "value": model.target.value,
            "train_value": model.target.train_value,
            "source": model.target.source,
            "differs": model.target.differs,
            "figure_8_13": FIGURE_8_13.get(model.name),
        },
        "shortened_from": model.fit.epochs if epochs != model.fit.epochs else None,
    }


def _drawn_epochs(epochs: int) -> list[int]:
    """Every epoch of a short run; about 100 of a long one, closer together where the loss falls fastest."""
    if epochs <= 120:
        return list(range(1, epochs + 1))
    return sorted({round(epochs ** (i / 99)) for i in range(100)})


def _representation(runs: dict[str, dict[Path, RunRecord]]) -> dict[str, Any] | None:
    """Chapter 1's comparison, on the runs of the lowest seed that both models have."""
    by_hand, learned = (
        {record.config.seed: folder for folder, record in runs.get(name, {}).items()}
        for name in ("digits_features", "digits_cnn")
    )
    both = sorted(by_hand.keys() & learned.keys())
    return to_plain(representation.compare(by_hand[both[0]], learned[both[0]])) if both else None


def _lines() -> list[dict[str, Any]]:
    return _plain(reproduction_lines.chapter_5())


def _plain(lines: Sequence[reproduction_lines.Line]) -> list[dict[str, Any]]:
    return [to_plain(line) | {"agreed": list(line.agreed)} for line in lines]


def _diameter(on_note: Callable[[str], None]) -> dict[str, Any]:
    """Chapter 14's baseline: its lines and its curve; nothing where the lists that it reads are missing."""
    try:
        baseline = diameter_baseline.measure_baseline()
    except MissingData as error:
        on_note(f"note: the diameter baseline of chapter 14 is left out: {error}")
        return {}
    curve = baseline.curve
    return {
        "lines": _plain(diameter_lines.lines(baseline)),
        "roc": {
            "thresholds_mm": [round(float(value), 4) for value in curve.thresholds],
            "false_positive_rate": [round(float(value), 6) for value in curve.false_positive_rate],
            "true_positive_rate": [round(float(value), 6) for value in curve.true_positive_rate],
            "area": curve.area,
            "exact_area": baseline.exact_area,
            "book_points": [[float(rate) for rate in rates] for rates in diameter_lines.BOOK_POINTS.values()],
        },
    }


def _why_not(model: BookModel, place: Path) -> str:
    """Why the model was not measured; for unfinished runs how far they have come, beside the book's loss there."""
    if note := skip_note.read(model, place):
        return note.reason
    reached = []
    for folder in sorted(place.glob(f"seed-*/{model.name}")):
        try:
            state = resume.read_state(folder)
        except EdgekitError:  # damaged: nothing to continue from
            continue
        if not state:
            continue
        last = state.curve[-1]
        figures = [f"loss {last.loss:.4f}", *(f"{name} {value:.4f}" for name, value in last.validation.items())]
        if state.epoch in model.target.curve:
            figures[0] += f", the book's {model.target.curve[state.epoch]:.4f}"
        seed, epochs = state.identity.get("seed"), state.identity.get("epochs")
        reached.append(f"seed {seed} at epoch {state.epoch} of {epochs} ({'; '.join(figures)})")
    return f"not finished: {', '.join(reached)}" if reached else "not trained yet on this device"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"
