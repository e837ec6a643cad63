"""`python -m experiments.footprint_overhead BUNDLE ROUNDS`: `Engine.run` beside the library's own call, in turn.

Prints [[engine ns, library ns], …] as JSON. It reaches into the two sessions for that call, which nobody else needs.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

from edgekit.edge_runtime import Bundle, load_engine
from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.engines import Engine
from edgekit.edge_runtime.engines.executorch_native import NativeSession
from edgekit.edge_runtime.engines.onnx import OnnxSession
from edgekit.edge_runtime.errors import UsageError


def library_call(engine: Engine, sample: Arrays, names: list[str]) -> Callable[[], object]:
    """What `engine.run(sample)` calls in the end, on inputs that lie ready."""
    session = engine._session
    if isinstance(session, OnnxSession):
        run, outputs = session._session.run, session._outputs
        return lambda: run(outputs, sample)
    if isinstance(session, NativeSession):
        session.run([sample[name] for name in names])  # leaves the inputs' addresses where the library looks for them
        run, arguments = session._library.edgekit_run, session._arguments
        return lambda: run(*arguments)
    raise UsageError(f"the overhead of {engine.name} is not measured. Give a bundle of onnx or native executorch")


def median_ns(call: Callable[[], object], count: int) -> float:
    found = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - start)
    return statistics.median(found)


def main(path: str, rounds: int) -> None:
    with Bundle.open(path) as bundle, load_engine(bundle) as engine:
        sample = bundle.golden().sample(0)
        library = library_call(engine, sample, [spec.name for spec in bundle.manifest.inputs])

        def ours() -> object:
            return engine.run(sample)

        median_ns(ours, 300)
        print(json.dumps([(median_ns(ours, 200), median_ns(library, 200)) for _ in range(rounds)]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
