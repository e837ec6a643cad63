"""Memory of this process, as the operating system counts it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")  # Linux alone has it


def peak_rss_bytes(*, status: Path = STATUS) -> int:
    """The most resident memory this process ever held, in bytes."""
    high_water = _field(status, "VmHWM")
    if high_water is not None:
        return high_water
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def rss_bytes(*, status: Path = STATUS) -> int:
    """Resident memory now, in bytes."""
    now = _field(status, "VmRSS")
    if now is not None:
        return now
    import psutil  # only where there is no /proc: loading it adds to what is measured

    return psutil.Process().memory_info().rss


def total_bytes() -> int:
    """Memory of the whole machine, in bytes."""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf, others not all names
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import psutil

    return psutil.virtual_memory().total


def _field(status: Path, field: str) -> int | None:
    # Not from getrusage: on Linux a child inherits its parent's ru_maxrss across exec.
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None
