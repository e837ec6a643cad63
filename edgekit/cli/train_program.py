"""What `python -m edgekit.train MODEL` runs: `edgekit train` with a parser of the standard library, and no typer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgekit.cli.json_answer import keep_stdout_clean
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import MissingDependency
from edgekit.edge_runtime.program import program
from edgekit.edge_runtime.temporary import sweep_once


@program(interrupted="interrupted before training began")
def main() -> None:
    """Trains the model that the command line names."""
    options = _options()
    if options.json:
        keep_stdout_clean()
    sweep_once()
    try:
        from edgekit.cli.train import train_model  # brings torch, which takes seconds; --help is answered at once

        train_model(
            options.model,
            out=options.runs,
            epochs=options.epochs,
            seed=options.seed,
            device=options.device,
            precision=options.precision,
            tensorboard=options.tensorboard,
            resume=options.resume,
            epoch_samples=options.epoch_samples,
            json=options.json,
            program="python -m edgekit.train",
        )
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edgekit"):
            raise
        raise MissingDependency(
            f"training needs {error.name}, which is not installed. Run: {install('train')}"
        ) from None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m edgekit.train", description="Train a model of the book.")
    parser.add_argument("model", help="a model of train/registry.py")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the training runs (default: runs)")
    parser.add_argument("--epochs", type=int, help="override the model's own number of epochs")
    parser.add_argument("--seed", type=int, help="override the model's own seed")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--precision", help="32-true or bf16-mixed; overrides the model's own")
    parser.add_argument("--tensorboard", action="store_true", help="log curves, pictures and weights for TensorBoard")
    parser.add_argument("--resume", action="store_true", help="continue from the last finished epoch")
    parser.add_argument("--epoch-samples", type=int, help="crops in an epoch, for models of chest CTs")
    parser.add_argument("--json", action="store_true", help="print the run's record as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
