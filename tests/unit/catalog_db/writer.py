# SPDX-License-Identifier: Apache-2.0
"""A mount in a process of its own: ``python -m tests.unit.catalog_db.writer TASK FOLDER NAME``.

It prints a line when it is ready, waits for one, and prints one after each step.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import assets
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.sync import FullSync
from backlotfs.concurrency.clock import SystemClock
from tests.unit.catalog_db.catalogs import (
    MODE,
    apply,
    file_names,
    give_names,
    made,
    open_db,
    probed,
)

STEPS = 40
#: Assets of each version of the library that `walk_for_ever` lists, and pages it comes in.
ASSETS = 200
PAGES = 4


def version_of(number: int) -> list[str]:
    """The codes of a version: most stay from one to the next."""
    return [f"E{code:05}" for code in range(number, number + ASSETS)]


def walk_for_ever(db: CatalogDb) -> None:
    """Versions 1, 2 …; each record says in its title which it is of. Ends by a signal."""
    number = 0
    while True:
        number += 1
        codes = version_of(number)
        pages = [codes[start::PAGES] for start in range(PAGES)]
        for page in pages:
            step(f"adding {number}")
            listed = [made(code, updated=number, title=str(number)) for code in page]
            FullSync(db).add(listed, None if page is pages[-1] else "/next")
        step(f"finishing {number}")
        FullSync(db).finish(doubt_empty=True)
        step(f"finished {number}")


def share(db: CatalogDb, name: str) -> None:
    """Upload, name, probe and delete, as the other mount does at the same time."""
    for number in range(STEPS):
        codes = [f"{name}{number:03}{letter}" for letter in "ab"]
        # All want the same few names.
        uploaded = [made(code, title=code) for code in codes]
        apply(db, uploaded)
        give_names(
            db,
            MODE,
            lambda nameless, taken: file_names(
                [asset._replace(original_file_name="clip.mov") for asset in nameless], taken
            ),
        )
        db.write(assets.save_sources, [probed(code, 10) for code in codes])
        apply(db, [], [DeletedAsset(codes[1], 9000)])
        if Lease(db, "sync", 60, name).take():
            Lease(db, "sync", 30, name).release()


def step(what: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the task."""
    task, folder, name = sys.argv[1:]
    with closing(open_db(Path(folder), SystemClock())) as db:
        step("ready")
        sys.stdin.readline()
        if task == "walk":
            walk_for_ever(db)
        else:
            share(db, name)


if __name__ == "__main__":
    main()
