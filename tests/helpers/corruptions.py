"""Thousands of ways to spoil a bundle, each a name and a function that spoils the bundle folder it is given.

Some leave the checksums wrong, as accidents do; the rest make them fit again, as a hostile packer would.
"""

import functools
import hashlib
import json
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.edge_runtime.bundle.archive import write_zip
from edgekit.edge_runtime.decode import canonical_json

Spoil = Callable[[Path], Path]
FILES = ("manifest.json", "golden.npz", "model.onnx")


def packed(folder: Path) -> Path:
    """The folder's `.zip`, beside it."""
    target = folder.with_suffix(".zip")
    target.write_bytes(_archive(tuple((folder / name).read_bytes() for name in FILES)))
    return target


@functools.cache  # write_zip waits for the disk, and most archives begin as the same one
def _archive(content: tuple[bytes, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, raw in zip(FILES, content, strict=True):
            (folder / name).write_bytes(raw)
        write_zip([(name, folder / name) for name in FILES], folder / "x.zip")
        return (folder / "x.zip").read_bytes()


def damaged(raw: bytes, chance: random.Random) -> bytes:
    """`raw` after an accident that changed it: a bit flipped, a piece cut, repeated, zeroed, inserted or appended."""
    while (found := _accident(raw, chance)) == raw:
        continue
    return found


def flipped(raw: bytes, chance: random.Random) -> bytes:
    """`raw` with one bit the other way."""
    at = chance.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)]) + raw[at + 1 :]


def _accident(raw: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(raw)), chance.choice([1, 2, 4, 8, 64, 512])
    match chance.randrange(8):
        case 0 | 1:
            return flipped(raw, chance)
        case 2:
            return raw[:at]
        case 3:
            return raw[:at] + raw[at + length :]
        case 4:
            return raw[:at] + raw[at : at + length] + raw[at:]
        case 5:
            return raw[:at] + bytes(min(length, len(raw) - at)) + raw[at + length :]
        case 6:
            return raw[:at] + chance.randbytes(length) + raw[at:]
        case _:
            return raw + chance.randbytes(length)


def accidents(count: int) -> Iterator[tuple[str, Spoil]]:
    """Damage to the three files and to the archive, its headers more often than chance would have it."""

    def spoil_file(name: str, seed: int) -> Spoil:
        def spoil(folder: Path) -> Path:
            (folder / name).write_bytes(damaged((folder / name).read_bytes(), random.Random(seed)))
            return folder

        return spoil

    def spoil_zip(seed: int) -> Spoil:
        def spoil(folder: Path) -> Path:
            archive, chance = packed(folder), random.Random(seed)
            raw = archive.read_bytes()
            if seed % 2:
                archive.write_bytes(damaged(raw, chance))
            else:
                directory = raw.index(b"PK\1\2")
                archive.write_bytes(raw[:directory] + damaged(raw[directory:], chance))
            return archive

        return spoil

    for seed in range(count):
        name = (*FILES, "zip")[seed % 4]
        yield f"{name} damaged, seed {seed}", spoil_zip(seed) if name == "zip" else spoil_file(name, seed)


def exchanges() -> Iterator[tuple[str, Spoil]]:
    """One file where another should be, or none."""

    def spoil_pair(left: str, right: str | None) -> Spoil:
        def spoil(folder: Path) -> Path:
            raw = (folder / right).read_bytes() if right else b""
            (folder / left).write_bytes(raw)
            return folder

        return spoil

    for left in FILES:
        for right in (*FILES, None):
            if left != right:
                yield f"{right} as {left}", spoil_pair(left, right)


def rewrite_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes the parsed manifest and makes its checksum fit."""
    data = json.loads((folder / "manifest.json").read_bytes())
    data.pop("sha256")
    change(data)
    checksum = hashlib.sha256(canonical_json(data)).hexdigest()
    (folder / "manifest.json").write_bytes(canonical_json(data | {"sha256": checksum}))


def refit(folder: Path, entry: str) -> None:
    """Makes the manifest's size and SHA-256 of "artifact" or "golden" those of the file."""

    def change(data: dict) -> None:
        program = data["programs"][0] if "programs" in data else data  # format 1 has one
        raw = (folder / program[entry]["file"]).read_bytes()
        program[entry] |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}

    rewrite_manifest(folder, change)


PLACES = (
    "../x",
    "../../x",
    "/tmp/x",
    "a/b",
    "..",
    ".",
    "",
    "a\\b",
    "C:x",
    "CON",
    "x\0y",
    "model.sig/x",
    "é",
    "-rf",
    "x" * 200,
)


def hostile_zips() -> Iterator[tuple[str, Spoil]]:
    """Archives that another tool made: traversal, links, duplicates, bombs, nested ones, lies about sizes."""

    def made(extra: list[tuple[str, bytes]], *, method: int = zipfile.ZIP_STORED, mode: int = 0o100644) -> Spoil:
        def spoil(folder: Path) -> Path:
            target = folder.with_suffix(".zip")
            with zipfile.ZipFile(target, "w") as archive:
                for name, raw in [*((name, (folder / name).read_bytes()) for name in FILES), *extra]:
                    info = zipfile.ZipInfo(name)
                    last = (name, raw) == extra[-1] if extra else False
                    info.external_attr = (mode if last else 0o100644) << 16
                    archive.writestr(info, raw, method if last else zipfile.ZIP_STORED)
            return target

        return spoil

    def lied(field: int, value: int) -> Spoil:
        def spoil(folder: Path) -> Path:
            archive = packed(folder)
            raw = bytearray(archive.read_bytes())
            at = raw.rindex(b"PK\1\2") + field
            raw[at : at + 4] = struct.pack("<L", value)
            archive.write_bytes(raw)
            return archive

        return spoil

    def nested(folder: Path) -> Path:
        inner = packed(folder)
        (folder / "model.onnx").write_bytes(inner.read_bytes())
        refit(folder, "artifact")
        return packed(folder)

    for name in (*PLACES, *FILES, "Golden.npz", "model.sig", "extra"):
        for mode in (0o100644, 0o120777, 0o040755, 0o010644, 0o104755):
            yield f"zip with {name[:20]!r} {mode:o}", made([(name, b"/etc/passwd")], mode=mode)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"zip bomb {method}", made([("model.sig", bytes(20_000_000))], method=method)
    for field in (16, 20, 24, 28, 38, 42):  # CRC, sizes, name length, attributes, offset of the last member
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
            yield f"zip field {field} = {value:#x}", lied(field, value)
    yield "zip in a zip", nested
