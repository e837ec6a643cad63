"""What an ONNX file says before native code sees it: its versions, and whether it names other files.

The file is a protobuf message from a stranger. Every length is checked against what is left of the message around it,
nothing is copied, and no protobuf library is needed. Source of the field numbers: onnx.proto3. Knows no engine.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_MOST_VERSION_FIELDS = 10_000  # a model has a dozen fields at its top level, and some functions
_MOST_OPSET_BYTES = 256
MOST_FIELDS = 500_000  # that are looked at for other files: a second or so; a model of 1,000 nodes has some 20,000
# message -> its fields that may hold a tensor somewhere inside, and what message they are
_HOLDERS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor


class _Malformed(ValueError):
    """It is no protobuf message, or of a kind that ONNX does not use."""


def onnx_versions(path: Path) -> tuple[int, int]:
    """(IR version, opset of the default domain) of an ONNX file, 0 where it names none.

    Of a file that is none, what was found so far: saying what is wrong with it is the engine's affair.
    """
    ir = opset = 0
    with path.open("rb") as file, _mapped(file.fileno()) as raw:
        try:
            for place, (field, number, start, end) in enumerate(_fields(raw, 0, len(raw))):
                if place == _MOST_VERSION_FIELDS:
                    break
                if field == 1 and number is not None:
                    ir = number
                elif field == 8 and number is None and end - start <= _MOST_OPSET_BYTES:
                    opset = max(opset, _default_opset(raw, start, end))
        except _Malformed:
            pass
    return ir, opset


def names_other_files(path: Path) -> bool:
    """Whether a tensor of the model has its numbers in another file, which an engine would open and read.

    Also true of a file that seems to, and is written in a way that cannot be followed, or not in reasonable time.
    """
    with path.open("rb") as file, _mapped(file.fileno()) as raw:
        # The name of that file stands under this key. The byte before it is the last of its length, 8: in the usual
        # form, or stretched with zeros. Hardly any other file holds it, and the search takes no time.
        if all(raw.find(before + b"location") < 0 for before in (b"\x08", b"\0")):
            return False
        try:
            return _has_external_tensor(raw)
        except _Malformed:
            return True


def _has_external_tensor(raw: mmap.mmap) -> bool:
    left, seen = [("model", 0, len(raw))], 0
    while left:
        kind, first, last = left.pop()
        inside = _HOLDERS[kind]
        for field, number, start, end in _fields(raw, first, last):
            seen += 1
            if seen > MOST_FIELDS:
                raise _Malformed
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and number)):
                return True
            if field in inside and number is None:
                left.append((inside[field], start, end))
    return False


def _mapped(descriptor: int) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file
        return mmap.mmap(-1, 1)


def _fields(raw: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int | None, int, int]]:
    """Each field of the message in raw[at:end]: its number; its value, or None and where its bytes begin and end."""
    while at < end:
        tag, at = _varint(raw, at, end)
        if tag >> 32:  # protobuf drops the upper bits, and would see another field here
            raise _Malformed
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            number, at = _varint(raw, at, end)
            yield field, number, at, at
            continue
        if wire == 2:
            length, at = _varint(raw, at, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:  # groups, which ONNX has none of
            raise _Malformed
        if length > end - at:  # protobuf can state 2^62
            raise _Malformed
        yield field, None, at, at + length
        at += length


def _varint(raw: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte, at = raw[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (1 << 64) - 1, at
    raise _Malformed


def _default_opset(raw: mmap.mmap, start: int, end: int) -> int:
    """The version in an OperatorSetIdProto of the default domain ("" or "ai.onnx"); 0 for other domains."""
    version = 0
    for field, number, first, last in _fields(raw, start, end):
        if field == 2 and number is not None:
            version = number
        elif field == 1 and raw[first:last] not in (b"", b"ai.onnx"):
            return 0
    return version
