"""The one `.zip` form of a bundle: equal files give equal bytes, and nothing but that form is read back.

Members lie uncompressed, one after the other, the manifest first and the others by name; every header field other than
name, size and CRC-32 is fixed. So an archive is its content: there is no room for a compressed bomb, a link, a path
that leaves the folder, overlapping, hidden or appended data. Any unzip tool can open one; an archive made by another
tool is refused. Layout: PKWARE APPNOTE.TXT 6.3.10, section 4.3. This module does not know what is in the files.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..command_line import EDGEKIT
from ..errors import BundleError, system_text
from ..files import write_atomically
from .names import MANIFEST_FILE, SAFE_NAME

MAX_MEMBERS = 64
MAX_ARCHIVE_BYTES = (4 << 30) - 2  # 0xFFFFFFFF in a 32-bit field announces ZIP64, which no bundle needs

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION = 20  # APPNOTE 2.0, what Python's own zipfile writes
_MADE_BY = 3 << 8 | _VERSION  # 3 = Unix, on every machine, so that the permissions below are understood
_DATE = 1 << 5 | 1  # 1980-01-01, the earliest that the format can express
_ATTRIBUTES = (stat.S_IFREG | 0o644) << 16
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Member:
    """What varies between members. `offset` is where its local header starts, in bytes."""

    name: str
    crc: int
    size: int
    offset: int

    @property
    def end(self) -> int:
        return self.offset + _LOCAL.size + len(self.name) + self.size

    def local_header(self) -> bytes:
        sizes = (self.crc, self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, *sizes) + self.name.encode("ascii")

    def central_header(self) -> bytes:
        sizes = (self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, _ATTRIBUTES, self.offset)
        return _CENTRAL.pack(b"PK\1\2", _MADE_BY, _VERSION, 0, 0, 0, _DATE, *sizes) + self.name.encode("ascii")


def write_zip(files: Sequence[tuple[str, Path]], target: Path) -> None:
    """Packs the named files into `target`, atomically; their order, dates and permissions do not matter.

    Raises:
        BundleError: a name that is not plain or comes twice, no manifest, too many files, 4 GiB or more, or a file that
            cannot be read or written. `target` is then as it was before.
    """
    paths = dict(files)
    problem = _names_problem([name for name, _ in files], _ordered(paths))
    if problem:
        raise BundleError(f"{target} was not written: {problem}. Give a bundle's own files, each once")
    try:
        with write_atomically(target) as part, part.open("wb") as archive:
            members: list[_Member] = []
            for name in _ordered(paths):
                members.append(_append(archive, name, paths[name], target))
            directory = b"".join(member.central_header() for member in members)
            archive.write(directory + _end(len(members), len(directory), members[-1].end))
    except OSError as error:
        raise BundleError(f"{target} was not written: {system_text(error)}") from None


def extract_zip(path: Path, into: Path) -> None:
    """Unpacks an archive that `write_zip` made into the folder `into`, in 1 MiB pieces.

    All headers are checked before the first byte is written; when data turns out to be damaged, or the disk is full,
    the files written so far are removed again. Existing files are never replaced.

    Raises:
        BundleError: the file cannot be read, is not such an archive, or was changed after packing.
    """
    written: list[Path] = []
    try:
        with path.open("rb") as archive:
            members = _read_members(archive, path)
            into.mkdir(parents=True, exist_ok=True)
            for member in members:
                # "x" follows no link that lies in wait, and stops "a" and "A" meeting on a disk that ignores case.
                with (into / member.name).open("xb") as file:
                    written.append(into / member.name)
                    _copy_member(archive, member, file, path)
    except BaseException as error:
        for half in written:
            half.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BundleError(f"{path} was not unpacked: {system_text(error)}") from None
        raise


def _append(archive: BinaryIO, name: str, source: Path, target: Path) -> _Member:
    """Writes one member at the archive's end; size and CRC are those of the bytes that were copied."""
    offset, crc, size = archive.tell(), 0, 0
    archive.write(_Member(name=name, crc=0, size=0, offset=0).local_header())
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            if archive.tell() + len(chunk) + (MAX_MEMBERS + 1) * (_CENTRAL.size + 128) > MAX_ARCHIVE_BYTES:
                raise BundleError(f"{target} was not written: {source} makes it larger than 4 GiB. Keep it a folder")
            archive.write(chunk)
    member = _Member(name=name, crc=crc, size=size, offset=offset)
    archive.seek(offset)
    archive.write(member.local_header())
    archive.seek(member.end)
    return member


def _read_members(archive: BinaryIO, path: Path) -> list[_Member]:
    """Every member, after its headers were found to be byte for byte what `write_zip` would have written."""
    total = archive.seek(0, 2)
    if total > MAX_ARCHIVE_BYTES:
        raise _refused(path, f"it has {total:,} bytes, more than the 4 GiB that a bundle's archive may have")
    archive.seek(max(0, total - _END.size))
    end = archive.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise _refused(path, "it is not a .zip file, or it was cut short, or something was appended to it")
    count, size, offset = _END.unpack(end)[4:7]
    if not 0 < count <= MAX_MEMBERS:
        raise _refused(path, f"it says it has {count} members; a bundle has 1 to {MAX_MEMBERS}")
    if end != _end(count, size, offset) or offset + size + _END.size != total:
        raise _refused(path, "its directory does not lie where it says: data is missing, prepended or appended")
    archive.seek(offset)
    members = list(_parse_directory(archive.read(size), count, path))
    names = [member.name for member in members]
    problem = _names_problem(names, names)
    if problem:
        raise _refused(path, problem)
    if members[-1].end != offset:
        raise _refused(path, "its members do not fill the space before its directory")
    for member in members:
        archive.seek(member.offset)
        header = member.local_header()
        if archive.read(len(header)) != header:
            raise _refused(path, f"the header of {member.name} does not agree with the directory")
    return members


def _parse_directory(directory: bytes, count: int, path: Path) -> Iterator[_Member]:
    at = expected_offset = 0
    for _ in range(count):
        if len(directory) - at < _CENTRAL.size:
            raise _refused(path, "its directory is cut short")
        fields = _CENTRAL.unpack_from(directory, at)
        flags, method, crc, size, name_length, attributes, offset = (fields[i] for i in (3, 4, 7, 9, 10, 15, 16))
        raw = directory[at + _CENTRAL.size : at + _CENTRAL.size + name_length]
        name = raw.decode("ascii", "backslashreplace")
        if not SAFE_NAME.fullmatch(name):
            raise _refused(path, f"the member name {name[:80]!r} is not a plain file name")
        if flags & 1:
            raise _refused(path, f"{name} is encrypted")
        if method != 0:
            raise _refused(path, f"{name} is compressed; only stored members are read")
        if not stat.S_ISREG(attributes >> 16):
            raise _refused(path, f"{name} is a link or something else that is not a regular file")
        if offset != expected_offset:
            raise _refused(path, f"{name} overlaps another member, or data is hidden before it")
        member = _Member(name=name, crc=crc, size=size, offset=offset)
        header = member.central_header()
        if directory[at : at + len(header)] != header:
            raise _refused(path, f"the directory entry of {name} was not written by edgekit")
        at, expected_offset = at + len(header), member.end
        yield member
    if at != len(directory):
        raise _refused(path, "its directory holds more than its members")


def _copy_member(archive: BinaryIO, member: _Member, file: BinaryIO, path: Path) -> None:
    archive.seek(member.end - member.size)
    crc, left = 0, member.size
    while left:
        chunk = archive.read(min(left, _CHUNK))
        if not chunk:
            raise _refused(path, f"{member.name} is cut short")
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
        file.write(chunk)
    if crc != member.crc:
        raise _refused(path, f"{member.name} is damaged: its CRC-32 is {crc:08x}, the archive says {member.crc:08x}")


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != MANIFEST_FILE, name))


def _names_problem(names: list[str], in_archive: list[str]) -> str:
    """What is wrong with a bundle's member names, "" if nothing. `in_archive`: the order they lie or will lie in."""
    for name in names:
        if not SAFE_NAME.fullmatch(name):
            return f"{name[:80]!r} is not a plain file name"
    if len({name.lower() for name in names}) < len(names):
        return "two of its members have the same name"
    if MANIFEST_FILE not in names:
        return f"it has no {MANIFEST_FILE}"
    if len(names) > MAX_MEMBERS:
        return f"it has {len(names)} members; a bundle has at most {MAX_MEMBERS}"
    return "" if in_archive == _ordered(names) else "its members are not in a bundle's order"


def _end(count: int, size: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


def _refused(path: Path, what: str) -> BundleError:
    return BundleError(f"{path} was refused: {what}. Fetch the bundle again, or pack its folder with `{EDGEKIT} pack`")
