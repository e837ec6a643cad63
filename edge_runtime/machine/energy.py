"""Energy from the machine's own counters (RAPL, as Linux shows it), or the reason why there is none. Never estimates.

A counter covers the whole processor package: the model, everything else that ran, and idle power. This module knows no
model; read the counters before and after a piece of work, and take the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One processor package."""

    path: Path
    """The folder with its counter."""
    range_uj: int
    """Where its counter wraps around, in microjoules."""

    def read_uj(self) -> int:
        return int((self.path / "energy_uj").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class EnergyMeter:
    """The counters of all packages. Without any, readings are empty."""

    zones: tuple[Zone, ...] = ()
    """The packages."""
    missing: str = ""
    """Why there are no counters."""

    @classmethod
    def find(cls, powercap: Path = POWERCAP) -> EnergyMeter:
        """This machine's meter. Never raises, since most machines show no counter."""
        if not powercap.is_dir():
            return cls(missing="this system shows no energy counter (there is no powercap folder)")
        zones = []
        for path in sorted(powercap.glob("*rapl*:*")):
            # intel-rapl:0 is a package. intel-rapl:0:0 are its cores, which it already includes; intel-rapl-mmio is the
            # same package again, and psys may include more than the processor.
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
            return cls(missing="the powercap folder has no counter of a processor package")
        return cls(zones=tuple(zones))

    def read_uj(self) -> tuple[int, ...]:
        """Microjoules of each package since some moment in the past; only differences mean something."""
        return tuple(zone.read_uj() for zone in self.zones)

    def used_uj(self, before: Sequence[int], after: Sequence[int]) -> int:
        """Microjoules between two readings, all packages together. A counter may have wrapped around once."""
        used = 0
        for zone, first, second in zip(self.zones, before, after, strict=True):
            used += second - first if second >= first else second - first + zone.range_uj
        return used


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
