"""Memory of this process, as the operating system counts it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """The most resident memory this process ever held, in bytes."""
    high_water = _status("VmHWM")
    if high_water is not None:
        return high_water
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def rss_bytes() -> int:
    """Resident memory now, in bytes; the peak where the system does not report it."""
    now = _status("VmRSS")
    return peak_rss_bytes() if now is None else now


def _status(field: str) -> int | None:
    # Not from getrusage: on Linux a child inherits its parent's ru_maxrss across exec.
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None
