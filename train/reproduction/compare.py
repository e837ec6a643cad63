"""A model's finished runs, one for each seed, compared with the book's figures, as plain data.

The weights of each run are measured again from their file, and so are the book's own where they are given. Nothing here
trains.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.train import provenance
from edgekit.train.book_model import BookModel, what_is_learned
from edgekit.train.checkpoint import WEIGHTS_FILE, RunRecord, load_weights, read_run
from edgekit.train.dataset import Dataset
from edgekit.train.loop.epoch import evaluate, on_device


def compare(model: BookModel, folders: Sequence[Path], *, published: Path | None = None) -> dict[str, object]:
    """The comparison as plain data: each run's figures and loss curve, their mean and spread, the book's, the machine.

    `spread` is the sample standard deviation over the runs, None for a single run. No epoch is picked: each figure is
    that of the last epoch.

    Raises:
        UsageError: a run is of another model, has other settings than the registry's (seed aside), or is given twice.
        EdgekitError: a run is unfinished or damaged, or `published` does not fit the model.
    """
    records = [_checked(model, folder) for folder in folders]
    if not records or len({record.config.seed for record in records}) != len(records):
        raise UsageError("give at least one run, and each seed only once: a repeated run would count twice in the mean")
    data = model.data()
    runs = [_run(model, data, folder, record) for folder, record in zip(folders, records, strict=True)]
    values = [record.value for record in records]
    return {
        "model": model.name,
        "chapter": model.chapter,
        "metric": model.target.metric,
        "book": {"value": model.target.value, "source": model.target.source},
        "ours": {
            "mean": statistics.mean(values),
            "spread": statistics.stdev(values) if len(values) > 1 else None,
            "runs": runs,
        },
        "training_loss": [
            {"epoch": epoch, "book": loss}
            | {f"seed {record.config.seed}": round(record.curve[epoch - 1].loss, 4) for record in records}
            for epoch, loss in sorted(model.target.curve.items())
        ],
        "published_weights": None if published is None else _published(model, data, published),
        "config": {key: value for key, value in to_plain(model.fit).items() if key != "seed"},
        "data": {"origin": data.origin, "sha256": records[0].data_sha256},
        "evaluated_on": {"machine": machine(), "versions": provenance.versions(), "commit": provenance.commit()},
    }


def _checked(model: BookModel, folder: Path) -> RunRecord:
    record = read_run(folder)
    if record.model != model.name:
        raise UsageError(f"{folder} is a run of {record.model}, not of {model.name}")
    settings, book = to_plain(record.config), to_plain(model.fit)
    differ = [key for key in what_is_learned(book) if key != "seed" and settings[key] != book[key]]
    if differ:
        changes = ", ".join(f"{key} {settings[key]} instead of {book[key]}" for key in differ)
        raise UsageError(f"{folder} was not trained with the book's settings: {changes}")
    return record


def _run(model: BookModel, data: Dataset, folder: Path, record: RunRecord) -> dict[str, object]:
    return {
        "seed": record.config.seed,
        **_measured(model, data, folder / WEIGHTS_FILE, device=_where_trained(record)),
        "wall_s": round(record.wall_s, 1),
        "device": record.device,
        **({"trained_on": to_plain(record.trained_on)} if record.trained_on else {}),
        "precision": record.precision,
        "machine": record.machine,
        "versions": record.versions,
        "commit": record.commit,
    }


def _published(model: BookModel, data: Dataset, path: Path) -> dict[str, object]:
    return {"file": path.name, **_measured(model, data, path)}


def _where_trained(record: RunRecord) -> str:
    """The kind of device that a run was trained on, where this machine has one; the CPU otherwise."""
    return "cuda" if record.device.startswith("cuda") and torch.cuda.is_available() else "cpu"


def _measured(model: BookModel, data: Dataset, weights: Path, *, device: str = "cpu") -> dict[str, object]:
    module = model.build()
    load_weights(module, weights)
    module.to(device)
    validation, train = (
        evaluate(module, *on_device(model, split, device), model.task, suppression=model.suppression)
        for split in (data.validation, data.train)
    )
    return {
        "validation": validation.value,
        "interval": [validation.low, validation.high],
        "validation_samples": validation.samples,
        "train": train.value,
        "train_samples": train.samples,
        "weights_sha256": sha256_file(weights),
    }
