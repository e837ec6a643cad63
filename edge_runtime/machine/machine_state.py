"""What the machine was doing while something was measured: readings of its counters, None for each that it hides.

Only reads; `benchmark.validity` judges. On Linux the counters are files under /proc and /sys. Their root is a
parameter, so that a test can read other files. Containers and virtual machines often hide some counters.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The counters at one moment. Most count from some moment in the past, so only differences mean something."""

    at_s: float
    """When they were read, on a steady clock."""
    own_cpu_s: float
    """CPU time of the benchmark and its workers."""
    busy_cpu_s: float | None = None
    """CPU time of everything on the machine."""
    steal_s: float | None = None
    """CPU time that the host of a virtual machine kept for itself."""
    waiting_s: float | None = None
    """Time during which some task waited for a CPU (pressure stall information)."""
    swapped_pages: int | None = None
    """Pages swapped in or out."""
    throttled: int | None = None
    """How often a core was slowed down because it was hot."""
    quota_stops: int | None = None
    """How often a container had used up its share of CPU time and had to wait."""
    fastest_core_khz: int | None = None
    """Frequency of the fastest core."""
    hottest_c: float | None = None
    """Temperature of the hottest sensor."""
    load_1min: float | None = None
    """Load average of the last minute."""


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """All readings of one measurement, and what does not change while it runs."""

    readings: tuple[Reading, ...]
    """One before the first round and one after each."""
    cores: int
    """Cores of the machine."""
    governor: str = ""
    """The cores' frequency governors."""
    on_battery: bool | None = None
    """Whether it ran on its battery; None where it has none."""


def read_counters(pids: Iterable[int] = (), *, root: Path = Path("/")) -> Reading:
    """The counters now; the CPU time of the workers `pids` counts as the benchmark's own."""
    proc, cpus = root / "proc", root / "sys/devices/system/cpu"
    if root == Path("/") and not (proc / "stat").exists():
        return by_psutil(pids)
    cpu = _words(proc / "stat")
    busy = steal = None
    if len(cpu) >= 9 and cpu[0] == "cpu":
        # user nice system idle iowait irq softirq steal
        user, nice, system, _, _, irq, softirq, stolen = (int(word) / _TICKS_S for word in cpu[1:9])
        busy, steal = user + nice + system + irq + softirq, stolen
    pressure = [word for word in _words(proc / "pressure/cpu") if word.startswith("total=")]
    memory = _pairs(proc / "vmstat")
    swaps = [memory[key] for key in ("pswpin", "pswpout") if key in memory]
    quota = _pairs(root / "sys/fs/cgroup/cpu.stat") or _pairs(root / "sys/fs/cgroup/cpu/cpu.stat")
    khz = _numbers(cpus.glob("cpu*/cpufreq/scaling_cur_freq"))
    throttles = _numbers(cpus.glob("cpu*/thermal_throttle/*_throttle_count"))
    degrees = _numbers((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    load = _words(proc / "loadavg")
    return Reading(
        at_s=time.monotonic(),
        own_cpu_s=time.process_time() + sum(_cpu_s(proc / str(pid)) for pid in pids),
        busy_cpu_s=busy,
        steal_s=steal,
        waiting_s=int(pressure[0].removeprefix("total=")) / 1e6 if pressure else None,
        swapped_pages=sum(swaps) if len(swaps) == 2 else None,
        throttled=sum(throttles) if throttles else None,
        quota_stops=quota.get("nr_throttled"),
        fastest_core_khz=max(khz, default=None),
        hottest_c=max(degrees) / 1000 if degrees else None,
        load_1min=float(load[0]) if load else None,
    )


def by_psutil(pids: Iterable[int] = ()) -> Reading:
    """As `read_counters` where there is no /proc: what psutil knows on every system."""
    import psutil  # not needed on Linux, and not free

    times, processes = psutil.cpu_times(), []
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # it has gone
            processes.append(psutil.Process(pid).cpu_times())
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "interrupt", "softirq", "dpc"))
    load = frequency = None
    with contextlib.suppress(OSError, AttributeError):
        load = psutil.getloadavg()[0]
    with contextlib.suppress(Exception):  # some systems hide it, each in another way
        frequency = psutil.cpu_freq()
    return Reading(
        at_s=time.monotonic(),
        own_cpu_s=time.process_time() + sum(one.user + one.system for one in processes),
        busy_cpu_s=busy,
        fastest_core_khz=round(frequency.current * 1000) if frequency else None,
        load_1min=load,
    )


def machine_state(readings: Iterable[Reading], *, root: Path = Path("/")) -> MachineState:
    """The readings, with the number of cores, the frequency governors, and whether the machine runs on its battery."""
    governors = {_text(path) for path in root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}
    supplies = list(root.glob("sys/class/power_supply/*"))
    batteries = [_text(path / "status") for path in supplies if _text(path / "type") == "Battery"]
    if root == Path("/") and not (root / "sys").exists():
        batteries = _batteries()
    return MachineState(
        readings=tuple(readings),
        cores=os.cpu_count() or 1,
        governor=" ".join(sorted(governors)),
        on_battery="Discharging" in batteries if batteries else None,
    )


def _batteries() -> list[str]:
    """The state of the battery in Linux's words, where there is no /sys."""
    import psutil

    with contextlib.suppress(Exception):  # some systems hide it, each in another way
        if (battery := psutil.sensors_battery()) is not None:
            return ["Charging" if battery.power_plugged else "Discharging"]
    return []


def _cpu_s(folder: Path) -> float:
    """User and system time of a process; 0 when it has gone."""
    # The name in brackets may hold spaces; what follows it does not.
    words = _text(folder / "stat").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS_S if len(words) > 12 else 0.0


def _pairs(path: Path) -> dict[str, int]:
    """A file of lines `name number`."""
    lines = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def _numbers(paths: Iterable[Path]) -> list[int]:
    texts = [_text(path) for path in paths]
    return [int(text) for text in texts if text.lstrip("-").isdigit()]


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # not there, not allowed, or a sensor that is asleep
        return ""
