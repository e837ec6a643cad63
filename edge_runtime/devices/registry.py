"""Which kinds of devices there are. A new one is a folder here and one line."""

from __future__ import annotations

from ..errors import unknown
from .device import Device
from .linux.apps import LINUX_ARM64, LINUX_X86
from .web.writer import WEB

DEVICES: dict[str, Device] = {
    LINUX_X86.name: LINUX_X86,
    LINUX_ARM64.name: LINUX_ARM64,
    WEB.name: WEB,
}


def device(name: str) -> Device:
    """The device of this name. Raises `UsageError`, which lists the known ones."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]
