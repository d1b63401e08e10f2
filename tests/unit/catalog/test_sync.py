# SPDX-License-Identifier: Apache-2.0
"""The library's listing into the database: whole, or only what changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backlotfs.api.records import DeletedAsset, Label
from backlotfs.catalog.db import assets, state
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import EmptyListingDoubted
from backlotfs.catalog.db.sync import FullSync
from backlotfs.catalog.sync import FULL_SYNC_S, OVERLAP_S, Synced
from backlotfs.errors import NoSuchEntry, ProtocolViolation, RemoteUnavailable
from tests.fakes.records import asset
from tests.unit.catalog.synced import SyncedCatalog


def run(synced: SyncedCatalog, *, full: bool = False) -> Synced:
    """One sync."""
    synced.api.calls.clear()
    return synced.synchronizer.run(synced.deadline(), full=full)


def codes(synced: SyncedCatalog) -> set[str]:
    """What the database holds."""
    return {row.embed_code for row in synced.db.read(assets.rows, "original")}


def test_the_first_sync_is_a_walk(synced: SyncedCatalog) -> None:
    """All pages, with word of each."""
    synced.api.assets = [asset(code) for code in "ABCDE"]
    assert run(synced) is Synced.FULL
    assert codes(synced) == set("ABCDE")
    assert synced.api.calls == ["walk"]
    assert synced.progress == [2, 4, 5]


def test_every_listing_brings_labels_and_metadata(synced: SyncedCatalog) -> None:
    """Walk or not: they cost no call, and a record without them would look changed."""
    for _ in range(2):
        run(synced)
    assert [call.split()[0] for call in synced.api.calls] == ["since", "deleted"]
    assert synced.api.included == {"labels,metadata"}


def test_a_server_that_lists_sources_is_always_asked_for_them(synced: SyncedCatalog) -> None:
    """Walk or not, once it is known; until it refuses the question."""
    synced.db.write(state.mark_lists_sources, True)
    for _ in range(2):
        run(synced)
    assert synced.api.included == {"labels,metadata,streams"}
    synced.api.error, synced.api.fail_at = ProtocolViolation("unknown include"), 1
    with pytest.raises(ProtocolViolation):
        run(synced)
    synced.api.error = None
    synced.api.included.clear()
    run(synced)
    assert synced.api.included == {"labels,metadata"}


def test_a_fresh_mark_is_not_trusted(synced: SyncedCatalog) -> None:
    """Until long after it, syncs ask for an overlap: something may still appear below it."""
    mark = int(synced.clock.now()) - 10
    synced.api.assets = [asset("A", updated_at_s=mark)]
    run(synced)
    run(synced)
    moment = datetime.fromtimestamp(mark - OVERLAP_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert synced.api.calls[0] == f"since {moment}"


def test_then_only_what_changed(synced: SyncedCatalog) -> None:
    """Two calls, from the mark itself; a deletion newer than the record is believed."""
    synced.api.assets = [asset("A", updated_at_s=2000), asset("B", updated_at_s=2000)]
    run(synced)
    synced.api.assets = [asset("A", updated_at_s=2500), asset("C", updated_at_s=2600)]
    synced.api.deleted = [DeletedAsset("B", 2550), DeletedAsset("C", 1)]
    assert run(synced) is Synced.INCREMENTAL
    assert synced.api.calls == ["since 1970-01-01T00:33:19Z", "deleted"]
    assert 2000 - 1 == 33 * 60 + 19
    assert codes(synced) == {"A", "C"}
    assert run(synced) is Synced.INCREMENTAL
    assert codes(synced) == {"A", "C"}


def test_a_server_that_ignores_where(synced: SyncedCatalog) -> None:
    """It shows by an asset older than was asked for; from then on there are walks."""
    synced.api.heeds_where = False
    synced.api.assets = [asset("A", updated_at_s=3000), asset("B", updated_at_s=1000)]
    run(synced)
    assert synced.synchronizer.full_sync_interval_s() == 0.0
    synced.api.assets.append(asset("C", updated_at_s=3100))
    assert run(synced) is Synced.FULL
    assert codes(synced) == set("ABC")
    assert run(synced) is Synced.FULL
    assert synced.api.calls == ["walk"]
    assert synced.synchronizer.full_sync_interval_s() > 0.0


@pytest.mark.parametrize("age_s", [FULL_SYNC_S + 1, -3600.0])
def test_a_walk_now_and_then(synced: SyncedCatalog, age_s: float) -> None:
    """When the last is a day old, or lies in the future because a clock was set."""
    synced.api.assets = [asset("A")]
    run(synced)
    synced.clock.wall_s += age_s
    assert run(synced) is Synced.FULL


def test_a_walk_on_demand(synced: SyncedCatalog) -> None:
    """``refresh --full``."""
    synced.api.assets = [asset("A")]
    run(synced)
    assert run(synced, full=True) is Synced.FULL


def test_an_interrupted_walk_goes_on(synced: SyncedCatalog) -> None:
    """From its cursor; until it is whole, the library is as it was."""
    synced.api.assets = [asset(code) for code in "ABCDE"]
    synced.api.error, synced.api.fail_at = RemoteUnavailable("down"), 2
    with pytest.raises(RemoteUnavailable):
        run(synced)
    assert codes(synced) == set()
    synced.api.error = None
    assert run(synced) is Synced.FULL
    assert synced.api.calls[0] == "walk from 2"
    assert "walk" not in synced.api.calls[1:], "then only what came since it began"
    assert codes(synced) == set("ABCDE")


def test_a_walk_that_was_whole_and_not_finished(synced: SyncedCatalog) -> None:
    """Killed between its last page and the end: no page is asked for again."""
    FullSync(synced.db).add([asset("A")], None)
    synced.api.assets = [asset("A"), asset("B", updated_at_s=5000)]
    assert run(synced) is Synced.FULL
    assert not any(call.startswith("walk") for call in synced.api.calls)
    assert codes(synced) == {"A", "B"}, "what came since it began is there too"


def test_a_cursor_that_has_died(synced: SyncedCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed walk that brings no page is no end of the library: it is begun anew."""
    FullSync(synced.db).add([asset("A"), asset("B")], "2")
    whole = synced.api.iter_pages

    def dead(start: str | None = None, **rest: object) -> Iterator[object]:
        return iter(()) if start is not None else whole(**rest)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(synced.api, "iter_pages", dead)
    synced.api.assets = [asset("A"), asset("B"), asset("C", created_at_s=9, updated_at_s=9)]
    run(synced)
    if codes(synced) != set("ABC"):
        run(synced)
    assert codes(synced) == set("ABC")


def test_an_empty_answer_is_doubted_once(synced: SyncedCatalog) -> None:
    """Then it is believed."""
    synced.api.assets = [asset("A")]
    run(synced)
    synced.api.assets = []
    with pytest.raises(EmptyListingDoubted):
        run(synced, full=True)
    assert codes(synced) == {"A"}
    run(synced, full=True)
    assert codes(synced) == set()


def test_of_two_mounts_one_syncs(tmp_path: Path, synced: SyncedCatalog) -> None:
    """The other is told so, and its turn comes when the first has ended, well or not."""
    other = SyncedCatalog(tmp_path)
    try:
        assert Lease(other.db, "sync", 60, "another").take()
        assert run(synced) is Synced.ELSEWHERE
        assert synced.api.calls == []
        Lease(other.db, "sync", 30, "another").release()
        synced.api.error, synced.api.fail_at = RemoteUnavailable("down"), 1
        with pytest.raises(RemoteUnavailable):
            run(synced)
        assert run(other) is Synced.FULL
    finally:
        other.db.close()


def test_no_list_of_deletions(synced: SyncedCatalog) -> None:
    """A server without one: the next walk finds what is gone."""
    synced.api.assets = [asset("A"), asset("B")]
    run(synced)
    synced.api.deleted_error = NoSuchEntry("404")
    synced.api.assets.pop()
    assert run(synced) is Synced.INCREMENTAL
    assert codes(synced) == {"A", "B"}
    run(synced, full=True)
    assert codes(synced) == {"A"}


def test_labels(tmp_path: Path) -> None:
    """Asked for where a layout needs them, after a walk and after a change."""
    synced = SyncedCatalog(tmp_path, with_labels=True)
    try:
        synced.api.assets = [asset("A")]
        synced.api.all_labels = (Label("1", "One", "/One", None),)
        run(synced)
        assert synced.api.calls == ["walk", "labels"]
        assert [label.name for label in synced.db.read(state.labels)] == ["One"]
    finally:
        synced.db.close()


def test_a_record_that_cannot_be_used(
    synced: SyncedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    """Is left out, and the log says which."""
    synced.api.assets, synced.api.skipped = [asset("A")], ("item 3: no usable id",)
    with caplog.at_level(logging.WARNING):
        run(synced)
    assert codes(synced) == {"A"}
    assert "item 3" in caplog.text
