"""A 64-bit ARM Linux to run programs in: qemu with a Cortex-A72, and the few files of such a system."""

from __future__ import annotations

import shutil
from pathlib import Path

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")
_CORE = """processor\t: {i}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


def missing() -> str:
    """What is not installed here; "" where everything is."""
    absent = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    return f"no {' or '.join(absent)} (apt-get install g++-aarch64-linux-gnu qemu-user)" if absent else ""


def emulated(root: Path) -> list[str]:
    """The words before a command that is to run on the emulated processor.

    Args:
        root: a new folder for the system's files. Without its own /proc/cpuinfo a library that looks up its processor
            there would find this machine's, which is of another kind; ONNX Runtime then crashes.
    """
    (root / "proc").mkdir(parents=True)
    (root / "sys/devices/system/cpu").mkdir(parents=True)
    (root / "lib").symlink_to(LIBRARIES)
    (root / "proc/cpuinfo").write_text("".join(_CORE.format(i=i) for i in range(2)))
    # qemu's default processor has instructions that int8 kernels of XNNPACK answer wrongly with.
    return [EMULATOR, "-cpu", "cortex-a72", "-L", str(root)]
