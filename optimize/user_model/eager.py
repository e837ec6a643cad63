"""A user's own module in eager PyTorch, in a process of its own: what its × smaller and × faster are measured against.

`python -m edgekit.optimize.user_model.eager FOLDER --threads N` speaks the protocol of
`edgekit.edge_runtime.worker.child`. The folder is a private one that `eager_of` has just filled: its pickle is never
anybody else's.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark.measure import Candidate
from edgekit.edge_runtime.engines import Engine
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.temporary import LockedFolder
from edgekit.edge_runtime.worker.child import serve
from edgekit.edge_runtime.worker.parent import Worker

from ..capture import capture
from ..deploy import DeployModel
from ..eager import EAGER, EagerSession
from . import user_imports
from .model import OwnModel
from .user_code import import_file
from .weights import weights_bytes

CAPTURED = "PyTorch captured"
_PARTS, _PROGRAM, _SPECS = "parts.pt", "program.pt2", "specs.pt"


@contextmanager
def eager_of(own: OwnModel) -> Iterator[Callable[[Arrays], Candidate | None]]:
    """Yields what makes the float model a candidate, as long as the context lasts; its size is that of its weights.

    A module whose classes another process cannot import (those of a notebook, or of the script that runs) is measured
    as torch.export captured it, run by PyTorch, and is called so. None where that fails as well.
    """
    model, name = own.model, EAGER
    with LockedFolder() as locked:
        folder = locked.path
        searched = (*(entry for entry in reversed(sys.path) if entry), *user_imports.folders())
        torch.save((model.inputs, model.outputs, searched, own.file), folder / _SPECS)

        def start(num_threads: int) -> Worker:
            arguments = [str(folder), "--threads", str(num_threads)]
            return Worker("edgekit.optimize.user_model.eager", arguments, name=name, num_threads=num_threads)

        def starts() -> bool:
            try:
                with start(1) as worker:
                    worker.load()
                    worker.run({key: rows[:1] for key, rows in model.validation.items()})
            except EdgekitError:
                return False
            return True

        def candidate(samples: Arrays) -> Candidate | None:
            nonlocal name
            size = weights_bytes(own.parts.model)
            if _pickled(own, folder / _PARTS) and starts():
                return Candidate(name=name, start=start, samples=samples, model_bytes=size)
            (folder / _PARTS).unlink(missing_ok=True)
            name = CAPTURED
            if _captured(model, folder / _PROGRAM) and starts():
                return Candidate(name=name, start=start, samples=samples, model_bytes=size)
            return None

        yield candidate


def _pickled(own: OwnModel, path: Path) -> bool:
    classes = {type(part) for part in own.parts.model.modules()}
    if any(kind.__module__ == "__main__" for kind in classes):
        return False
    try:
        torch.save(own.parts, path)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError):  # lambdas, local classes, open files
        return False
    return True


def _captured(model: DeployModel, path: Path) -> bool:
    try:
        program = capture(model)
        torch.export.save(program, path)
    except Exception:  # the exporters that need the same say why, each in its row
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edgekit.optimize.user_model.eager")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    def open_engine() -> Engine:
        inputs, outputs, searched, file = torch.load(arguments.folder / _SPECS, weights_only=False)
        for entry in searched:  # what the parent's path has besides is a script's own folder, or what it has added
            if entry not in sys.path:
                user_imports.search(Path(entry))
        if file is not None:
            import_file(file)
        if (arguments.folder / _PARTS).exists():
            module = torch.load(arguments.folder / _PARTS, weights_only=False).module()
        else:
            module = torch.export.load(arguments.folder / _PROGRAM).module()
        return Engine("eager", EagerSession(module), inputs, outputs)

    serve(open_engine)


if __name__ == "__main__":
    main()
