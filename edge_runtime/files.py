"""Files that can be relied on: hashed in a stream, written whole or not at all. Knows nothing about what is in them.

What is being written has a hidden name that says whose it is, beside its final place. Whoever writes there next removes
what a killed process left (`owner`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import NoHome, UsageError, shown
from .owner import hidden_prefix, remove, sweep_once

_PATIENCE_S = 2.0
MOST_BYTES = 1 << 30  # of a file that is read whole because an option names it


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in 1 MiB pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_plain_file(path: Path) -> bool:
    """Whether this is a regular file, and not a symbolic link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def read_plain(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file, or of one that a link leads to.

    Raises:
        OSError: there is none, it cannot be read, it is a device, a pipe or a folder, or it has more bytes.
    """
    with _open_plain(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def check_plain(path: Path) -> None:
    """Returns where a library may read the file without end or waiting: it is a regular one. Raises as `read_plain`."""
    _open_plain(path).close()


def _open_plain(path: Path, flags: int = 0) -> BinaryIO:
    try:
        _check_regular(path, path.stat())  # opening a device may do something already
        # NONBLOCK, because opening a pipe would wait for its other end: it may have come in between.
        flags |= os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    try:
        _check_regular(path, os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _check_regular(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(about.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def _check_replaceable(target: Path) -> None:
    """Raises OSError where renaming onto `target` takes a device, a pipe or a socket away: even /dev/null, for root.

    The links in /dev, such as stdout, are taken for devices whatever they lead to just now.
    """
    if os.path.lexists(target) and Path(os.path.realpath(target.parent)) == Path("/dev"):
        raise OSError(errno.EINVAL, "it is a device, not a regular file", str(target))
    with suppress(FileNotFoundError, NotADirectoryError):
        about = target.stat()
        if not stat.S_ISDIR(about.st_mode):
            _check_regular(target, about)


def check_output(target: Path, inputs: Iterable[Path] = ()) -> None:
    """Returns where writing `target`, a file or a folder, replaces no input and adds nothing to an input's folder.

    Nor may it replace a device, a pipe or a socket, or add to a bundle, whether that is read or not: a bundle with
    another file in it is refused for good.

    Raises:
        UsageError: it would.
    """
    try:
        _check_replaceable(target)
        places = [place for place in (target.resolve(), *target.resolve().parents) if place.exists()]
        for path in inputs:
            if any(path.exists() and place.samefile(path) for place in places):
                raise UsageError(
                    f"{target} is {path}, or lies in it, and that is read: it would be damaged. Give another place"
                )
        for place in filter(_is_bundle, places):
            raise UsageError(
                f"{target} lies in the bundle {place}, which is refused once another file is in it. Give another place"
            )
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a path that is too long, a NUL in it
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(f"{shown(target)} cannot be written: {shown(reason)}. Give another place") from None


def _is_bundle(place: Path) -> bool:
    with suppress(OSError):
        return b'"format_version"' in read_plain(place / "manifest.json", most_bytes=1 << 22)
    return False


def copy_plain(source: Path, target: Path, *, most_bytes: int) -> None:
    """Copies a regular file to the new file `target`.

    Args:
        most_bytes: stops one byte after it, so that the copy still shows that the file was too long.
    Raises:
        OSError: it is not a regular file, is a symbolic link, cannot be read, or `target` exists.
    """
    with _open_plain(source, getattr(os, "O_NOFOLLOW", 0)) as file:
        left = most_bytes + 1
        with target.open("xb") as copy:
            while chunk := file.read(min(left, 1 << 20)):
                copy.write(chunk)
                left -= len(chunk)


@contextmanager
def write_atomically(target: Path, *, beside: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `target`; on success it is flushed and renamed to `target`, otherwise removed.

    A reader sees the old file or the new one, never a half-written one, even after a crash or on a full disk.

    Args:
        beside: the folder for the temporary file, on the same disk; `target`'s own without one.
    """
    _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = beside or target.parent
    sweep_once(folder.absolute())
    handle, name = tempfile.mkstemp(dir=folder, prefix=hidden_prefix(target.name), suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)  # otherwise mkstemp's 0600 would stay with the file wherever it goes
        _replace(part, target)
    except OSError as error:
        if error.filename in (None, name):  # a failed write names no file, and a temporary name helps nobody
            error.filename = str(target)
        raise
    finally:
        part.unlink(missing_ok=True)


def _replace(part: Path, target: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            part.replace(target)
            return
        except PermissionError:  # on Windows also while another process, such as a scanner, reads the old one
            if os.name != "nt" or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def require_writable(folder: Path) -> None:
    """Makes a folder where it is missing, and tries that files can be made in it, before hours of work for it.

    Raises:
        OSError: they cannot; it names the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)
        raise


@contextmanager
def folder_atomically(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yields a hidden folder beside `target`, which becomes `target` on success and is removed otherwise, Ctrl-C too.

    Args:
        replace: a folder that is already there gives way; otherwise only an empty one does.
    Raises:
        OSError: `target` is not empty, or cannot be written.
    """
    _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(target.parent.absolute())
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=hidden_prefix(target.name)))
    aside = staging.with_name(f"{staging.name}.old")
    try:
        yield staging
        staging.chmod(0o755)
        if replace and os.path.lexists(target):
            target.rename(aside)
        elif target.is_dir():
            target.rmdir()
        staging.rename(target)
    finally:
        if os.path.lexists(aside) and not os.path.lexists(target):
            aside.rename(target)
        for left in filter(os.path.lexists, (aside, staging)):
            remove(left)


def write_bytes(target: Path, content: bytes, *, beside: Path | None = None) -> None:
    """Writes `content` to `target`, atomically; `beside` as for `write_atomically`."""
    with write_atomically(target, beside=beside) as part:
        part.write_bytes(content)


def user_cache() -> Path:
    """The folder for files that can be made again at any time.

    Raises:
        NoHome: this user has no home folder, as in a container that was given only a number.
    """
    # The specification of XDG_CACHE_HOME says to ignore a relative path.
    for name in ("XDG_CACHE_HOME", *(["LOCALAPPDATA"] if os.name == "nt" else [])):
        if (base := Path(os.environ.get(name, ""))).is_absolute():
            return base / "edgekit"
    return home() / ".cache" / "edgekit"


def home() -> Path:
    """The user's home folder. Raises NoHome."""
    try:
        return Path.home()
    except RuntimeError:
        raise NoHome(
            "this user has no home folder to keep files in. Set HOME, or XDG_CACHE_HOME and EDGEKIT_DATA, to folders "
            "that may be written to"
        ) from None


def cached(*parts: str) -> Path | None:
    """A place in the user's cache for what is kept only to save time; None where this user has no cache."""
    try:
        return user_cache().joinpath(*parts)
    except NoHome:
        return None


def keep(path: Path | None, content: bytes) -> None:
    """Writes what is kept only to save time. Where that cannot be written, nothing is lost but the time."""
    if path is not None:
        with suppress(OSError):
            write_bytes(path, content)
