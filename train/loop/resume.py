"""What an unfinished run leaves behind: `resume.pt`, with all that the next epoch depends on.

One file, replaced as a whole after each epoch, so that the last finished epoch survives whatever ends the process. It
holds only tensors, numbers and texts, and is read without unpickling anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekit.edge_runtime.decode import DecodeError, decode, to_plain
from edgekit.edge_runtime.errors import EdgekitError, Interrupted, UsageError
from edgekit.edge_runtime.files import write_atomically
from edgekit.train.book_model import FitConfig, what_is_learned
from edgekit.train.checkpoint import EpochRecord, torch_load, unwritable

RESUME_FILE = "resume.pt"
_FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ResumeState:
    """A run after its last finished epoch."""

    run_id: str
    """Tells it from another run in the same folder."""
    identity: dict[str, Any]
    """The settings and data that the weights follow from."""
    curve: tuple[EpochRecord, ...]
    """The epochs so far."""
    model: dict[str, Tensor]
    """The net's state dict."""
    optimizer: dict[str, Any]
    """The optimizer's state dict."""
    slow: dict[str, Tensor] = field(default_factory=dict)
    """Lookahead's weights; empty without lookahead."""
    devices: dict[str, int] = field(default_factory=dict)
    """How many epochs each device has trained."""

    @property
    def epoch(self) -> int:
        return len(self.curve)


def write_state(folder: Path, state: ResumeState) -> None:
    """Replaces the resume state as a whole; raises `EdgekitError` if it cannot be written."""
    content = {
        "format_version": _FORMAT_VERSION,
        "run_id": state.run_id,
        "identity": state.identity,
        "curve": to_plain(state.curve),
        "model": state.model,
        "optimizer": state.optimizer,
        "slow": state.slow,
        "devices": state.devices,
    }
    try:
        with write_atomically(folder / RESUME_FILE) as part:
            torch.save(content, part)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise unwritable(folder / RESUME_FILE, error) from None


def read_state(folder: Path) -> ResumeState | None:
    """The resume state in `folder`, None if there is none; raises `EdgekitError` if the file is damaged."""
    path = folder / RESUME_FILE
    if not path.is_file():
        return None
    content = torch_load(path)
    try:
        if content["format_version"] != _FORMAT_VERSION:
            raise EdgekitError(
                f"{path} has format {content['format_version']}; this edgekit reads {_FORMAT_VERSION}. "
                "Resume with the version that wrote it, or start over without --resume"
            )
        return ResumeState(
            run_id=content["run_id"],
            identity=content["identity"],
            curve=tuple(decode(EpochRecord, item, RESUME_FILE) for item in content["curve"]),
            model=content["model"],
            optimizer=content["optimizer"],
            slow=content.get("slow", {}),
            devices=content.get("devices", {}),
        )
    except (KeyError, TypeError, DecodeError):
        raise EdgekitError(f"{path} is not a resume state of edgekit. Remove it, and train without --resume") from None


def state_to_resume(folder: Path, command: str) -> ResumeState:
    """The state to resume from; raises `UsageError` if there is none."""
    state = read_state(folder)
    if state is None:
        start = f" Start the run without it:\n  {command}" if command else ""
        raise UsageError(f"there is nothing to resume: {folder / RESUME_FILE} does not exist.{start}")
    return state


def check_same_run(state: ResumeState, identity: Mapping[str, Any], folder: Path) -> None:
    """Raises `UsageError` unless resuming with `identity` gives what one uninterrupted run would; more epochs may."""
    # Settings that did not exist when the run began were at today's defaults.
    was = {f.name: f.default for f in fields(FitConfig) if f.default is not MISSING} | state.identity
    if was.get("model") != identity["model"]:
        raise UsageError(f"{folder} holds a run of {was.get('model')}, not of {identity['model']}. Give another folder")
    if was.get("data") != identity["data"]:
        raise UsageError(f"the data have changed since the run in {folder} began. Start over without --resume")
    asked, planned = identity["epochs"], was.get("epochs", 0)
    if asked < planned:
        raise UsageError(
            f"the run in {folder} is at epoch {state.epoch} of {planned}, but {asked} epochs were asked for. "
            f"Add --epochs {planned}, or start over without --resume"
        )
    if asked > planned and (identity["schedule"] != "constant" or identity["lookahead"]):
        raise UsageError(
            f"the run in {folder} was planned for {planned} epochs, and its learning-rate schedule or lookahead spans "
            f"exactly these. Give --epochs {planned}, or start over without --resume"
        )
    differ = [key for key in what_is_learned(identity) if key != "epochs" and was.get(key) != identity[key]]
    if differ:
        there, here = (", ".join(f"{key} {side.get(key)}" for key in differ) for side in (was, identity))
        raise UsageError(
            f"the run in {folder} was started with {there}, but {here} was asked for. "
            "Give the same settings, or start over without --resume"
        )


@contextmanager
def keeping_last_epoch(folder: Path, run_id: str, *, epochs: int, command: str) -> Iterator[None]:
    """Turns Ctrl-C into `Interrupted`, which says what is on disk and how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        # The disk is asked, not a variable: Ctrl-C may have come right after the file was replaced.
        kept = read_state(folder)
        if kept is None or kept.run_id != run_id:
            again = f" To start again:\n  {command}" if command else ""
            raise Interrupted(f"interrupted before the first epoch was finished; nothing was saved.{again}") from None
        resume = f"To resume:\n  {command} --resume" if command else "Resume with go_on=True"
        raise Interrupted(
            f"interrupted: epoch {kept.epoch} of {epochs} is kept in {folder / RESUME_FILE}. {resume}"
        ) from None
