"""What need not be measured again: bundles that nothing has changed since an earlier run measured them, here.

Measures nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import Settings
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.bundle.manifest import MANIFEST_FILE
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.machine.cpu import machine


def measured_before(path: Path, baseline: str, bundles: Sequence[Path], settings: Settings) -> Measurement | None:
    """The measurement in `path` where it is of just these candidates as they are now; None where it is not.

    Args:
        path: an earlier run's results.json.
        baseline: the name of the first row, "" where that is a bundle.
        bundles: folders of the other rows, in order.
        settings: how they would be measured now.
    """
    try:
        earlier = measurement.load(path)
        measured_ns = path.stat().st_mtime_ns
        if any((folder / MANIFEST_FILE).stat().st_mtime_ns > measured_ns for folder in bundles):
            return None
    except (UsageError, OSError):  # none, one of another version, or half of it removed
        return None
    wanted = [*([baseline] if baseline else []), *(folder.name for folder in bundles)]
    found = [row.name for row in earlier.rows if not row.error]
    here = (earlier.machine, earlier.settings) == (machine(), settings)
    return earlier if here and found == wanted else None
