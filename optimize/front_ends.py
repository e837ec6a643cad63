"""What share of each bundle's time goes by before its first layer, where raw pixels go in.

That is "the bundle less the bare net". A profile of a few runs says it, by position; a bundle of the bare
net, measured beside the whole one, would take as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.profiling.front_end import front_end
from edgekit.edge_runtime.profiling.profile import profile_bundle

from .deploy import DeployModel
from .events import FrontEndMeasured, OnEvent

SHARE = "front_end_share"  # key of a measurement's notes: of 1
_SECONDS = 0.1  # and 15 runs with the profiler, however long they take
# TorchScript is left out: torch and its profiler take longer to load than all the others together.
_FORMATS = ("onnx", "executorch")


def front_ends(model: DeployModel, bundles: Sequence[Path], on_event: OnEvent) -> dict[str, dict[str, str]]:
    """Notes by bundle name; none for a model of other inputs, and for a bundle that has no profiler here."""
    if not any(spec.dtype == "uint8" and len(spec.shape) == 4 for spec in model.inputs):
        return {}
    notes = {}
    for path in bundles:
        try:
            with Bundle.open(path) as bundle:
                if bundle.manifest.artifact.format not in _FORMATS:
                    continue
            front = front_end(profile_bundle(path, seconds=_SECONDS))
        except (
            EdgekitError
        ):  # no compiler for the tracer, or a file that it does not know: the bundle runs all the same
            continue
        if front is not None:
            on_event(FrontEndMeasured(name=path.name, share=front.share, kinds=front.kinds))
            notes[path.name] = {SHARE: f"{front.share:.3f}"}
    return notes
