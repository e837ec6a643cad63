"""Files that can be relied on: hashed in a stream, written whole or not at all. Knows nothing about what is in them."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import NoHome


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


def copy_plain(source: Path, target: Path, *, most_bytes: int) -> None:
    """Copies a regular file to the new file `target`.

    Args:
        most_bytes: stops one byte after it, so that the copy still shows that the file was too long.
    Raises:
        OSError: it is not a regular file, is a symbolic link, cannot be read, or `target` exists.
    """
    # NONBLOCK, because opening a pipe would wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(source, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{source.name} is not a regular file")
        left = most_bytes + 1
        with target.open("xb") as copy:
            while chunk := file.read(min(left, 1 << 20)):
                copy.write(chunk)
                left -= len(chunk)


@contextmanager
def write_atomically(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; on success it is flushed and renamed to `target`, otherwise removed.

    A reader sees the old file or the new one, never a half-written one, even after a crash or on a full disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)  # otherwise mkstemp's 0600 would stay with the file wherever it goes
        part.replace(target)
    except OSError as error:
        if error.filename in (None, name):  # a failed write names no file, and a temporary name helps nobody
            error.filename = str(target)
        raise
    finally:
        part.unlink(missing_ok=True)


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


def write_bytes(target: Path, content: bytes) -> None:
    """Writes `content` to `target`, atomically."""
    with write_atomically(target) as part:
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
