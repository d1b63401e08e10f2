# SPDX-License-Identifier: Apache-2.0
"""Listings that do not end: given up, said, and nothing of them stays."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backlotfs.api import paging
from backlotfs.api.paging import MAX_IDLE_PAGES, EndlessListing, ListingLimits
from backlotfs.api.records import Asset, DeletedAsset, Label, Page
from backlotfs.catalog.db import assets
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.db.sync import FullSync
from backlotfs.catalog.sync import MAX_NAMED, Synced, Synchronizer
from backlotfs.concurrency.clock import Deadline
from tests.fakes.api import Reply, reply, scripted
from tests.fakes.clocks import ManualClock
from tests.fakes.records import asset

P = TypeVar("P", Page[Asset], Page[DeletedAsset])
LIMITS = ListingLimits(assets=1000, size_bytes=1_000_000)


class EndlessApi:
    """Pages by a function of their number; deletions too.

    :ivar asked: pages so far.
    """

    def __init__(self) -> None:
        self.page: Callable[[int], Page[Asset] | None] = lambda _n: None
        self.gone: Callable[[int], Page[DeletedAsset] | None] = lambda _n: None
        self.asked = 0

    def iter_pages(self, **_options: object) -> Iterator[Page[Asset]]:
        """Until the function gives none."""
        return self._numbered(self.page)

    def iter_deleted(self, **_options: object) -> Iterator[Page[DeletedAsset]]:
        """Likewise."""
        return self._numbered(self.gone)

    def labels(self, _deadline: Deadline) -> tuple[()]:
        """None."""
        return ()

    def _numbered(self, made: Callable[[int], P | None]) -> Iterator[P]:
        for number in itertools.count():
            self.asked += 1
            assert self.asked < 5000, "nobody ends it"
            found = made(number)
            if found is None:
                return
            yield found


class Rig:
    """A synchronizer over such an API and a real database."""

    def __init__(self, folder: Path) -> None:
        self.api, self.clock = EndlessApi(), ManualClock()
        self.db = CatalogDb(folder, LibraryIdentity("http://a", "k"), self.clock)
        api: Any = self.api
        self.syncs = Synchronizer(api, self.db, self.clock, with_labels=False, limits=LIMITS)

    def sync(self, *, full: bool = False) -> Synced:
        """One sync."""
        return self.syncs.run(Deadline(3600.0, self.clock), full=full)

    def listed(self) -> None:
        """One good asset is in the database."""
        self.api.page = lambda n: Page((asset("GOOD"),), (), None) if n == 0 else None
        self.sync()

    def known(self) -> list[str]:
        """What the library in the database holds."""
        return [code for code in ("GOOD", "E0-0") if self.db.read(assets.record, code) is not None]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A library of one asset."""
    rig = Rig(tmp_path)
    rig.listed()
    rig.api.asked = 0
    yield rig
    rig.db.close()


def fresh(number: int) -> Page[Asset]:
    """Ten new assets."""
    codes = [f"E{number}-{n}" for n in range(10)]
    return Page(tuple(asset(code) for code in codes), (), f"/v2/assets?page_token={number}")


def _sized(number: int, assets: int = 10) -> Page[Asset]:
    page = fresh(number)
    return Page(page.items[:assets], (), page.next_page, size_bytes=50_000)


def _of_next(page: Page[Asset], number: int) -> Page[Asset]:
    return Page(page.items, (), f"/v2/assets?page_token={number}")


ENDLESS: dict[str, tuple[Callable[[int], Page[Asset]], str]] = {
    "new assets": (fresh, "more than 1000 records"),
    "large answers": (
        _sized,
        "more than 1000000 bytes",
    ),
    "the same assets": (lambda n: _of_next(_sized(0, 5), n), "nothing new"),
    "empty pages": (lambda n: Page((), (), f"/v2/assets?page_token={n}"), "nothing new"),
    "bad records": (
        lambda n: Page((), ("record 1: bad",), f"/v2/assets?page_token={n}", 400),
        "nothing new",
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_walk_is_given_up(rig: Rig, name: str) -> None:
    """The error names the limit, the staging is empty, the last good library stays."""
    page, says = ENDLESS[name]
    rig.api.page = page
    with pytest.raises(EndlessListing, match=says):
        rig.sync(full=True)
    assert FullSync(rig.db).cursor() is None
    assert FullSync(rig.db).staged() == (0, 0)
    assert rig.known() == ["GOOD"]
    rig.listed()  # and it works again once the API does


def test_what_was_staged_before_counts(rig: Rig) -> None:
    """An interrupted walk goes on with its count."""
    rig.api.page = lambda n: fresh(n) if n < 60 else _stop()
    with pytest.raises(ValueError, match="stop"):
        rig.sync(full=True)
    assert FullSync(rig.db).staged()[0] == 600
    rig.api.page = lambda n: fresh(n + 1000)
    with pytest.raises(EndlessListing, match="more than 1000 records"):
        rig.sync()
    assert rig.api.asked < 110


def _stop() -> Page[Asset]:
    raise ValueError("stop")


def test_deletions_without_an_end(rig: Rig) -> None:
    """The sync fails; what is known stays."""
    rig.api.page = lambda _n: None
    rig.api.gone = lambda n: Page((), (), f"/v2/deleted_assets?page_token={n}")
    with pytest.raises(EndlessListing, match="listing of deletions does not end"):
        rig.sync()
    assert rig.known() == ["GOOD"]


def test_changes_without_an_end(rig: Rig) -> None:
    """Too much for memory: the whole library is listed, within the limits of that."""
    rig.api.page = lambda n: _of_next(fresh(0), n)
    with pytest.raises(EndlessListing, match="listing of assets does not end"):
        rig.sync()
    assert rig.api.asked <= 2 * (MAX_IDLE_PAGES + 3)
    assert rig.known() == ["GOOD"]


def test_labels_without_an_end() -> None:
    """By the client, which gathers them."""

    def page(_url: str) -> Reply:
        number = len(answering.adapter.urls)
        return reply({"items": [], "next_page": f"/v2/labels?page_token={number}"})

    answering = scripted(*[page] * 300)
    with pytest.raises(EndlessListing, match="listing of labels does not end"):
        answering.client.labels(answering.deadline())
    assert len(answering.adapter.urls) <= MAX_IDLE_PAGES + 1


def test_bad_records_are_named_and_then_counted(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """However many there are, a sync writes a bounded number of lines."""
    caplog.set_level(logging.WARNING)
    rig.api.page = lambda n: (
        Page((asset(f"E{n}-0"),), ("record 1: bad",) * 10, f"/v2/assets?page_token={n}", 390)
        if n < 5
        else None
    )
    rig.sync(full=True)
    lines = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(lines) == MAX_NAMED + 1
    assert "1980 more records" in lines[-1]


def test_many_labels_are_not_gathered_in_memory(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Changes that bring too many of them go over the disk, as a walk of the whole library."""
    monkeypatch.setattr(paging, "MAX_PARTS_IN_MEMORY", 3)
    labels = tuple(Label(str(n), "x", "/x", None) for n in range(4))
    changed = replace(asset("GOOD"), labels=labels, updated_at_s=9_000_000)
    rig.api.page = lambda n: Page((changed,), (), None) if n == 0 else None
    with caplog.at_level(logging.DEBUG):
        assert rig.sync() is Synced.FULL
    assert "more than 3 labels and custom fields" in caplog.text
    assert rig.known() == ["GOOD"]
