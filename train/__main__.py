"""`python -m edgekit.train MODEL`: training from a source checkout, on a machine that has torch but not edgekit
installed.

The same as `edgekit train`; heavy imports come last, so that `--help` and Ctrl-C are answered at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.safe_path import leave_out_current_folder

if TYPE_CHECKING:
    import argparse


def main() -> int:
    """Trains what the command line names; returns the exit status. Expected failures are a message, no traceback."""
    leave_out_current_folder()
    import argparse

    parser = argparse.ArgumentParser(prog="python -m edgekit.train", description="Train a model of the book.")
    parser.add_argument("model", help="a model of train/registry.py")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: runs)")
    parser.add_argument("--epochs", type=int, help="instead of the model's own setting")
    parser.add_argument("--seed", type=int, help="instead of the model's own setting")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--precision", help="32-true or bf16-mixed, instead of the model's own setting")
    parser.add_argument("--tensorboard", action="store_true", help="log curves, pictures and weights for TensorBoard")
    parser.add_argument("--resume", action="store_true", help="go on from the last finished epoch")
    parser.add_argument("--epoch-samples", type=int, help="crops drawn an epoch, for the models of chest CTs")
    parser.add_argument("--json", action="store_true", help="print the run's record as JSON")
    options = parser.parse_args()
    try:
        return _train(options)
    except ModuleNotFoundError as error:
        print(f"error: training needs {error.name}, which is not installed: pip install -e '.[train]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted before training began", file=sys.stderr)
        return 130


def _train(options: argparse.Namespace) -> int:
    from edgekit.cli.train import train_model
    from edgekit.edge_runtime.errors import EdgekitError
    from edgekit.edge_runtime.program import sigterm_interrupts

    try:
        with sigterm_interrupts():  # as when the parent of a training that `edgekit reproduce` started is gone
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
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
