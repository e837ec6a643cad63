"""The float model in eager PyTorch, in a process of its own: what every × smaller and × faster is measured against.

`python -m edgekit.optimize.eager MODEL WEIGHTS --threads N` speaks the protocol of `edgekit.edge_runtime.worker.child`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark.measure import Candidate
from edgekit.edge_runtime.engines import Engine
from edgekit.edge_runtime.engines.torch_arrays import arrays_of, tensors_of
from edgekit.edge_runtime.worker.child import serve
from edgekit.edge_runtime.worker.parent import Worker
from edgekit.train.registry import book_model

from .deploy import DeployModel, load_book_module

EAGER = "PyTorch eager"


class EagerSession:
    """A module in evaluation mode, called as PyTorch's own documentation calls it."""

    version = f"torch {torch.__version__} (eager)"

    def __init__(self, module: torch.nn.Module):
        self._module = module

    @property
    def num_threads(self) -> int:
        return torch.get_num_threads()

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            taken = tensors_of(inputs)
            return arrays_of(self._module(*taken), taken)


def eager_candidate(model: DeployModel, weights: Path, samples: Arrays) -> Candidate:
    """The float model as a benchmark candidate; its size is that of the weights' file."""

    def start(num_threads: int) -> Worker:
        arguments = [model.name, str(weights), "--threads", str(num_threads)]
        return Worker("edgekit.optimize.eager", arguments, name=EAGER, num_threads=num_threads)

    return Candidate(name=EAGER, start=start, samples=samples, model_bytes=weights.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edgekit.optimize.eager")
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    book = book_model(arguments.model)

    def open_engine() -> Engine:
        loaded = load_book_module(book, arguments.weights)
        return Engine("eager", EagerSession(loaded.module), loaded.inputs, loaded.outputs)

    serve(open_engine)


if __name__ == "__main__":
    main()
