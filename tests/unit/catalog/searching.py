# SPDX-License-Identifier: Apache-2.0
"""A search for captions over a real catalog; all else that it asks is held by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from backlotfs.catalog.captions import CaptionBackfill
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.library import AssetFilter
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import NoSuchEntry
from tests.fakes.clocks import ManualClock
from tests.fakes.records import row
from tests.fakes.workers import InlineWorkers
from tests.unit.catalog_db.catalogs import apply, made, open_db, walk


class Searching:
    """A crawl over a real catalog; the test is the API, the probes and the presented assets.

    :ivar answers: by embed code; None: none. :ivar asked: in order.
    """

    def __init__(self, folder: Path, *codes: str, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.db = open_db(folder, self.clock)
        if codes:
            walk(self.db, [made(code) for code in codes])
        self.answers: dict[str, bytes | Exception | None] = {}
        self.asked: list[str] = []
        self.hidden: set[str] = set()
        self.sizing = 0
        self.on_ask: Callable[[str], None] = lambda _code: None
        self.admit = AssetFilter(frozenset({"video"}))
        fake: Any = self
        self.backfill = CaptionBackfill(fake, self.db, fake, fake, self.clock, InlineWorkers())
        self.index = self.backfill.index

    def get_captions(self, embed_code: str, *, deadline: Deadline) -> bytes:
        """The API."""
        assert deadline.remaining_s() > 0
        self.asked.append(embed_code)
        self.on_ask(embed_code)
        answer = self.answers.get(embed_code)
        if answer is None:
            raise NoSuchEntry("404")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def row(self, embed_code: str) -> AssetRow | None:
        """The catalog."""
        return None if embed_code in self.hidden else row(embed_code)

    @property
    def busy(self) -> bool:
        """The probe scheduler: for so many looks."""
        self.sizing -= 1
        return self.sizing >= 0

    def touch(self, code: str, updated: int) -> None:
        """A sync brings another ``updated_at``."""
        apply(self.db, [made(code, updated=updated)])

    def ask_again(self) -> list[str]:
        """Whom one more round asks."""
        self.asked.clear()
        self.backfill.start()
        return self.asked
