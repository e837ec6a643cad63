"""Which kinds of devices there are. A new one is a folder here and one line."""

from __future__ import annotations

from ..errors import unknown
from .device import Device
from .web.writer import WEB

DEVICES: dict[str, Device] = {
    "web": WEB,
}


def device(name: str) -> Device:
    """The device of this name. Raises `UsageError`, which lists the known ones."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]
