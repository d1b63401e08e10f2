# SPDX-License-Identifier: Apache-2.0
"""The assets of a library by columns: a million of them as objects would take twice the memory.

An `AssetRow` is made only when it is needed. The folders of a mount, its listings and the kernel's
nodes have only the inode numbers of assets.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import compress, count
from typing import Any

from backlotfs.catalog.db.rows import AssetRow, DamagedRecord, inode_of

#: The columns that `AssetTable.extend` takes, of ``asset`` with ``given_name``. Texts that are
#: needed only with the whole row are joined by newlines, because neither embed codes nor validators
#: have control characters.
COLUMNS = (
    "inode, coalesce(name, ''),"
    " CAST(embed_code || char(10) || coalesce(last_modified, '') || char(10) || coalesce(etag, '')"
    " AS BLOB),"
    " asset_type, status, created_at_s, updated_at_s, size, mtime_s,"
    " (verified <> 0) + 2 * (missing <> 0) + 4 * (size < 0)"
)
_VERIFIED, _MISSING, _UNSIZED = 1, 2, 4
#: Number of assets that are packed at a time. Parts are small, because freed memory of large ones
#: would stay in the process.
_PART_ROWS = 10_000


class AssetTable:
    """Assets in the order of storage. It does not change once it is filled; any thread may read it.

    :ivar numbers: inode number to the position in the columns. No two assets have the same inode
        number: if two embed codes have one (see `inode_of`), the second gets the next free one.
    :ivar sizes: a column; see `AssetRow`. :ivar mtimes_s: likewise.
    """

    def __init__(self, rows: Iterable[AssetRow] = ()) -> None:
        """Hold these rows; their embed codes differ."""
        self.numbers: dict[int, int] = {}
        self.sizes, self.mtimes_s = array("q"), array("q")
        self._created_at_s, self._updated_at_s = array("q"), array("q")
        self._names: list[str] = []
        self._texts: list[bytes] = []
        self._kinds, self._flags = array("I"), array("B")
        self._kinds_known = _Numbered()
        self._moved: dict[str, int] = {}  # embed code → inode number, if `inode_of` was taken
        self.extend(map(_values, rows))

    @property
    def _columns(self) -> tuple[Any, ...]:
        """All columns: each a list or an array."""
        return (
            self._names, self._texts, self._kinds, self._created_at_s, self._updated_at_s,
            self.sizes, self.mtimes_s, self._flags,
        )  # fmt: skip

    def extend(self, found: Iterable[tuple[Any, ...]]) -> None:
        """Add rows in the form of `COLUMNS`. :raises DamagedRecord: a value is invalid."""
        values = tuple(zip(*found, strict=True))
        if not values:
            return
        inodes: Sequence[int] = values[0]
        try:
            array("q", inodes)
            b"\n".join(values[2]).decode()
            if len(set(inodes)) < len(inodes) or not self.numbers.keys().isdisjoint(inodes):
                inodes = self._distinct(inodes, values[2])
            self.numbers.update(zip(inodes, count(len(self)), strict=False))
            self._append(*values[1:])
        except (TypeError, OverflowError, UnicodeDecodeError) as error:
            raise DamagedRecord("a number of an asset is none, or a text is no UTF-8") from error

    def _distinct(self, inodes: Iterable[int], texts: Iterable[bytes]) -> list[int]:
        """Give free inode numbers to assets whose numbers other assets have; rarely called."""
        found: dict[int, None] = {}
        for wanted, text in zip(inodes, texts, strict=True):
            inode = wanted
            while inode in self.numbers or inode in found:
                inode += 1
            found[inode] = None
            if inode != wanted:
                self._moved[_code_in(text)] = inode
        return list(found)

    def _append(self, names: Any, texts: Any, types: Any, statuses: Any, *numbers: Any) -> None:
        kinds = map(self._kinds_known.__getitem__, zip(types, statuses, strict=True))
        for column, new in zip(self._columns, (names, texts, kinds, *numbers), strict=True):
            column.extend(new)

    def updated(self, rows: Iterable[AssetRow], removed: Collection[str] = ()) -> AssetTable:
        """Make a table in which these rows are changed or new, and these assets are removed."""
        gone = set(map(self.inode, removed))
        now = self.copy([inode not in gone for inode in self.numbers] if gone else None)
        for row in rows:
            inode, values = now.inode(row.embed_code), _values(row)
            if inode is None:
                now.extend([(inode_of(row.embed_code), *values[1:])])
                continue
            now._append(*([value] for value in values[1:]))
            for column in now._columns:
                column[now.numbers[inode]] = column.pop()
        return now

    def copy(self, kept: Sequence[bool] | None = None) -> AssetTable:
        """Copy the table, or only the assets at the positions where ``kept`` is true."""
        now = AssetTable()
        if kept is None:
            now.numbers = self.numbers.copy()
        else:
            now.numbers = dict(zip(compress(self.numbers, kept), count(), strict=False))
        now._kinds_known.update(self._kinds_known)
        now._moved = {code: at for code, at in self._moved.items() if at in now.numbers}
        for column, copy in zip(self._columns, now._columns, strict=True):
            copy.extend(column if kept is None else compress(column, kept))
        return now

    def packed(self) -> Iterator[bytes]:
        """The table as bytes, in small parts, for `unpacked`."""
        yield json.dumps([[*self._kinds_known], self._moved]).encode()
        inodes = array("q", self.numbers)
        for at in range(0, len(self), _PART_ROWS):
            rows = slice(at, at + _PART_ROWS)
            yield inodes[rows].tobytes()
            yield "\0".join(self._names[rows]).encode("utf-8", "surrogatepass")
            yield b"\0".join(self._texts[rows])
            yield from (column[rows].tobytes() for column in self._columns[2:])

    @classmethod
    def unpacked(cls, parts: Iterator[bytes]) -> AssetTable:
        """Make the table from the parts of `packed`. :raises DamagedRecord: parts are missing."""
        now = cls()
        kinds, now._moved = json.loads(next(parts, b"[[], {}]"))
        now._kinds_known.update((tuple(kind), at) for at, kind in enumerate(kinds))
        for inodes in parts:
            now.numbers.update(zip(array("q", inodes), count(len(now)), strict=False))
            now._names += next(parts, b"").decode("utf-8", "surrogatepass").split("\0")
            now._texts += next(parts, b"").split(b"\0")
            for column in now._columns[2:]:
                column.frombytes(next(parts, b""))
        if any(len(column) != len(now.numbers) for column in now._columns):
            raise DamagedRecord("the saved listing is not whole")
        return now

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[AssetRow]:
        return map(self._row, self.numbers.items())

    def __contains__(self, embed_code: object) -> bool:
        return isinstance(embed_code, str) and self.inode(embed_code) is not None

    def get(self, embed_code: str) -> AssetRow | None:
        """The row of an asset; None: it is not in the table."""
        inode = self.inode(embed_code)
        return None if inode is None else self.at(inode)

    def at(self, inode: int) -> AssetRow | None:
        """The row of the asset with this inode number; None: there is none."""
        number = self.numbers.get(inode)
        return None if number is None else self._row((inode, number))

    def inode(self, embed_code: str) -> int | None:
        """The inode number of an asset; None: it is not in the table."""
        inode = inode_of(embed_code)
        number = self.numbers.get(inode)
        if number is not None and self.code(number) == embed_code:
            return inode
        return self._moved.get(embed_code)

    def code(self, number: int) -> str:
        """The embed code at a position."""
        return _code_in(self._texts[number])

    def named(self) -> tuple[list[str], list[int]]:
        """The names and inode numbers of all that have a name, in the order of storage."""
        return list(filter(None, self._names)), list(compress(self.numbers, self._names))

    def names(self, inodes: Iterable[int]) -> Iterator[str]:
        """The names of the assets with these inode numbers."""
        return map(self._names.__getitem__, map(self.numbers.__getitem__, inodes))

    def codes(self, inodes: Iterable[int]) -> Iterator[str]:
        """The embed codes of the assets with these inode numbers."""
        return map(self.code, map(self.numbers.__getitem__, inodes))

    def creation_times(self, inodes: Iterable[int]) -> Iterator[int]:
        """The creation times of the assets with these inode numbers."""
        return map(self._created_at_s.__getitem__, map(self.numbers.__getitem__, inodes))

    def update_times(self, inodes: Iterable[int]) -> Iterator[int]:
        """The times of the last update of the assets with these inode numbers."""
        return map(self._updated_at_s.__getitem__, map(self.numbers.__getitem__, inodes))

    @property
    def newest_s(self) -> int:
        """The creation time of the newest, seconds since the epoch; 0 of an empty table."""
        return max(self._created_at_s, default=0)

    @cached_property
    def unsettled(self) -> frozenset[int]:
        """The inode numbers of all that have no size, or a size that may have changed."""
        return frozenset(compress(self.numbers, map(_VERIFIED.__ne__, self._flags)))

    @cached_property
    def missing(self) -> frozenset[int]:
        """The inode numbers of all whose last probe found no source that can be read."""
        if not self.unsettled:
            return frozenset()
        return frozenset(compress(self.numbers, map(_MISSING.__and__, self._flags)))

    @cached_property
    def to_probe(self) -> tuple[Sequence[int], Sequence[int]]:
        """The positions of assets without a size, and of those whose source may be replaced.

        Both are sorted by age, the newest first, as by `assets.to_probe`.
        """
        flags, newest_last = self._flags, self._created_at_s.__getitem__
        waiting = sorted(compress(count(), map(_VERIFIED.__ne__, flags)), key=newest_last)[::-1]
        unsized = [at for at in waiting if _UNSIZED <= flags[at] < _UNSIZED | _VERIFIED | _MISSING]
        return unsized, [at for at in waiting if not flags[at] & (_UNSIZED | _VERIFIED)]

    @cached_property
    def total_size(self) -> int:
        """The sum of all known sizes, in bytes."""
        return sum(filter((0).__lt__, self.sizes))

    def count(self) -> tuple[int, int]:
        """How many have a size, and how many have none because no source can be read."""
        unsized = [self._flags.count(flags) for flags in range(_UNSIZED, 2 * _UNSIZED)]
        missing = sum(unsized[flags] for flags in range(_UNSIZED) if flags & _MISSING)
        return len(self) - sum(unsized), missing

    def _row(self, place: tuple[int, int]) -> AssetRow:
        inode, number = place
        code, last_modified, etag = self._texts[number].decode().split("\n", 2)
        asset_type, status = self._kind_names[self._kinds[number]]
        flags = self._flags[number]
        fields = (
            code, inode, self._names[number], asset_type, status,
            self._created_at_s[number], self._updated_at_s[number], self.sizes[number],
            etag or None, last_modified or None, self.mtimes_s[number],
            flags & _VERIFIED, (flags & _MISSING) // _MISSING,
        )  # fmt: skip
        return tuple.__new__(AssetRow, fields)  # half the cost of calling the class

    @cached_property
    def _kind_names(self) -> list[tuple[str, str]]:
        return list(self._kinds_known)


class _Numbered(dict[tuple[str, str], int]):
    """Maps each pair of type and status to a number; a library has only a few pairs."""

    def __missing__(self, kind: tuple[str, str]) -> int:
        self[kind] = len(self)
        return self[kind]


def _code_in(text: bytes) -> str:
    return text.partition(b"\n")[0].decode()


def _values(row: AssetRow) -> tuple[Any, ...]:
    """The values of a row in the form of `COLUMNS`."""
    (
        code, inode, name, asset_type, status, created_at_s, updated_at_s, size, etag,
        last_modified, mtime_s, verified, missing,
    ) = row  # fmt: skip
    text = f"{code}\n{last_modified or ''}\n{etag or ''}".encode()
    flags = bool(verified) * _VERIFIED + bool(missing) * _MISSING + (size < 0) * _UNSIZED
    times = created_at_s, updated_at_s
    return inode, name, text, asset_type, status, *times, size, mtime_s, flags
