"""Temporary names that say which process made them, so that a later one can tell what a killed one left behind.

A name holds a `mark`: the process's number, when it began, and where that number means something, since two containers
or machines may share a folder. Knows nothing about what is under such a name.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import stat
import time
import zlib
from pathlib import Path

from .locking import is_ours

_MARK = r"(?P<pid>[0-9]{1,10})-(?P<began>[0-9]{1,20})-(?P<place>[0-9a-f]{8})"
# What `hidden_prefix` begins and tempfile ends; `aside` adds the last word.
_HIDDEN = re.compile(rf"\.(?P<target>.+)\.{_MARK}\.[a-z0-9_]{{8}}(?:\.(?P<kind>part|old))?")
_ANYWHERE = re.compile(rf"(?:^|[-.]){_MARK}(?:[-.]|$)")
_UNKNOWN = "0"  # when a process began that cannot see itself, as without /proc
ELSEWHERE_S = 7 * 86_400.0  # what a process of another machine made, and nobody has touched for so long, is left over
_MOST_NAME_BYTES = 160  # of the target's own; a file system takes 255 in all


def mark() -> str:
    """This process, for a name: digits, letters and hyphens."""
    pid = os.getpid()
    return f"{pid}-{_own_start(pid)}-{_place()}"


def hidden_prefix(name: str) -> str:
    """How the name of a temporary file or folder begins that is to become `name` in the same folder."""
    # A name on Linux may be of bytes that are no text.
    short = os.fsencode(name)[:_MOST_NAME_BYTES].decode(errors="ignore")
    return f".{short}.{mark()}."


def is_gone(name: str) -> bool | None:
    """Whether the process whose mark is in `name` has ended; None where that cannot be told, or there is no mark."""
    found = _ANYWHERE.search(name)
    return None if found is None else _has_ended(found)


def sweep(folder: Path) -> None:
    """Removes what processes that are gone left in `folder` under hidden names, and puts back what they had set aside.

    Only what belongs to this user and has such a name is touched; what another process still writes stays.
    """
    try:
        names = [name for name in os.listdir(folder) if name.startswith(".")]
    except OSError:  # not there yet, or nothing for us to read
        return
    for name in names:
        found = _HIDDEN.fullmatch(name)
        with contextlib.suppress(OSError):  # gone meanwhile
            if found and _is_left(folder / name, found):
                _clear(folder / name, found)


def _clear(path: Path, found: re.Match[str]) -> None:
    target = path.with_name(found["target"])
    if found["kind"] != "old" or os.path.lexists(target):
        remove(path)
    elif len(target.name.encode()) < _MOST_NAME_BYTES:  # else that may be half of its name
        path.rename(target)  # it was killed before the new one came in its place


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it; what cannot be removed stays."""
    if path.suffix == ".old":  # half of it must never be put back
        path = path.rename(path.with_suffix(""))
    if stat.S_ISDIR(path.lstat().st_mode):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def sweep_once(folder: Path) -> None:
    """`sweep`, the first time that it is called for a folder."""
    sweep(folder)


def _is_left(path: Path, found: re.Match[str]) -> bool:
    about = path.lstat()
    if not is_ours(about.st_uid):
        return False
    gone = _has_ended(found)
    return time.time() - about.st_mtime > ELSEWHERE_S if gone is None else gone


def _has_ended(found: re.Match[str]) -> bool | None:
    if found["place"] != _place() or found["began"] == _UNKNOWN:
        return None
    return _start_of(int(found["pid"])) != int(found["began"])


@functools.cache
def _own_start(pid: int) -> int:
    return _start_of(pid) or int(_UNKNOWN)


@functools.cache
def _place() -> str:
    """Where process numbers mean what they mean here: this machine, and on Linux this container."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


def _start_of(pid: int) -> int | None:
    """When a process began, in a unit of the system's; None where there is none, or it has ended and is a zombie."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
        return _start_by_psutil(pid)
    state, *fields = raw.rpartition(b")")[2].split()  # its name comes before, and may hold anything
    return None if state in (b"Z", b"X") else int(fields[18])


def _start_by_psutil(pid: int) -> int | None:
    import psutil  # not free, and not needed on Linux

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
    except psutil.Error:
        return None
