"""This machine's processor, as the operating system describes it. Knows nothing about models or measuring."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# Instruction sets that make 8-bit arithmetic fast: they sum products of bytes in one step, without overflow.
INT8_ISA = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "sve2")
VECTOR_ISA = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_bf16", "asimd", "fphp", "sve")


@functools.cache
def _fields() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _elsewhere()
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}


def _elsewhere() -> dict[str, str]:
    """What macOS and Windows say, by the names of Linux."""
    if sys.platform == "darwin":
        said = dict(line.split(": ", 1) for line in _sysctl().splitlines() if ": " in line)
        on_arm = {flag: said.get(f"hw.optional.arm.{name}") == "1" for flag, name in _ARM_FLAGS.items()}
        flags = [flag for flag, has in on_arm.items() if has]
        flags += " ".join(said.get(key, "") for key in _INTEL_FLAGS).lower().split()
        return {"model name": said.get("machdep.cpu.brand_string", ""), "flags": " ".join(flags)}
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _WINDOWS_KEY) as key:
            return {"model name": str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()}
    return {}


_WINDOWS_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_ARM_FLAGS = {"asimd": "AdvSIMD", "asimddp": "FEAT_DotProd", "i8mm": "FEAT_I8MM", "fphp": "FEAT_FP16"}
_INTEL_FLAGS = ("machdep.cpu.features", "machdep.cpu.leaf7_features")


def _sysctl() -> str:
    try:
        return subprocess.run(
            ["/usr/sbin/sysctl", "-a"], capture_output=True, encoding="utf-8", errors="replace", timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def name() -> str:
    """The processor's name, or its architecture where the system has no name for it."""
    return _fields().get("model name") or platform.processor() or platform.machine()


def flags() -> frozenset[str]:
    """Instruction sets, by Linux's names; empty where the system does not list them."""
    return frozenset(_fields().get("flags", _fields().get("Features", "")).split())


def missing(wanted: Iterable[str]) -> tuple[str, ...]:
    """Which of these instruction sets this processor lacks. Compilers' names work too: avx512vnni for avx512_vnni.

    Empty where the system does not list them.
    """
    present = {flag.replace("_", "") for flag in flags()}
    return tuple(flag for flag in wanted if present and flag.replace("_", "") not in present)


def cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def machine() -> dict[str, str]:
    """Where a measurement is made: processor, instruction sets that matter for speed, cores, system."""
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
    return {
        "cpu": name(),
        "isa": " ".join(flag for flag in known if flag in flags()),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
