"""Manifests and golden files that lie, with checksums that fit: what a hostile packer would send."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from corruptions import Spoil, damaged, refit, rewrite_manifest

VALUES = [
    None, True, False, 0, -1, 1, 2, 2**24, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.5, 1e308, -1e308, 5e-324, "", "x",
    "../../etc/passwd", "/etc/passwd", "model.onnx", "manifest.json", "golden.npz", "model.sig", "MODEL.ONNX", "a\0b",
    "\x1b[2J", "\ud7ff", "[red]", "x" * 100_000, "a" * 64, "torchscript", "aot", "pickle", "regression",
    "next_character", "RGB", "uint8", "float16", [], {}, [[]], [None], [1], [0], ["x"], [{}], {"x": 1}, {"": ""},
    [1] * 100, [2**24] * 64, [[[[[[]]]]]], {"file": "x"}, [1] * 100_000, "logits", "NCHW", "joint", "\u202e",
    {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}}}}}}},
]  # fmt: skip


def hostile_values(manifest: bytes) -> Iterator[tuple[str, Spoil]]:
    """Every field of the manifest, at every depth, with every fourth of `VALUES` in turn, without it, and one more."""

    def places(value: object, at: tuple = ()) -> Iterator[tuple]:
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield (*at, key)
            yield from places(child, (*at, key))

    def spoil_field(path: tuple, value: object, *, gone: bool = False) -> Spoil:
        def change(data: dict) -> None:
            parent = data
            for key in path[:-1]:
                parent = parent[key]
            if gone:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value

        def spoil(folder: Path) -> Path:
            rewrite_manifest(folder, change)
            return folder

        return spoil

    data = json.loads(manifest)
    data.pop("sha256")
    deep = ("programs", 0, "golden", "surprise") if "programs" in data else ("golden", "surprise")
    for turn, path in enumerate([*places(data), ("surprise",), deep]):
        for value in VALUES[turn % 4 :: 4]:
            yield f"manifest {path} = {str(value)[:40]}", spoil_field(path, value)
        if path[-1] != "surprise":
            yield f"manifest without {path}", spoil_field(path, None, gone=True)


def npy(header: str | bytes, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """The bytes of one `.npy` with any header text."""
    raw = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(raw)) + raw + data


def _header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HOSTILE_NPY = {
    "huge shape": npy(_header("'<f4'", "(1000000000000,)")),
    "huge product": npy(_header("'<f4'", "(2147483647, 2147483647, 2147483647)")),
    "64 sides": npy(_header("'<f4'", f"({'1, ' * 65})")),
    "negative sides": npy(_header("'<i8'", "(-3, -4)"), bytes(96)),
    "a boolean side": npy(_header("'<i8'", "(True, 12)"), bytes(96)),
    "longer than it says": npy(_header("'<i8'", "(12,)"), bytes(97)),
    "shorter than it says": npy(_header("'<i8'", "(12,)"), bytes(95)),
    "empty": npy(_header("'<i8'", "(0,)")),
    "a scalar": npy(_header("'<i8'", "()"), bytes(8)),
    "objects": npy(_header("'|O'", "(1,)"), b"cos\nsystem\n(S'false'\ntR."),
    "a record": npy(_header("[('a', '<i8'), ('b', '|O')]", "(1,)"), bytes(16)),
    "text": npy(_header("'<U9'", "(12,)"), bytes(432)),
    "dates": npy(_header("'<M8[s]'", "(12,)"), bytes(96)),
    "complex": npy(_header("'<c8'", "(12,)"), bytes(96)),
    "big-endian": npy(_header("'>i8'", "(12,)"), bytes(96)),
    "columns first": npy(_header("'<i8'", "(3, 4)", "True"), bytes(96)),
    "no dictionary": npy("[]\n"),
    "an expression": npy("__import__('os').system('false')\n"),
    "deep brackets": npy("(" * 60_000),
    "a long header": npy("{'descr': '<i8', 'fortran_order': False, 'shape': (12,)," + " " * 60_000 + "}\n", bytes(96)),
    "no latin-1": npy(b"\xff\xfe\x00"),
    "version 2": npy(_header("'<i8'", "(12,)"), bytes(96), b"\2\0"),
    "version 9": npy(_header("'<i8'", "(12,)"), bytes(96), b"\x09\0"),
    "no magic": b"12345678" * 12,
    "nothing": b"",
}  # fmt: skip


def hostile_goldens(golden: bytes) -> Iterator[tuple[str, Spoil]]:
    """Arrays that lie, and archives that do, in `golden.npz`; its checksum fits."""
    with zipfile.ZipFile(io.BytesIO(golden)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def written(content: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, raw in content:
                archive.writestr(name, raw)
        return buffer.getvalue()

    def spoil_golden(raw: bytes) -> Spoil:
        def spoil(folder: Path) -> Path:
            (folder / "golden.npz").write_bytes(raw)
            refit(folder, "golden")
            return folder

        return spoil

    for victim in members:
        for name, raw in HOSTILE_NPY.items():
            yield f"golden {victim}: {name}", spoil_golden(written([*(members | {victim: raw}).items()]))
        without = [(name, raw) for name, raw in members.items() if name != victim]
        yield f"golden without {victim}", spoil_golden(written(without))
        yield f"golden {victim} twice", spoil_golden(written([*members.items(), (victim, members[victim])]))
    everything = [*members.items()]
    for extra in ("../x.npy", "x", "targets.npy.npy", "a" * 60_000, "a\0b.npy", "\x1b[2J.npy"):
        yield f"golden with {extra[:20]!r}", spoil_golden(written([*everything, (extra, b"x")]))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        bomb = npy(_header("'<i8'", "(1000000,)"), bytes(8_000_000))
        yield f"golden bomb {method}", spoil_golden(written([*(members | {"targets.npy": bomb}).items()], method))
    directory = golden.index(b"PK\1\2")
    for at in range(directory, len(golden)):  # every byte of its directory, one at a time
        raw = bytearray(golden)
        raw[at] = random.Random(at).choice([0, 1, 0x7F, 0xFF, raw[at] ^ 1])
        yield f"golden directory byte {at}", spoil_golden(bytes(raw))
    for seed in range(150):
        yield f"golden damaged and refitted {seed}", spoil_golden(damaged(golden, random.Random(seed)))
