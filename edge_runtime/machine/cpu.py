"""This machine's processor, as the operating system describes it. Knows nothing about models or measuring."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Iterable
from pathlib import Path

# Instruction sets that make 8-bit arithmetic fast: they sum products of bytes in one step, without overflow.
INT8_ISA = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "sve2")
VECTOR_ISA = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_bf16", "asimd", "fphp", "sve")


@functools.cache
def _fields() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}


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
