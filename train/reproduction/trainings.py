"""Several trainings, each in a child process `python -m edgekit.train …`, a few at a time.

Small nets are fastest on one thread, so two of them fill two cores. One that fails does not stop the others. Ctrl-C is
passed on to every child, which keeps its last epoch. This module knows no results and prints nothing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.edge_runtime.files import user_cache
from edgekit.edge_runtime.locking import lock
from edgekit.edge_runtime.processes import interrupt
from edgekit.edge_runtime.python_child import PythonChild
from edgekit.train import checkpoint
from edgekit.train.book_model import BookModel
from edgekit.train.checkpoint import RunRecord
from edgekit.train.loop import resume

_EPOCH_LINE = re.compile(r"epoch (\d+)/\d+, (.+)")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run to make."""

    model: BookModel
    """What is trained; its `fit` has the settings of this run, seed included."""
    runs: Path
    """The run lies in this folder, under the model's name."""

    @property
    def folder(self) -> Path:
        return self.runs / self.model.name

    @property
    def title(self) -> str:
        return f"{self.model.name} seed {self.model.fit.seed}"

    def arguments(self, device: str) -> list[str]:
        """Those of `python -m edgekit.train`, which resumes an interrupted run, and refuses one with other settings."""
        fit = self.model.fit
        settings = ["--runs", str(self.runs), "--epochs", str(fit.epochs), "--seed", str(fit.seed), "--device", device]
        go_on = ["--resume"] if (self.folder / resume.RESUME_FILE).is_file() else []
        return [self.model.name, *settings, *go_on]

    def finished(self) -> RunRecord | None:
        """The record of this run if it is finished, with these settings; None if there is work left."""
        try:
            record = checkpoint.read_run(self.folder)
        except EdgekitError:  # missing, or damaged, which the child reports
            return None
        return record if record.config.learns_like(self.model.fit) else None


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far a training has come."""

    training: Training
    """Which one."""
    epoch: int
    """Its last finished epoch."""
    figures: str
    """Loss and metrics of that epoch, in words."""
    epoch_s: float | None
    """Seconds that an epoch takes; None until two epochs were reported."""


def train_all(
    trainings: Sequence[Training], *, device: str, jobs: int = 1, on_step: Callable[[Step], None] | None = None
) -> dict[str, str]:
    """Makes every run, `jobs` at a time, in the given order; returns what failed: {title: reason}.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after every child has kept its last epoch and ended.
        UsageError: another process trains into one of these folders.
    """
    failed: dict[str, str] = {}
    children: set[PythonChild] = set()
    guard, stopping = threading.Lock(), threading.Event()

    def train(training: Training) -> None:
        with guard:
            if stopping.is_set():
                return
            # Its own session: Ctrl-C in a terminal does not reach it; it is sent below.
            child = PythonChild(
                "edgekit.train",
                training.arguments(device),
                environment=os.environ | {"TORCHINDUCTOR_CACHE_DIR": compiled_steps()},
                num_threads=threads_each(jobs),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=locks,
            )
            children.add(child)
        try:
            errors = _follow(training, child.process, on_step)
        finally:
            with guard:
                children.discard(child)
            child.end()
        if child.process.returncode and not stopping.is_set():
            failed[training.title] = errors

    with _locked(trainings) as locks, _signals(), ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            wait([pool.submit(train, training) for training in trainings])
        except KeyboardInterrupt:
            with guard:
                stopping.set()
                for child in children:
                    interrupt(child.process)
            raise  # leaving the pool waits for the children
    return failed


def threads_each(jobs: int) -> int:
    """How many threads each of `jobs` children has: its share of the cores, for nets that take all there are.

    Two that both start a thread on every core wait for each other's threads: four times slower, measured on two cores.
    """
    return max(1, torch.get_num_threads() // jobs)


def compiled_steps() -> str:
    """Where torch keeps what it compiled, for the next child too: its default is the temporary folder."""
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR") or str(user_cache() / "torchinductor")


def _follow(training: Training, child: subprocess.Popen[str], on_step: Callable[[Step], None] | None) -> str:
    """Reads what the child prints until it ends; returns the error it ended with, or its last line."""
    lines, began, first, epoch = [""], 0.0, 0, 0
    assert child.stderr is not None
    for line in child.stderr:
        lines.append(line.rstrip())
        if match := _EPOCH_LINE.search(line):
            epoch, now = int(match[1]), time.perf_counter()
            if not first:  # the time before it was spent loading
                began, first = now, epoch
            epoch_s = (now - began) / (epoch - first) if epoch > first else None
            if on_step:
                on_step(Step(training=training, epoch=epoch, figures=match[2].strip(), epoch_s=epoch_s))
    if child.wait() == 0 and on_step and epoch < training.model.fit.epochs:  # it stopped early, or was finished already
        on_step(Step(training=training, epoch=training.model.fit.epochs, figures="ended", epoch_s=None))
    error = next((i for i in range(len(lines) - 1, 0, -1) if lines[i].startswith("error: ")), len(lines) - 1)
    return "\n".join(lines[error:]).removeprefix("error: ") or f"the process ended with status {child.returncode}"


@contextmanager
def _locked(trainings: Sequence[Training]) -> Iterator[tuple[int, ...]]:
    """Keeps a second process from training into the same folders. Children inherit the locks, because one that outlives
    this process still trains."""
    held: list[int] = []
    try:
        for runs in dict.fromkeys(training.runs for training in trainings):
            try:
                runs.mkdir(parents=True, exist_ok=True)
                held.append(os.open(runs / ".lock", os.O_RDWR | os.O_CREAT, 0o644))
            except OSError as error:
                raise checkpoint.unwritable(runs, error) from None
            try:
                lock(held[-1])
            except OSError:
                raise UsageError(
                    f"another process is training into {runs}. Wait for it, stop it, or give another --runs"
                ) from None
        yield tuple(held)
    finally:
        for descriptor in held:
            os.close(descriptor)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C. A signal that is ignored here (nohup) stays ignored, but works in the children."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def stay(*_: object) -> None:
        """Not SIG_IGN, which children would inherit: this process stops them with SIGINT."""

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        signal.signal(number, stay if handler is signal.SIG_IGN else stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
