"""`edgekit train` and `edgekit models`: prints progress and an answer for a person, or JSON.

Errors are raised as `EdgekitError`; whoever owns the process turns them into a message and an exit status. Typer and
rich are not imported here, so that `python -m edgekit.train` does without them.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path

from edgekit.cli.json_answer import print_json
from edgekit.cli.train_progress import epoch_progress
from edgekit.edge_runtime.command_line import EDGEKIT, command_line
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.train.book_model import BookModel
from edgekit.train.loop.early_stopping import kept_epoch, stop_reason
from edgekit.train.loop.fit import RunResult, fit
from edgekit.train.loop.resume import ResumeState, read_state
from edgekit.train.registry import BOOK_MODELS, book_model

DEFAULT_RUNS = Path("runs")


def train_model(
    name: str,
    *,
    out: Path = DEFAULT_RUNS,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    tensorboard: bool = False,
    resume: bool = False,
    epoch_samples: int | None = None,
    json: bool = False,
    program: str = f"{EDGEKIT} train",
) -> RunResult:
    """Trains a registered model into `out`/`name` and prints the result, with the command to run next.

    Args:
        epochs, seed, precision, epoch_samples: override the model's own settings.
        tensorboard: log the run into its folder.
        json: print the run's record, and nothing else, on standard output.
        program: what messages about `--resume` call this command.

    Raises:
        UsageError: unknown model, device or precision, or no run that these settings could resume.
        EdgekitError: see `fit`.
    """
    model = book_model(name)
    if epochs is not None and epochs < 1:
        raise UsageError(f"--epochs {epochs}: a run has at least 1 epoch")
    if epoch_samples is not None and (epoch_samples < 1 or not model.crops):
        why = "at least 1 is needed" if model.crops else f"{name} takes each sample once an epoch. Leave it out"
        raise UsageError(f"--epoch-samples {epoch_samples}: {why}")
    config = replace(
        model.fit,
        epochs=model.fit.epochs if epochs is None else epochs,
        seed=model.fit.seed if seed is None else seed,
        epoch_samples=epoch_samples or model.fit.epoch_samples,
    )
    folder = out / name
    runs = [] if out == DEFAULT_RUNS else ["--runs", str(out)]
    options: list[tuple[str, object, object]] = [
        ("--epochs", epochs, None),
        ("--seed", seed, None),
        ("--device", device, "auto"),
        ("--precision", precision, None),
        ("--epoch-samples", epoch_samples, None),
    ]
    chosen = [word for flag, value, default in options if value != default for word in (flag, str(value))]
    command = shlex.join([*program.split(), name, *runs, *chosen, *(["--tensorboard"] if tensorboard else [])])
    if not resume:
        _warn_of_unfinished(folder, command)
    with epoch_progress(f"train {name}", config.epochs) as on_epoch:
        result = fit(
            model,
            folder,
            config=config,
            device=device,
            precision=precision,
            go_on=resume,
            command=command,
            tensorboard=tensorboard,
            on_epoch=on_epoch,
        )
    if os.environ.get("RANK", "0") != "0":  # one of torchrun's processes answers for all
        return result
    if json:
        print_json(result_as_json(result), sort_keys=True)
    else:
        print(summary(model, result, next_command=command_line("optimize", name, *runs)))
    return result


def result_as_json(result: RunResult) -> dict[str, object]:
    """The run's record, its folder, and how many epochs this call trained."""
    return {**to_plain(result.record), "folder": str(result.folder), "trained_epochs": result.trained_epochs}


def summary(model: BookModel, result: RunResult, *, next_command: str) -> str:
    """The lines after a run: the metric with its samples, the target, the weights, and what to run next."""
    record = result.record
    lines = []
    if result.trained_epochs == 0:
        lines.append(
            f"{model.name}: this run was finished already, at epoch {len(record.curve)}. Nothing was trained; "
            "a higher --epochs trains on"
        )
    if result.stopped:
        lines.append(f"{model.name}: {result.stopped}")
    kept = kept_epoch(record.curve, record.config.best_by)
    others = [(name, value) for name, value in kept.validation.items() if name != record.metric]
    if record.config.best_by:
        lines.append(
            f"{model.name}: kept epoch {kept.epoch} of {len(record.curve)}, the best by {record.config.best_by}"
        )
    lines += [
        f"{model.name}: {record.metric} {record.value:.4f} on {record.validation_samples:,} validation samples "
        f"(95 % interval {record.low:.4f} to {record.high:.4f}), "
        f"{len(record.curve)} epoch{'s' * (len(record.curve) != 1)} in {record.wall_s:.1f} s on {record.device}",
        *(f"also:    {name} {value:.4f}" for name, value in others),
        f"target:  {model.target.metric} {model.target.value:.2f}, {model.target.source}",
        f"weights: {result.weights}",
        f"next:    {next_command}",
    ]
    return "\n".join(lines)


def list_models(*, as_json: bool = False) -> None:
    """Prints every registered model with its chapter, task, target and summary."""
    if as_json:
        entries = [
            {
                "name": model.name,
                "chapter": model.chapter,
                "task": model.task,
                "summary": model.summary,
                "labels": list(model.labels),
                "fit": asdict(model.fit),
                "target": {"metric": model.target.metric, "value": model.target.value, "source": model.target.source},
            }
            for model in BOOK_MODELS.values()
        ]
        print_json(entries, sort_keys=True)
        return
    from edgekit.cli.terminal import listing, out

    rows = [
        (model.name, f"{model.chapter}", model.task, f"{model.target.metric} {model.target.value:.2f}", model.summary)
        for model in BOOK_MODELS.values()
    ]
    listing(("model", "chapter", "task", "target", "summary"), rows, console=out)


def _warn_of_unfinished(folder: Path, command: str) -> None:
    """Says so when this run will replace one that was interrupted: that may hold hours of training."""
    try:
        state = read_state(folder)
    except EdgekitError:  # damaged: nothing that could be resumed
        return
    if state and state.epoch < state.identity.get("epochs", 0) and not _stopped_early(state):
        print(
            f"note: {folder} holds an interrupted run, at epoch {state.epoch} of {state.identity['epochs']}. This run "
            f"will replace it after its first epoch. To resume the old one instead, stop now and run:\n"
            f"  {command} --resume",
            file=sys.stderr,
        )


def _stopped_early(state: ResumeState) -> bool:
    model = BOOK_MODELS.get(state.identity["model"])
    return model is not None and stop_reason(state.curve, state.identity.get("patience"), model.task) is not None
