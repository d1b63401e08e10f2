"""What probes found out, and what has since come into doubt."""

from __future__ import annotations

import threading

import pytest

from backlotfs.catalog.db.rows import AssetRow, SourceRecord, StoreUnavailable
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
from tests.unit.fakes import (
    LAST_MODIFIED,
    LAST_MODIFIED_S,
    PATIENCE_S,
    ManualClock,
    identity,
    probed_row,
    row,
)

V1, V2 = identity("E1"), identity("E1", etag='"v2"')
LATER = "Wed, 02 Mar 2016 00:00:00 GMT"
LATER_S = 1_456_876_800


class Kept:
    """A book with its rows, what it saves and whom it tells."""

    def __init__(self, *rows: AssetRow) -> None:
        self.clock = ManualClock()
        self.rows = {found.embed_code: found for found in rows}
        self.saved: list[SourceRecord] = []
        self.written = threading.Event()
        self.told: list[tuple[str, SourceVersion | None]] = []
        self.refuse: Exception | None = None
        self.book = SourceVersionCache(
            self.clock,
            self.rows.get,
            self._save,
            settle_s=2.0,
        )
        self.outdated_versions: list[SourceVersion] = []
        self.book.subscribe(self)

    def superseding(self, embed_code: str, current: SourceVersion) -> None:
        """Is of test_superseded_sources.py."""

    def changed(self, embed_code: str, current: SourceVersion | None) -> None:
        """Note it."""
        self.told.append((embed_code, current))

    def outdated(self, version: SourceVersion) -> None:
        """Note it."""
        self.outdated_versions.append(version)

    def _save(self, records: list[SourceRecord]) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.saved += records
        self.written.set()

    def known(self) -> ProbedSource:
        """Of E1, which is known."""
        found = self.book.known("E1")
        assert found is not None
        return found


def test_a_row_that_was_probed_before_is_known() -> None:
    """After a restart no size is asked for again."""
    kept = Kept(probed_row(), row("E2"))
    assert kept.known() == ProbedSource(V1, LAST_MODIFIED_S, verified=True)
    assert kept.book.known("E2") is None
    assert kept.book.known("E3") is None


def test_the_first_probe() -> None:
    """The time is that of the source; nobody is told, since nothing changed."""
    kept = Kept(row())
    assert kept.book.record_probe(V1) == kept.known() == ProbedSource(V1, LAST_MODIFIED_S, True)
    assert not kept.told
    assert not kept.book.within_attr_ttl(kept.known())


@pytest.mark.parametrize(
    ("before", "after", "mtime_s"),
    [
        (None, identity("E1", last_modified=None), 2000),
        (None, identity("E1", last_modified="yesterday"), 2000),
        (V1, V1, LAST_MODIFIED_S),
        (V1, identity("E1", etag='"v2"', last_modified=LATER), LATER_S),
        (V1, V2, 2000),
        (V1, identity("E1", size=5, last_modified=LAST_MODIFIED), 2000),
        (V1, identity("E1", etag='"v2"', last_modified=None), 2000),
    ],
)
def test_modification_times(
    before: SourceVersion | None, after: SourceVersion, mtime_s: int
) -> None:
    """``Last-Modified``; the record's time where there is none, or it did not move but the bytes
    did: otherwise rsync would keep the old copy."""
    kept = Kept(row(updated_at_s=2000))
    if before is not None:
        kept.book.record_probe(before)
    assert kept.book.record_probe(after).mtime_s == mtime_s


def test_a_time_once_shown_stays_with_its_version() -> None:
    """A new title moves ``updated_at``, and must not make rsync copy again."""
    kept = Kept(row(updated_at_s=2000))
    bare = identity("E1", last_modified=None)
    assert kept.book.record_probe(bare).mtime_s == 2000
    kept.rows["E1"] = row(updated_at_s=3000)
    kept.book.invalidate("E1")
    assert kept.book.record_probe(bare) == ProbedSource(bare, 2000, verified=True)


def test_a_replaced_source() -> None:
    """Whoever listens is told, and for a while the kernel may believe the old size."""
    kept = Kept(row())
    kept.book.record_probe(V1)
    known = kept.book.record_probe(V2)
    assert kept.told == [("E1", V2)]
    assert kept.book.within_attr_ttl(known)
    kept.clock.advance(1.0)
    kept.book.invalidate("E1")
    assert kept.book.within_attr_ttl(kept.book.record_probe(V2)), "the same version, found again"
    kept.clock.advance(1.5)
    assert not kept.book.within_attr_ttl(kept.known())


def test_doubt() -> None:
    """The size is still shown; the next open asks. Also a failure is forgotten."""
    kept = Kept(probed_row())
    kept.book.invalidate("E1")
    assert kept.known() == ProbedSource(V1, LAST_MODIFIED_S, verified=False)
    kept.book.failed("E1", RemoteUnavailable("down"))
    kept.book.invalidate("E1")
    assert kept.book.failure("E1") is None
    kept.book.invalidate("E9")
    assert kept.book.known("E9") is None
    assert not kept.told


def test_contradicted() -> None:
    """A transfer found another version: doubt, and word to the open files."""
    kept = Kept(probed_row())
    kept.book.on_mismatch(V2)
    kept.book.on_mismatch(identity("E9"))
    assert kept.known().verified
    assert not kept.told, "a late word about a version that is known to be old"
    kept.book.on_mismatch(V1)
    assert kept.outdated_versions == [V2, identity("E9"), V1]
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
    assert kept.book.failure("E1") is None
    kept.book.failed("E1", error)
    assert kept.book.unavailable(kept.rows["E1"]) is unavailable
    kept.clock.advance(ttl_s - 0.1)
    assert kept.book.failure("E1") is error
    kept.clock.advance(0.2)
    assert kept.book.failure("E1") is None
    kept.book.record_probe(V1)
    assert not kept.book.unavailable(kept.rows["E1"])


def test_missing_before_the_restart() -> None:
    """The row remembers it, until a probe finds a source."""
    kept = Kept(row(missing=True))
    assert kept.book.unavailable(kept.rows["E1"])
    kept.book.record_probe(V1)
    assert not kept.book.unavailable(kept.rows["E1"])


@pytest.mark.parametrize("error", [SourceGone("x"), SourceMissing("x"), SourceDenied("x")])
def test_a_known_source_that_is_gone(error: BacklotError) -> None:
    """It is not known any more, whatever the library's row still says; open files are told."""
    kept = Kept(probed_row())
    kept.book.on_mismatch(V1)
    kept.told.clear()
    kept.book.failed("E1", error)
    assert kept.book.known("E1") is None
    assert kept.told == [("E1", None)]
    kept.book.record_probe(V2)
    assert kept.known().version == V2


def test_a_known_source_that_cannot_be_asked_now() -> None:
    """Its size stays."""
    kept = Kept(probed_row())
    kept.book.failed("E1", RemoteUnavailable("down"))
    assert kept.known().version == V1
    assert not kept.told


def test_forget() -> None:
    """A deleted asset leaves nothing; open files are told."""
    kept = Kept(row())
    kept.book.record_probe(V1)
    kept.book.forget("E1")
    assert kept.book.known("E1") is None
    assert kept.told == [("E1", None)]


def test_a_probe_of_a_deleted_asset_leaves_nothing() -> None:
    """It was under way when the asset went."""
    kept = Kept()
    assert kept.book.record_probe(V1).version == V1
    kept.book.failed("E1", SourceGone("x"))
    assert kept.book.known("E1") is None
    kept.book.flush()
    assert kept.saved == []


def test_what_was_learned_is_saved() -> None:
    """In batches, by a thread of its own; the last word on each asset counts."""
    kept = Kept(row(), row("E2"))
    kept.book.record_probe(V1)
    kept.book.failed("E2", SourceMissing("x"))
    assert kept.written.wait(PATIENCE_S)
    kept.book.flush()
    assert sorted(kept.saved) == [
        SourceRecord("E1", 1000, '"v1"', LAST_MODIFIED, LAST_MODIFIED_S, True, False),
        SourceRecord("E2", -1, None, None, 0, False, True),
    ]


def test_what_could_not_be_saved_is_saved_later() -> None:
    """A full disk loses nothing that was learned."""
    kept = Kept(row(), row("E2"))
    kept.book._writing = threading.current_thread()  # no other thread saves in this test
    kept.book.record_probe(V1)
    kept.book.record_probe(identity("E2"))
    kept.refuse = StoreUnavailable("disk full")
    with pytest.raises(StoreUnavailable):
        kept.book.flush()
    kept.refuse = None
    kept.book.record_probe(V2)
    kept.book.flush()
    assert sorted((record.embed_code, record.etag) for record in kept.saved) == [
        ("E1", '"v2"'),
        ("E2", '"v1"'),
    ]


def test_close(caplog: pytest.LogCaptureFixture) -> None:
    """Saves what is left, and nothing after that; a store that fails is only a warning."""
    kept, broken = Kept(row()), Kept(row())
    broken.refuse = StoreUnavailable("disk full")
    for each in (kept, broken):
        each.book._writing = threading.current_thread()  # no other thread saves in this test
        each.book.record_probe(V1)
        each.book.close()
    kept.book.record_probe(V2)
    kept.book.close()
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

    book = SourceVersionCache(ManualClock(), {"E1": row()}.get, save, settle_s=2.0)
    book.record_probe(V1)
    assert begun.wait(PATIENCE_S)

    def close() -> None:
        book.close()
        order.append("closed")

    closer = threading.Thread(target=close)
    closer.start()
    closer.join(0.2)
    released.set()
    closer.join(PATIENCE_S)
    assert order == ["saved", "closed"]


def test_published_rows_take_over() -> None:
    """Once the rows say the same, the book need not; a row in doubt puts the book in doubt."""
    kept = Kept(row())
    kept.book.record_probe(V1)
    kept.book.flush()
    kept.rows["E1"] = probed_row()
    kept.book.published([probed_row(), row("E9")])
    assert kept.known() == known_from(probed_row())
    assert not kept.book._learned
    kept.book.record_probe(V2)
    kept.book.flush()
    kept.book.published([probed_row()._replace(verified=0)])
    assert kept.known().version == V2
    assert not kept.known().verified


def test_published_rows_older_than_what_was_learned() -> None:
    """What is not saved yet is newer than any row."""
    kept = Kept(probed_row())
    kept.book._writing = threading.current_thread()  # no other thread saves in this test
    kept.book.record_probe(V2)
    kept.book.published([probed_row()._replace(verified=0)])
    assert kept.known().version == V2
    assert kept.known().verified
