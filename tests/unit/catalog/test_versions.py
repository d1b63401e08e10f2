# SPDX-License-Identifier: Apache-2.0
"""What probes found out, and what has since come into doubt."""

from __future__ import annotations

import threading

import pytest

from backlotfs.catalog.db.rows import AssetRow, CatalogUnavailable, SizedCounts, SourceRecord
from backlotfs.catalog.db.table import AssetTable
from backlotfs.catalog.versions import (
    FAILED_TTL_S,
    UNAVAILABLE_TTL_S,
    ProbedSource,
    SourceVersionCache,
    known_from,
)
from backlotfs.errors import (
    BacklotError,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
    SourceMissing,
)
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import LAST_MODIFIED, LAST_MODIFIED_S, probed_row, row, source_version
from tests.fakes.workers import PATIENCE_S

V1, V2 = source_version("E1"), source_version("E1", etag='"v2"')
LATER = "Wed, 02 Mar 2016 00:00:00 GMT"
LATER_S = 1_456_876_800


class Kept:
    """A version cache with its rows, what it saves and whom it tells."""

    def __init__(self, *rows: AssetRow) -> None:
        self.clock = ManualClock()
        self.rows = {found.embed_code: found for found in rows}
        self.saved: list[SourceRecord] = []
        self.written = threading.Event()
        self.told: list[tuple[str, SourceVersion | None]] = []
        self.refuse: Exception | None = None
        self.aliases: list[set[SourceVersion]] = []
        self.versions = SourceVersionCache(
            self.clock,
            self.rows.get,
            self._save,
            is_alias=lambda one, other: {one, other} in self.aliases,
        )
        self.replaced: list[SourceVersion] = []
        self.versions.subscribe(self)

    def on_replaced(self, embed_code: str, before: ProbedSource) -> None:
        """Note it; at this moment it is still shown, unless its asset is gone."""
        shown = self.versions.known(embed_code)
        assert shown == before or embed_code not in self.rows
        self.replaced.append(before.version)

    def on_change(self, embed_code: str, current: SourceVersion | None) -> None:
        """Note it."""
        self.told.append((embed_code, current))

    def _save(self, records: list[SourceRecord]) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.saved += records
        self.written.set()

    def known(self) -> ProbedSource:
        """Of E1, which is known."""
        found = self.versions.known("E1")
        assert found is not None
        return found


def test_a_row_that_was_probed_before_is_known() -> None:
    """After a restart no size is asked for again."""
    kept = Kept(probed_row(), row("E2"))
    assert kept.known() == ProbedSource(V1, LAST_MODIFIED_S, verified=True)
    assert kept.versions.known("E2") is None
    assert kept.versions.known("E3") is None


def test_the_first_probe() -> None:
    """The time is that of the source; nobody is told, since nothing changed."""
    kept = Kept(row())
    assert kept.versions.record_probe(V1) == kept.known() == ProbedSource(V1, LAST_MODIFIED_S, True)
    assert not kept.told
    assert not kept.replaced


@pytest.mark.parametrize(
    ("before", "after", "mtime_s"),
    [
        (None, source_version("E1", last_modified=None), 2000),
        (None, source_version("E1", last_modified="yesterday"), 2000),
        (V1, V1, LAST_MODIFIED_S),
        (V1, source_version("E1", etag='"v2"', last_modified=LATER), LATER_S),
        (V1, V2, 2000),
        (V1, source_version("E1", size=5, last_modified=LAST_MODIFIED), 2000),
        (V1, source_version("E1", etag='"v2"', last_modified=None), 2000),
    ],
)
def test_modification_times(
    before: SourceVersion | None, after: SourceVersion, mtime_s: int
) -> None:
    """``Last-Modified``; the record's time where there is none, or it did not move but the bytes
    did: otherwise rsync would keep the old copy."""
    kept = Kept(row(updated_at_s=2000))
    if before is not None:
        kept.versions.record_probe(before)
    assert kept.versions.record_probe(after).mtime_s == mtime_s


def test_a_time_once_shown_stays_with_its_version() -> None:
    """A new title moves ``updated_at``, and must not make rsync copy again."""
    kept = Kept(row(updated_at_s=2000))
    bare = source_version("E1", last_modified=None)
    assert kept.versions.record_probe(bare).mtime_s == 2000
    kept.rows["E1"] = row(updated_at_s=3000)
    kept.versions.invalidate("E1")
    assert kept.versions.record_probe(bare) == ProbedSource(bare, 2000, verified=True)


def test_another_etag_of_the_same_version() -> None:
    """Neither a probe nor another mount replaces the version that was found first."""
    kept = Kept(probed_row())
    kept.aliases = [{V1, V2}]
    assert kept.versions.record_probe(V2) == ProbedSource(V1, LAST_MODIFIED_S, verified=True)
    kept = Kept(probed_row())
    kept.aliases = [{V1, V2}]
    elsewhere = probed_row()._replace(etag='"v2"')
    kept.versions.apply_external([elsewhere])
    kept.rows["E1"] = elsewhere
    kept.versions.published([elsewhere])
    assert kept.known().version == V1
    assert not kept.told
    assert not kept.replaced


def test_a_replaced_source() -> None:
    """Whoever listens is told before and after; the same version, found again, is no news."""
    kept = Kept(row())
    kept.versions.record_probe(V1)
    kept.versions.record_probe(V2)
    kept.versions.invalidate("E1")
    kept.versions.record_probe(V2)
    assert kept.replaced == [V1]
    assert kept.told == [("E1", V2)]


def test_doubt() -> None:
    """The size is still shown; the next open asks. Also a failure is forgotten."""
    kept = Kept(probed_row())
    kept.versions.invalidate("E1")
    assert kept.known() == ProbedSource(V1, LAST_MODIFIED_S, verified=False)
    kept.versions.failed("E1", RemoteUnavailable("down"))
    kept.versions.invalidate("E1")
    assert kept.versions.failure("E1") is None
    kept.versions.invalidate("E9")
    assert kept.versions.known("E9") is None
    assert not kept.told


def test_contradicted() -> None:
    """A transfer found another version: doubt, and word to the open files."""
    kept = Kept(probed_row())
    kept.versions.on_mismatch(V2)
    kept.versions.on_mismatch(source_version("E9"))
    assert kept.known().verified
    assert not kept.told, "a late word about a version that is known to be old"
    kept.versions.on_mismatch(V1)
    assert not kept.replaced
    assert not kept.known().verified
    assert kept.told == [("E1", None)]


@pytest.mark.parametrize(
    ("error", "ttl_s", "unavailable"),
    [
        (SourceMissing("x"), UNAVAILABLE_TTL_S, True),
        (SourceGone("x"), UNAVAILABLE_TTL_S, True),
        (SourceDenied("x"), UNAVAILABLE_TTL_S, True),
        (RemoteUnavailable("x"), FAILED_TTL_S, False),
        (ProtocolViolation("x"), FAILED_TTL_S, False),
    ],
)
def test_failures_have_a_short_life(error: BacklotError, ttl_s: float, unavailable: bool) -> None:
    """A definite one hides the file; one of the moment does not; each is asked for again."""
    kept = Kept(row())
    assert kept.versions.failure("E1") is None
    kept.versions.failed("E1", error)
    assert kept.versions.unavailable(kept.rows["E1"]) is unavailable
    kept.clock.advance(ttl_s - 0.1)
    assert kept.versions.failure("E1") is error
    kept.clock.advance(0.2)
    assert kept.versions.failure("E1") is None
    kept.versions.record_probe(V1)
    assert not kept.versions.unavailable(kept.rows["E1"])


def test_missing_before_the_restart() -> None:
    """The row remembers it, until a probe finds a source."""
    kept = Kept(row(missing=True))
    assert kept.versions.unavailable(kept.rows["E1"])
    kept.versions.record_probe(V1)
    assert not kept.versions.unavailable(kept.rows["E1"])


def test_all_together_as_one_by_one() -> None:
    """Counts and the unavailable of many rows are what each says, after whatever has happened."""
    states = [
        (before, event)
        for before in (row(), row(missing=True), probed_row())
        for event in ("nothing", "found", "gone", "failed")
    ]
    rows = [before._replace(embed_code=f"E{at}") for at, (before, _) in enumerate(states)]
    kept = Kept(*rows)
    for one, (_, event) in zip(rows, states, strict=True):
        if event == "found":
            kept.versions.record_probe(source_version(one.embed_code))
        elif event == "gone":
            kept.versions.failed(one.embed_code, SourceGone("x"))
        elif event == "failed":
            kept.versions.failed(one.embed_code, RemoteUnavailable("x"))
    sized = {one.embed_code for one in rows if kept.versions.known(one.embed_code) is not None}
    unavailable = {one.embed_code for one in rows if kept.versions.unavailable(one)}
    assert kept.versions.unavailable_among(rows) == unavailable
    counted = SizedCounts(len(sized), len(unavailable - sized), len(rows))
    assert kept.versions.count(AssetTable(rows)) == counted
    assert (len(sized), len(unavailable - sized)) == (5, 4)


@pytest.mark.parametrize("error", [SourceGone("x"), SourceMissing("x"), SourceDenied("x")])
def test_a_known_source_that_is_gone(error: BacklotError) -> None:
    """It is not known any more, whatever the library's row still says; open files are told."""
    kept = Kept(probed_row())
    kept.versions.on_mismatch(V1)
    kept.told.clear()
    kept.versions.failed("E1", error)
    assert kept.versions.known("E1") is None
    assert kept.told == [("E1", None)]
    kept.versions.record_probe(V2)
    assert kept.known().version == V2


def test_a_known_source_that_cannot_be_asked_now() -> None:
    """Its size stays."""
    kept = Kept(probed_row())
    kept.versions.failed("E1", RemoteUnavailable("down"))
    assert kept.known().version == V1
    assert not kept.told


def test_forget() -> None:
    """A deleted asset leaves nothing; open files are told of the version they had."""
    kept = Kept(row())
    kept.versions.record_probe(V1)
    kept.versions.forget(kept.rows.pop("E1"))
    assert kept.replaced == [V1]
    assert kept.versions.known("E1") is None
    assert kept.told == [("E1", None)]


def test_a_probe_of_a_deleted_asset_leaves_nothing() -> None:
    """It was under way when the asset went."""
    kept = Kept()
    assert kept.versions.record_probe(V1).version == V1
    kept.versions.failed("E1", SourceGone("x"))
    assert kept.versions.known("E1") is None
    kept.versions.flush()
    assert kept.saved == []


def test_what_was_learned_is_saved() -> None:
    """In batches, by a thread of its own; the last word on each asset counts."""
    kept = Kept(row(), row("E2"))
    kept.versions.record_probe(V1)
    kept.versions.failed("E2", SourceMissing("x"))
    assert kept.written.wait(PATIENCE_S)
    kept.versions.flush()
    assert sorted(kept.saved) == [
        SourceRecord("E1", 1000, '"v1"', LAST_MODIFIED, LAST_MODIFIED_S, True, False),
        SourceRecord("E2", -1, None, None, 0, False, True),
    ]


def test_what_could_not_be_saved_is_saved_later() -> None:
    """A full disk loses nothing that was learned."""
    kept = Kept(row(), row("E2"))
    kept.versions._writing = threading.current_thread()  # no other thread saves in this test
    kept.versions.record_probe(V1)
    kept.versions.record_probe(source_version("E2"))
    kept.refuse = CatalogUnavailable("disk full")
    with pytest.raises(CatalogUnavailable):
        kept.versions.flush()
    kept.refuse = None
    kept.versions.record_probe(V2)
    kept.versions.flush()
    assert sorted((record.embed_code, record.etag) for record in kept.saved) == [
        ("E1", '"v2"'),
        ("E2", '"v1"'),
    ]


def test_close(caplog: pytest.LogCaptureFixture) -> None:
    """Saves what is left, and nothing after that; a database that fails is only a warning."""
    kept, broken = Kept(row()), Kept(row())
    broken.refuse = CatalogUnavailable("disk full")
    for each in (kept, broken):
        each.versions._writing = threading.current_thread()  # no other thread saves in this test
        each.versions.record_probe(V1)
        each.versions.close()
    kept.versions.record_probe(V2)
    kept.versions.close()
    assert [record.etag for record in kept.saved] == ['"v1"']
    assert "disk full" in caplog.text


def test_close_waits_for_a_batch_that_is_being_written() -> None:
    """Its file is closed next: the batch would be lost."""
    begun, released = threading.Event(), threading.Event()
    order: list[str] = []

    def save(_records: list[SourceRecord]) -> None:
        begun.set()
        assert released.wait(PATIENCE_S)
        order.append("saved")

    versions = SourceVersionCache(ManualClock(), {"E1": row()}.get, save)
    versions.record_probe(V1)
    assert begun.wait(PATIENCE_S)

    def close() -> None:
        versions.close()
        order.append("closed")

    closer = threading.Thread(target=close, daemon=True)
    closer.start()
    closer.join(0.2)
    released.set()
    closer.join(PATIENCE_S)
    assert order == ["saved", "closed"]


def test_published_rows_take_over() -> None:
    """Rows that say the same replace what was learned; a row in doubt puts it in doubt."""
    kept = Kept(row())
    kept.versions.record_probe(V1)
    kept.versions.flush()
    kept.rows["E1"] = probed_row()
    kept.versions.published([probed_row(), row("E9")])
    assert kept.known() == known_from(probed_row())
    assert not kept.versions._learned
    kept.versions.record_probe(V2)
    kept.versions.flush()
    kept.versions.published([probed_row()._replace(verified=0)])
    assert kept.known().version == V2
    assert not kept.known().verified


def test_published_rows_older_than_what_was_learned() -> None:
    """What is not saved yet is newer than any row."""
    kept = Kept(probed_row())
    kept.versions._writing = threading.current_thread()  # no other thread saves in this test
    kept.versions.record_probe(V2)
    kept.versions.published([probed_row()._replace(verified=0)])
    assert kept.known().version == V2
    assert kept.known().verified


def test_a_version_in_doubt_is_not_replaced() -> None:
    """It is usually the same, found again; another mount may also have found a new one."""
    kept = Kept(probed_row())
    kept.versions.invalidate("E1")
    assert kept.replaced == []
    kept.versions.flush()
    kept.versions.apply_external([probed_row()._replace(etag='"v2"')])
    assert kept.replaced == [V1]
    assert kept.known().version == V2


@pytest.mark.parametrize("error", [SourceMissing("x"), SourceGone("x"), SourceDenied("x")])
def test_a_source_that_is_gone_was_replaced_by_none(error: BacklotError) -> None:
    """What is open keeps its version."""
    kept = Kept(probed_row())
    kept.versions.failed("E1", error)
    kept.versions.failed("E1", error)
    assert kept.replaced == [V1]
