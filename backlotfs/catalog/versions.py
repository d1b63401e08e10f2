# SPDX-License-Identifier: Apache-2.0
"""The source version cache: the version that the last probe of each source found.

The rows of the library hold the results of earlier probes; they come from the database. The cache
holds newer results, and its own thread writes them to the database in batches. A source that may
have been replaced is *invalidated*: its version is not verified until it is probed again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from typing import Protocol

from backlotfs.catalog.db.rows import AssetRow, SizedCounts, SourceRecord
from backlotfs.catalog.db.table import AssetTable
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, SourceDenied, SourceGone, SourceMissing
from backlotfs.log import events
from backlotfs.source.version import SourceVersion


@dataclass(frozen=True, slots=True)
class ProbedSource:
    """The version of a source that a probe found.

    :ivar mtime_s: the time that ``stat`` shows, seconds since the epoch.
    :ivar verified: False once the source may have been replaced; its size and time are still
        shown, but no cached block is used before the next probe.
    """

    version: SourceVersion
    mtime_s: int
    verified: bool


log = logging.getLogger(__name__)

#: A negative entry (no source, or access denied) is valid for this long.
UNAVAILABLE_TTL_S = 60.0
#: A temporary failure of a probe is remembered for this long, so that a scanning program does not
#: repeat it for every file.
FAILED_TTL_S = 2.0
#: Number of failures remembered; beyond it the oldest is forgotten early.
FAILURES_KEPT = 100_000
#: Longest time until a new result is written, if no write fails; a crash loses no older result.
WRITE_AFTER_S = 0.5
#: Pause after a failed write (disk full).
RETRY_S = 30.0
#: Errors after which there is no source, so that another attempt does not help soon.
_DEFINITE = (SourceMissing, SourceGone, SourceDenied)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BacklotError
    until: float  # monotonic


def known_from(row: AssetRow) -> ProbedSource:
    """Make a `ProbedSource` from a row that was probed."""
    version = SourceVersion(row.embed_code, row.size, row.etag, row.last_modified)
    return ProbedSource(version, row.mtime_s, bool(row.verified))


class VersionListener(Protocol):
    """Receives changes of source versions; a mount has `mount.replacement.Replacement`."""

    def on_replaced(self, embed_code: str, before: ProbedSource) -> None:
        """Called just before ``before`` is not shown any more, under the cache's lock.

        It must not wait, and must not call the cache.
        """

    def on_change(self, embed_code: str, current: SourceVersion | None) -> None:
        """Called when a source has changed to ``current``; None: no version is known now."""


class SourceVersionCache:
    """Source versions by embed code. Any thread may call it; listeners run on that thread.

    :ivar row_of: returns the row of an embed code in the present library; None: it has none.
    """

    def __init__(
        self,
        clock: Clock,
        row_of: Callable[[str], AssetRow | None],
        save: Callable[[list[SourceRecord]], None],
        *,
        is_alias: Callable[[SourceVersion, SourceVersion], bool] = lambda _one, _other: False,
    ) -> None:
        """Start with the versions in the rows.

        :param save: writes a batch to the database; called from the cache's own thread.
        :param is_alias: whether two versions are proven to be the same in spite of their ETags.
        """
        self._clock = clock
        self.row_of = row_of
        self._save = save
        self._is_alias = is_alias
        self._listeners: list[VersionListener] = []
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._learned: dict[str, ProbedSource] = {}
        self._gone: set[str] = set()
        self._failures: dict[str, _Failure] = {}
        self._epochs: dict[str, int] = {}
        self._unsaved: dict[str, SourceRecord] = {}
        self._closed = False
        self._writing: threading.Thread | None = None
        self._wake = threading.Event()

    def subscribe(self, listener: VersionListener) -> None:
        """Add a listener. Call it before the first probe."""
        self._listeners.append(listener)

    def known(self, embed_code: str, row: AssetRow | None = None) -> ProbedSource | None:
        """The known version of a source, verified or not; None: never probed, or no source.

        :param row: the asset's row, if the caller has it.
        """
        if embed_code in self._gone:
            return None  # the row is older
        learned = self._learned.get(embed_code)
        return self._said_by(row or self.row_of(embed_code)) if learned is None else learned

    @staticmethod
    def _said_by(row: AssetRow | None) -> ProbedSource | None:
        return None if row is None or row.size < 0 else known_from(row)

    def is_current(self, row: AssetRow) -> bool:
        """Whether ``row`` has the verified, newest version of its source."""
        code = row.embed_code
        return bool(row.verified) and code not in self._learned and code not in self._gone

    def newer(self) -> Set[str]:
        """The embed codes of all sources that may have another version than their rows."""
        if not self._learned and not self._gone:
            return frozenset()
        with self._lock:
            return self._learned.keys() | self._gone

    def failure(self, embed_code: str) -> BacklotError | None:
        """The error of the last probe while it is remembered; else None."""
        failure = self._failures.get(embed_code)
        if failure is None or failure.until <= self._clock.monotonic():
            return None
        return failure.error

    def count(self, rows: AssetTable) -> SizedCounts:
        """Count the known, missing and unknown sizes of these assets.

        Only what differs from the rows is looked at one by one.
        """
        sized, missing = rows.count()
        with self._lock:
            for row in map(rows.get, {*self._learned, *self._gone, *self._failures}):
                if row is None:
                    continue
                is_sized = self.known(row.embed_code) is not None
                sized += is_sized - (row.size >= 0)
                missing += (not is_sized and self.unavailable(row)) - (
                    row.size < 0 and bool(row.missing)
                )
        return SizedCounts(sized, missing, len(rows))

    def total_size(self, rows: AssetTable) -> int:
        """The total size of these assets as far as it is known, in bytes."""
        total = rows.total_size
        with self._lock:
            for row in map(rows.get, {*self._learned, *self._gone}):
                if row is not None:
                    known = self.known(row.embed_code)
                    total += (0 if known is None else known.version.size) - max(0, row.size)
        return total

    def unavailable_among(self, rows: Iterable[AssetRow]) -> set[str]:
        """The embed codes of all `unavailable` assets of ``rows``, and perhaps of others."""
        missing = [row for row in rows if row.missing]
        with self._lock:
            found = {row.embed_code for row in missing if self.unavailable(row)}
            failures = self._failures.items()
            return found | {code for code, one in failures if isinstance(one.error, _DEFINITE)}

    def unavailable(self, row: AssetRow) -> bool:
        """Whether the last probe found no source that can be read."""
        failure = self._failures.get(row.embed_code)
        if failure is not None:
            return isinstance(failure.error, _DEFINITE)
        return bool(row.missing) and row.embed_code not in self._learned

    def epoch(self, embed_code: str) -> int:
        """How often the source was invalidated; read it before a probe, for `record_probe`."""
        return self._epochs.get(embed_code, 0)

    def record_probe(self, version: SourceVersion, epoch: int | None = None) -> ProbedSource:
        """Record and publish the version that a probe found.

        The record's ``updated_at`` is used as time if ``Last-Modified`` is absent, or is unchanged
        although the source was replaced.

        :param epoch: `epoch` before the probe began. If it has changed, the version is not
            verified: the probe may have seen the previous version.
        """
        code = version.embed_code
        with self._lock:
            row = self.row_of(code)
            updated_at_s = row.updated_at_s if row is not None else 0
            before = None if code in self._gone else self._learned.get(code) or self._said_by(row)
            if before is not None and self._is_alias(before.version, version):
                version = before.version  # the version that was found first keeps its validator
            mtime_s = version.last_modified_s
            replaced = before is not None and before.version.validator != version.validator
            if before is not None and not replaced:
                mtime_s = before.mtime_s
            elif before is not None and before.version.last_modified == version.last_modified:
                mtime_s = None
            verified = epoch is None or epoch == self.epoch(code)
            known = ProbedSource(version, updated_at_s if mtime_s is None else mtime_s, verified)
            self._failures.pop(code, None)
            self._gone.discard(code)
            if row is not None:  # else the asset was deleted during the probe
                if before is not None and replaced:
                    self._on_replaced(code, before)
                self._learn(code, known)
        if replaced:
            self._on_change(code, version)
        return known

    def failed(self, embed_code: str, error: BacklotError) -> None:
        """Remember for a while that a probe failed."""
        definite = isinstance(error, _DEFINITE)
        ttl = UNAVAILABLE_TTL_S if definite else FAILED_TTL_S
        with self._lock:
            self._failures[embed_code] = _Failure(error, self._clock.monotonic() + ttl)
            if len(self._failures) > FAILURES_KEPT:
                del self._failures[next(iter(self._failures))]
            before = self.known(embed_code) if definite else None
            if before is not None:
                self._on_replaced(embed_code, before)
            if definite and self.row_of(embed_code) is not None:
                self._learned.pop(embed_code, None)
                self._gone.add(embed_code)
                self._note(SourceRecord(embed_code, -1, None, None, 0, False, True))
        if before is not None:
            self._on_change(embed_code, None)

    def invalidate(self, embed_code: str) -> None:
        """Mark a source that may have been replaced, so that the next open probes it."""
        with self._lock:
            self._epochs[embed_code] = self.epoch(embed_code) + 1
            known = self.known(embed_code)
            if known is not None and known.verified:
                self._learn(embed_code, replace(known, verified=False))
            self._failures.pop(embed_code, None)

    def on_mismatch(self, version: SourceVersion) -> None:
        """Invalidate a version: a transfer of it received another version."""
        known = self.known(version.embed_code)
        if known is not None and known.version.validator == version.validator:
            self.invalidate(version.embed_code)
            self._on_change(version.embed_code, None)

    def forget(self, row: AssetRow) -> None:
        """Forget a source whose asset was deleted; ``row`` is its last row."""
        embed_code = row.embed_code
        with self._lock:
            before = self._learned.get(embed_code) or self._said_by(row)
            if before is not None:
                self._on_replaced(embed_code, before)
            self._learned.pop(embed_code, None)
            self._gone.discard(embed_code)
            self._failures.pop(embed_code, None)
            self._epochs.pop(embed_code, None)
            self._unsaved.pop(embed_code, None)
        self._on_change(embed_code, None)

    def published(self, rows: Iterable[AssetRow]) -> None:
        """Drop results that the published rows contain; invalidate sources that they invalidate."""
        with self._lock:
            for row in rows:
                if row.missing and row.embed_code not in self._unsaved:
                    self._gone.discard(row.embed_code)
                learned = self._learned.get(row.embed_code)
                if learned is None or row.embed_code in self._unsaved:
                    continue
                if learned.verified and not row.verified:
                    self._learned[row.embed_code] = replace(learned, verified=False)
                elif known_from(row) == learned:
                    del self._learned[row.embed_code]

    def apply_external(self, rows: Iterable[AssetRow]) -> None:
        """Take over versions that other mounts have found, as if this mount had found them now.

        Call it before the rows are published.
        """
        replaced: list[SourceVersion] = []
        with self._lock:
            for row in rows:
                before, now = self.known(row.embed_code), known_from(row)
                if row.embed_code in self._unsaved or before is None:
                    continue  # this mount's own result is newer
                if before.version.validator == now.version.validator:
                    continue
                if self._is_alias(before.version, now.version):
                    self._learned[row.embed_code] = before
                    continue
                self._on_replaced(row.embed_code, before)
                self._learned[row.embed_code] = now
                replaced.append(now.version)
        for version in replaced:
            self._on_change(version.embed_code, version)

    def flush(self) -> None:
        """Write all results that are not yet in the database, on the calling thread.

        :raises BacklotError: the write failed; the results are kept for the next one.
        """
        # One at a time: `close` waits for a batch that is being written before the file is closed.
        with self._flushing:
            with self._lock:
                batch, self._unsaved = self._unsaved, {}
            if not batch:
                return
            try:
                self._save(list(batch.values()))
            except BacklotError:
                with self._lock:  # results that came meanwhile are newer
                    self._unsaved = batch | self._unsaved
                raise

    def close(self) -> None:
        """Write the remaining results; later ones are not written."""
        with self._lock:
            self._closed = True
        try:
            self.flush()
        except BacklotError as error:
            events.SOURCES_LOST.log(log, reason=error)
        self._wake.set()

    def _on_replaced(self, embed_code: str, before: ProbedSource) -> None:
        """Call the listeners before another version is shown. The caller holds the lock."""
        for listener in self._listeners:
            listener.on_replaced(embed_code, before)

    def _on_change(self, embed_code: str, current: SourceVersion | None) -> None:
        for listener in self._listeners:
            listener.on_change(embed_code, current)

    def _learn(self, embed_code: str, known: ProbedSource) -> None:
        """Store a result and queue it to be written. The caller holds the lock."""
        self._learned[embed_code] = known
        version = known.version
        self._note(
            SourceRecord(
                embed_code,
                version.size,
                version.etag,
                version.last_modified,
                known.mtime_s,
                known.verified,
                False,
            )
        )

    def _note(self, record: SourceRecord) -> None:
        """Queue a record to be written. The caller holds the lock."""
        if self._closed:
            return
        self._unsaved[record.embed_code] = record
        if self._writing is None:
            self._writing = threading.Thread(target=self._write, name="versions", daemon=True)
            self._writing.start()
        self._wake.set()

    def _write(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            self._clock.sleep(WRITE_AFTER_S)
            if self._closed:
                return
            try:
                self.flush()
            except BacklotError as error:
                events.SOURCES_UNSAVED.log(log, reason=error)
                self._clock.sleep(RETRY_S)
                self._wake.set()
