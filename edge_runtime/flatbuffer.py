"""Reads tables of a flatbuffer, field by field, without its schema. Knows no particular file."""

from __future__ import annotations

import struct


class Table:
    """One flatbuffer table: its fields by number. Absent fields are 0 or None."""

    def __init__(self, raw: bytes, at: int):
        self._raw, self._at = raw, at
        self._fields = at - struct.unpack_from("<i", raw, at)[0]
        self._count = (struct.unpack_from("<H", raw, self._fields)[0] - 4) // 2

    def _place(self, field: int) -> int | None:
        if field >= self._count:
            return None
        step = struct.unpack_from("<H", self._raw, self._fields + 4 + 2 * field)[0]
        return self._at + step if step else None

    def number(self, field: int, kind: str = "I") -> int:
        at = self._place(field)
        return 0 if at is None else int(struct.unpack_from("<" + kind, self._raw, at)[0])

    def table(self, field: int) -> Table | None:
        at = self._place(field)
        return None if at is None else Table(self._raw, self._follow(at))

    def numbers(self, field: int) -> tuple[int, ...]:
        at = self._place(field)
        if at is None:
            return ()
        vector = self._follow(at)
        return struct.unpack_from(f"<{struct.unpack_from('<I', self._raw, vector)[0]}I", self._raw, vector + 4)

    def tables(self, field: int) -> list[Table]:
        at = self._place(field)
        if at is None:
            return []
        vector = self._follow(at)
        count = struct.unpack_from("<I", self._raw, vector)[0]
        return [Table(self._raw, self._follow(vector + 4 + 4 * i)) for i in range(count)]

    def text(self, field: int) -> str:
        at = self._place(field)
        if at is None:
            return ""
        start = self._follow(at)
        size = struct.unpack_from("<I", self._raw, start)[0]
        return self._raw[start + 4 : start + 4 + size].decode(errors="replace")

    def _follow(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self._raw, at)[0])
