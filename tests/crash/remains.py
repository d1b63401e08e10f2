# SPDX-License-Identifier: Apache-2.0
"""What a killed mount has left on disk, looked at in a copy: is it all right, or gone?"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import SystemClock
from backlotfs.emulator import SyntheticContent
from backlotfs.mount.read_path import BLOCK_BYTES
from backlotfs.source.version import SourceVersion

#: As `tests.crash.victim` mounts.
_TIER_BYTES = 8 * 2**20
#: The rows that say more than that the file is a database, and what each should give.
_INVARIANTS = {
    "PRAGMA integrity_check": [("ok",)],
    "SELECT count(*) FROM asset WHERE id NOT IN (SELECT id FROM record)": [(0,)],
    "SELECT total - (SELECT count(*) FROM asset) FROM tally": [(0,)],
    "SELECT bytes - (SELECT coalesce(sum(max(size, 0)), 0) FROM asset) FROM tally": [(0,)],
    "SELECT count(*) FROM tombstone WHERE embed_code IN (SELECT embed_code FROM asset)": [(0,)],
}


class Remains(NamedTuple):
    """What was found.

    :ivar assets: in the catalog. :ivar discarded: catalogs set aside so far.
    :ivar blocks: right ones on disk. :ivar damaged: torn ones, which the tier itself turned away.
    """

    assets: int
    discarded: int
    blocks: int
    damaged: int


def look_at(cache: Path, sources: Iterable[tuple[str, str, SyntheticContent]]) -> Remains:
    """Check a copy of the cache folder, as the next mount would find it.

    :param sources: name, embed code and content of every version there ever was.
    :raises AssertionError: a catalog that is not sound, or a block with wrong bytes.
    """
    with tempfile.TemporaryDirectory(prefix="backlotfs-remains-") as folder:
        copy = Path(folder) / "cache"
        if not cache.is_dir():
            return Remains(0, 0, 0, 0)
        # SQLite makes its shared memory anew; sockets and locks are no data.
        shutil.copytree(cache, copy, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        known = list(sources)
        databases = list(copy.glob("catalog/*.sqlite3"))
        assets = sum(_check_catalog(path, known) for path in databases)
        blocks, damaged = 0, 0
        for place in copy.glob("blocks/*"):
            found = _check_tier(place, known)
            blocks, damaged = blocks + found[0], damaged + found[1]
        discarded = len([p for p in copy.glob("catalog/*.set-aside-*") if p.suffix[-1].isdigit()])
        return Remains(assets, discarded, blocks, damaged)


def _check_catalog(path: Path, sources: list[tuple[str, str, SyntheticContent]]) -> int:
    versions = {(code, content.size, content.etag) for _, code, content in sources}
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return 0  # killed before its first transaction
        for question, answer in _INVARIANTS.items():
            found = database.execute(question).fetchall()
            assert found == answer, f"{path.name}: {question} gives {found}"
        sized = database.execute("SELECT embed_code, size, etag FROM asset WHERE size >= 0")
        strange = [row for row in sized if row not in versions]
        assert not strange, f"sizes that no source ever had: {strange}"
        return int(database.execute("SELECT count(*) FROM asset").fetchone()[0])


def _check_tier(folder: Path, sources: list[tuple[str, str, SyntheticContent]]) -> tuple[int, int]:
    right = 0
    buffer = bytearray(BLOCK_BYTES)
    with closing(DiskTier(folder, _TIER_BYTES, SystemClock(), block_bytes=BLOCK_BYTES)) as tier:
        for name, code, content in sources:
            validator = SourceVersion(code, content.size, content.etag, None).validator
            keys = [BlockKey(code, validator, n) for n in range(-(-content.size // BLOCK_BYTES))]
            for key in set(keys) - set(tier.missing(keys)):
                (length,) = tier.get_many([key], [memoryview(buffer)])
                if length is not None:
                    expected = content.read(key.number * BLOCK_BYTES, BLOCK_BYTES)
                    assert buffer[:length] == expected, f"{name}: block {key.number} is wrong"
                    right += 1
        return right, tier.counts.damaged
