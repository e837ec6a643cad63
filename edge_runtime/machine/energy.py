"""Energy from the machine's own counters (RAPL, as Linux shows it), or the reason why there is none. Never estimates.

What the counter counts is the processor package: the model, everything else that ran, and the idle share. It knows no
model; whoever reads it before and after a piece of work takes the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One processor package: its counter in microjoules, and where that counter wraps around."""

    path: Path
    range_uj: int

    def read_uj(self) -> int:
        return int((self.path / "energy_uj").read_text())


@dataclass(frozen=True, kw_only=True)
class EnergyMeter:
    """The counters of all packages. Without any, `missing` says why, and readings are empty."""

    zones: tuple[Zone, ...] = ()
    missing: str = ""

    @classmethod
    def find(cls, powercap: Path = POWERCAP) -> EnergyMeter:
        """The meter of this machine. Never raises: a machine without a counter is the usual case."""
        if not powercap.is_dir():
            return cls(missing="this system shows no energy counter (no powercap folder)")
        zones = []
        for path in sorted(powercap.glob("*rapl*:*")):
            # intel-rapl:0 is a package, intel-rapl:0:0 its cores, which it holds already; intel-rapl-mmio is the same
            # package once more, and psys may hold more than the processor.
            if path.name.count(":") != 1 or "mmio" in path.name or not _text(path / "name").startswith("package"):
                continue
            zone = Zone(path=path, range_uj=int(_text(path / "max_energy_range_uj") or 0))
            try:
                zone.read_uj()
            except PermissionError:
                return cls(missing=f"only root may read {path / 'energy_uj'}: run as root to measure energy")
            except (OSError, ValueError):
                continue
            zones.append(zone)
        if not zones:
            return cls(missing="the powercap folder holds no counter of a processor package")
        return cls(zones=tuple(zones))

    def read_uj(self) -> tuple[int, ...]:
        """Microjoules of each package since some moment in the past; of use only in differences."""
        return tuple(zone.read_uj() for zone in self.zones)

    def used_uj(self, before: Sequence[int], after: Sequence[int]) -> int:
        """Microjoules between two readings, all packages together; a counter that wrapped around once is understood."""
        used = 0
        for zone, first, second in zip(self.zones, before, after, strict=True):
            used += second - first if second >= first else second - first + zone.range_uj
        return used


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
