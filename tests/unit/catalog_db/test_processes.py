# SPDX-License-Identifier: Apache-2.0
"""Several processes on one file: at once, and killed in the middle."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from backlotfs.catalog.db import assets, state
from backlotfs.catalog.db.sync import FullSync
from backlotfs.concurrency.clock import SystemClock
from tests.unit.catalog_db.catalogs import MODE, open_db, records
from tests.unit.catalog_db.writer import ASSETS, STEPS, version_of

ROOT = Path(__file__).resolve().parents[3]
KILLS = 20


@contextmanager
def writer(task: str, folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has the database open and waits for a line; it is gone afterwards."""
    command = [sys.executable, "-m", "tests.unit.catalog_db.writer", task, str(folder), name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    """Let it work, once it is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def test_mounts_share_a_file(tmp_path: Path) -> None:
    """Two write at once while a third reads: nothing is lost, every name is unique, all agree."""
    with ExitStack() as stack:
        db = stack.enter_context(closing(open_db(tmp_path, SystemClock())))
        seen = db.read(state.generation)
        known: dict[str, object] = {}
        writers = [stack.enter_context(writer("share", tmp_path, name)) for name in "AB"]
        for process in writers:
            go(process)
        while any(process.poll() is None for process in writers) or seen != db.read(
            state.generation
        ):
            now = db.read(state.generation)
            changed = db.read(assets.changed_since, MODE, seen)
            assert changed is not None
            known |= {row.embed_code: row for row in changed[0]}
            for code in changed[1]:
                known.pop(code, None)
            seen = now
        assert [process.returncode for process in writers] == [0, 0]
        rows = db.read(assets.rows, MODE)
        assert known == {row.embed_code: row for row in rows}
    assert {row.embed_code for row in rows} == {
        f"{name}{number:03}a" for name in "AB" for number in range(STEPS)
    }
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.name.startswith("clip.mov") and row.size == 10 for row in rows)


@pytest.mark.long
def test_a_killed_mount_leaves_a_whole_library(tmp_path: Path) -> None:
    """At any moment of a walk: the file is sound, and holds one version, the last or the next."""
    chance = random.Random(20)
    finished = 0
    for _ in range(KILLS):
        with writer("walk", tmp_path, "A") as process:
            go(process)
            assert process.stdout is not None
            # The line tells what it is about to do; it is killed in the midst of that, or after.
            for _ in range(chance.randrange(1, 25)):
                line = process.stdout.readline()
            process.kill()
            rest = process.stdout.read()
        ends = [line.split()[1] for line in (line + rest).splitlines() if "finish" in line]
        with closing(open_db(tmp_path, SystemClock())) as db:
            assert db.path is not None
            versions = {asset.title for asset in records(db)}
            codes = {row.embed_code for row in db.read(assets.rows, MODE)}
            assert len(versions) <= 1
            assert db.read(state.sized_counts).total == len(codes)
            if versions:
                assert codes == set(version_of(int(versions.pop())))
                assert len(codes) == ASSETS
            finished += bool(ends)
            # Its pages are there up to the last; begin anew for the next round.
            walk = FullSync(db).cursor()
            assert walk is None or walk.pages > 0
            FullSync(db).abandon()
            path = db.path
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert finished
    assert not list(tmp_path.glob("catalog/*.set-aside-*"))
