"""What a finished training run leaves behind: `weights.safetensors`, and `run.json`, which vouches for them.

run.json is written last and holds the hash of the weights; each file is written whole or not at all. Other people's
weight files are read without unpickling anything but tensors. Unfinished runs are in `loop/resume.py`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor, nn

from edgekit.edge_runtime.decode import DecodeError, canonical_json, decode, parse_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError, MissingData, UsageError
from edgekit.edge_runtime.files import sha256_file, write_bytes
from edgekit.train.book_model import FitConfig

WEIGHTS_FILE, RUN_FILE = "weights.safetensors", "run.json"
BEST_FILE = "best.safetensors"  # of the best epoch so far, where a run keeps that
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of a run."""

    epoch: int
    """Its number, from 1."""
    loss: float
    """Mean over the training batches."""
    validation: dict[str, float]
    """The task's metric on the validation split after the epoch, and the model's extra metrics, by name."""
    seconds: float
    """Training and validation together."""


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """A part of a run that one device trained."""

    device: str
    """For a person, as `provenance.device_name` says it."""
    epochs: int
    """How many."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """`run.json`: how a finished run came about."""

    format_version: int
    """`FORMAT_VERSION` of the edgekit that wrote it."""
    model: str
    """A name in the registry."""
    task: str
    """The model's task."""
    config: FitConfig
    """The settings it was trained with."""
    precision: str
    """What it was trained in, where the user asked for another than the settings' too."""
    metric: str
    """The name of the task's metric."""
    value: float
    """The metric on the whole validation split after the last epoch; with `best_by`, after the best one."""
    low: float
    """The lower end of its 95 % interval."""
    high: float
    """The upper end."""
    train_samples: int
    """Samples of the training split."""
    validation_samples: int
    """Samples of the validation split."""
    parameters: int
    """Numbers in the model's weights, frozen ones included."""
    curve: tuple[EpochRecord, ...]
    """Every epoch, in order."""
    wall_s: float
    """Seconds of all epochs; epochs that were interrupted do not count."""
    data: str
    """Where the data come from, in a sentence."""
    data_sha256: str
    """`Dataset.sha256`."""
    device: str
    """The device that trained the last epoch."""
    machine: dict[str, str]
    """The machine it ran on."""
    versions: dict[str, str]
    """Of Python and the packages that train."""
    commit: str | None
    """Of edgekit's source; None for an installed copy."""
    weights_file: str
    """The name of the weight file, beside this one."""
    weights_sha256: str
    """Its hash."""
    trained_on: tuple[TrainedOn, ...] = field(default=(), metadata={"left_out": True})
    """Every device in order, if the run was resumed on another one; else empty."""


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes the state dict as safetensors. A tensor that the module shares between layers is written once for each."""
    tensors = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in module.state_dict().items()}
    write_file(path, safetensors_save(tensors, metadata={"format": "pt"}))


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills `module`, in place, from a .safetensors file or a state dict in .pt, .pth or .state; every key must fit.

    Raises:
        MissingData: no such file.
        UsageError: the weights are of another model; names the keys or shapes that differ.
        EdgekitError: the file is damaged, or is not a state dict.
    """
    fit_tensors(module, read_tensors(path), path)


def fit_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fills `module`, in place, with tensors read from `path`; raises UsageError unless every key and shape fits."""
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    wrong = [
        f"{key} is {tuple(tensors[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in tensors and tensors[key].shape != wanted[key].shape
    ]
    if missing or extra or wrong:
        parts = [("missing: ", missing), ("not in the model: ", extra), ("wrong shape: ", wrong)]
        detail = "; ".join(title + _some(items) for title, items in parts if items)
        raise UsageError(f"{path} holds the weights of another model than {type(module).__name__}. {detail}")
    module.load_state_dict(tensors, strict=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a state dict, on the CPU; raises like `load_weights`.

    The state dict may also be found under `model_state`, as in the checkpoints of the book's second part.
    """
    if not path.is_file():
        raise MissingData(f"there are no weights at {path}. Train the model first, or give the path of a weight file")
    if path.suffix == ".safetensors":
        try:
            return safetensors_load(_read(path))
        except SafetensorError as error:
            raise EdgekitError(
                f"{path} is damaged, or not a safetensors file ({error}). Download or train it again"
            ) from None
    if path.suffix not in (".pt", ".pth", ".state"):
        raise UsageError(f"{path} is not a weight file: expected .safetensors, .pt, .pth or .state")
    state = torch_load(path)
    if isinstance(state, Mapping) and isinstance(state.get("model_state"), Mapping):
        state = state["model_state"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        inside = f"keys {_some([str(key) for key in state])}" if isinstance(state, Mapping) else type(state).__name__
        raise EdgekitError(f"{path} is not a plain state dict of tensors; it holds {inside}. Save model.state_dict()")
    return dict(state)


def write_run(folder: Path, record: RunRecord) -> None:
    """Writes run.json; call it last, when the weights that it vouches for are there."""
    write_file(folder / RUN_FILE, canonical_json(to_plain(record)))


def read_run(folder: Path) -> RunRecord:
    """The finished run in `folder`, after checking that its weights are the ones it was written for.

    Raises:
        MissingData: there is no finished run.
        EdgekitError: run.json is damaged, or the weights are not the run's.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise MissingData(f"there is no finished run in {folder}: {RUN_FILE} is missing")
    try:
        record = decode(RunRecord, _with_later_settings(parse_json(_read(path))), RUN_FILE)
    except DecodeError as error:
        raise EdgekitError(f"{path} is damaged: {error}. Train again, or remove it") from None
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or sha256_file(weights) != record.weights_sha256:
        raise EdgekitError(
            f"{weights} is not the file that {path} was written for. Train again, or put the right file back"
        )
    return record


def write_file(path: Path, content: bytes) -> None:
    """Writes the file whole or not at all; a full disk or a read-only folder is an `EdgekitError`."""
    try:
        write_bytes(path, content)
    except OSError as error:
        raise unwritable(path, error) from None


def torch_load(path: Path) -> Any:
    """What a .pt or .pth holds, on the CPU; raises `EdgekitError` when it is damaged or is more than plain tensors."""
    raw = _read(path)
    try:
        if raw[:2] == b"PK" and zipfile.ZipFile(io.BytesIO(raw)).testzip() is not None:
            raise zipfile.BadZipFile  # torch writes checksums but does not look at them when it reads
        # weights_only: a pickle can run code, and weight files come from other people's machines.
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds on a damaged file: UnpicklingError, EOFError, RuntimeError, OSError, …
        raise EdgekitError(
            f"{path} is damaged, or holds more than tensors and numbers, which is refused because it could run code. "
            "Download it again, or train again without --resume"
        ) from None


def unwritable(path: Path, error: Exception) -> EdgekitError:
    """The error for a file that could not be written, because of a full disk or a read-only folder."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
    return EdgekitError(f"could not write {path}: {reason}. What was there before is unchanged")


def _with_later_settings(run: Any) -> Any:
    """A run.json of an earlier edgekit, completed: settings that it does not have were at today's defaults."""
    if isinstance(run, dict) and isinstance(run.get("config"), dict):
        defaults = {f.name: f.default for f in fields(FitConfig) if f.default is not MISSING}
        return run | {"config": defaults | run["config"]}
    return run


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EdgekitError(f"cannot read {path}: {error.strerror}") from None


def _some(items: list[str]) -> str:
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")
