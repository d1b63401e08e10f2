# SPDX-License-Identifier: Apache-2.0
"""Captions (``--captions``): their kinds, the index of known ones, and the backfill from the API.

Theory of operation. The listing does not say which assets have captions, so `CaptionBackfill` asks
the API for every presented asset, newest first: one call per asset, and another each time its
record changes. One thread makes these calls; it waits while sizes are probed, and its calls have
the rate limiter's lowest priority. Each answer, including "none", is stored in the database. If an
answer is not a caption document, the API is asked again when the record changes, or by the next
mount. Of several mounts of one library, one asks (a lease in the catalog); the others read its
results once a minute. `CaptionIndex` has the results in memory, so that no directory listing waits
for them.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import re
import threading

from backlotfs.api.client import ApiClient
from backlotfs.catalog.db import captions, state
from backlotfs.catalog.db.captions import Caption, PendingCaption
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import CatalogClosed, CatalogUnavailable
from backlotfs.catalog.library import CatalogDelta, Presented
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    Interrupted,
    NoSuchEntry,
    ProtocolViolation,
    RateLimited,
)
from backlotfs.log import events

log = logging.getLogger(__name__)

#: All kinds of captions, which are also their file extensions, with their MIME types.
KINDS = {
    "dfxp": "application/ttml+xml",
    "vtt": "text/vtt",
    "srt": "application/x-subrip",
    "scc": "text/x-scc",
}
#: The kind of a document can be recognized from this many bytes at its start.
_HEAD_BYTES = 8192

_WEBVTT = re.compile(r"WEBVTT(?=[ \t\r\n]|$)")
_SCC = re.compile(r"Scenarist_SCC V\d")
_SRT = re.compile(r"\d{1,9}[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->")
#: One item of those that may precede the first XML element.
_PROLOGUE = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*>", re.DOTALL)
_TIMED_TEXT = re.compile(r"<(?:[\w.-]{1,40}:)?tt(?=[\s/>])")


def is_nothing(body: bytes) -> bool:
    """Whether an answer means that there are no captions: it is empty, or empty JSON."""
    if not body.strip():
        return True
    try:
        said = json.loads(body) if len(body) < _HEAD_BYTES else True
    except (ValueError, RecursionError):
        return False
    return not (any(said.values()) if isinstance(said, dict) else said)


def kind_of(body: bytes) -> str | None:
    """The kind of a document, one of `KINDS`; None for others, such as a proxy's HTML page."""
    text = _head(body)
    if _WEBVTT.match(text):
        return "vtt"
    text = text.lstrip()
    if _SCC.match(text):
        return "scc"
    if _SRT.match(text):
        return "srt"
    at = 0
    while found := _PROLOGUE.match(text, at):
        at = found.end()
    return "dfxp" if _TIMED_TEXT.match(text, at) else None


def _head(body: bytes) -> str:
    """The start of a document as text, without a byte order mark."""
    head = body[:_HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", "replace")
    return head.decode("utf-8-sig", "replace")


class CaptionIndex:
    """The index of the known captions. Any thread may call it.

    Only assets that have captions use memory. Methods raise `CatalogUnavailable` if the database
    cannot be used now.

    :ivar version: grows when an asset gets captions, loses them, or gets captions of another kind,
        and when `reload` finds a difference.
    """

    def __init__(self, db: CatalogDb) -> None:
        """Load the captions in the database, if it can be read."""
        self._db = db
        self._known: dict[str, Caption] = {}
        self.version = 0
        with contextlib.suppress(BacklotError):
            self.reload()

    def known(self, embed_code: str) -> Caption | None:
        """The caption document of an asset; None: it has none, or the API was not asked yet."""
        return self._known.get(embed_code)

    def total_bytes(self) -> int:
        """The uncompressed size of all documents; the database has them compressed."""
        return sum(caption.size for caption in list(self._known.values()))

    def document(self, embed_code: str) -> bytes | None:
        """The bytes of a document, from the database; None if it is gone."""
        found = self._db.read(captions.document, embed_code)
        if found is None:
            self._set(embed_code, None)
            return None
        caption, body = found
        self._set(embed_code, caption)  # another mount may have found a newer one
        return body

    def reload(self) -> None:
        """Read the catalog again: another mount may have asked the API."""
        found = self._db.read(captions.all_captions)
        if found != self._known:
            self._known = found
            self.version += 1

    def record(self, asked: PendingCaption, kind: str | None, body: bytes) -> None:
        """Store the captions of an asset; ``kind`` None: it has no captions."""
        self._db.write(captions.save, asked, kind, body)
        time_s = asked.updated_at_s or asked.created_at_s
        found = None if kind is None else Caption(kind, len(body), time_s)
        self._set(asked.embed_code, found)

    def _set(self, embed_code: str, caption: Caption | None) -> None:
        before = self._known.get(embed_code)
        if caption is None:
            self._known.pop(embed_code, None)
        else:
            self._known[embed_code] = caption
        if (before and before.kind) != (caption and caption.kind):
            self.version += 1


#: Deadline of one call, without waits for API credits.
ASK_DEADLINE_S = TimeLimits().captions_s
#: How often the backfill checks whether probes still run.
PROBES_CHECK_S = 1.0
#: Pause before an asset that failed is tried again, and before the next round after an error that
#: ended a round.
ASSET_RETRY_S = 600.0
#: A round ends after this many failures in a row.
MOST_FAILURES = 5
#: Pause before the next round after the API refused the credentials.
REFUSED_PAUSE_S = 3600.0
#: Duration of the lease, which is renewed with calls after a third of it.
CAPTION_LEASE_S = 300.0
#: Assets read from the database at a time.
PENDING_BATCH = 1000
#: Limit for the uncompressed size of all documents: a server with 4 MiB for each of a million
#: assets would fill the disk. The captions of 100 000 two-hour films need less than half of it.
MOST_TOTAL_BYTES = 20 * 1024**3


class CaptionBackfill:
    """Fetches the captions of every presented asset from the API. Any thread may call it.

    :ivar index: the captions found so far.
    """

    def __init__(
        self,
        api: ApiClient,
        db: CatalogDb,
        presented: Presented,
        probes: ProbeScheduler,
        clock: Clock,
        workers: Workers | None = None,
        *,
        ask_s: float = ASK_DEADLINE_S,
    ) -> None:
        """Send nothing yet.

        :param probes: the backfill waits while probes run.
        :param ask_s: deadline of one call; longer than the time limit of the API.
        """
        self._api = api
        self._db = db
        self.index = CaptionIndex(db)
        self._workers = workers or Workers(1, "captions")
        self._clock = clock
        self._ask_s = ask_s
        self._presented = presented
        self._types = sorted(presented.admit.types)
        self._probes = probes
        self._lease = Lease(db, "captions", CAPTION_LEASE_S)
        self._lock = threading.Lock()
        self._running = self._again = self._closed = False
        self._leased_at_s = 0.0
        self._total_bytes = 0  # of all documents in the catalog
        self._resting_until_s = clock.monotonic()
        self._done_at: int | None = None  # the catalog's generation when a round left nothing
        self._failed_at: dict[str, float] = {}
        self._skipped: dict[str, int] = {}  # embed code to ``updated_at`` of unusable answers

    def published(self, change: CatalogDelta) -> None:
        """Fetch the captions of new and changed assets."""
        if change.new or change.updated:
            self.start()

    def start(self) -> None:
        """Start to fetch all captions that were not fetched yet; returns at once."""
        with self._lock:
            self._again = True
            if self._running or self._closed:
                return
            self._running = True
        self._workers.submit(self._run)

    def close(self) -> None:
        """Stop fetching. :raises CatalogUnavailable: the lease cannot be released."""
        self._closed = True
        self._lease.release()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._again or self._closed:
                    self._running = False
                    return
                self._again = False
            try:
                self._round()
            except (CatalogClosed, Interrupted):  # the mount ends
                self._closed = True
            except CredentialsRefused as error:
                self._rest(REFUSED_PAUSE_S, error)
            except BacklotError as error:
                self._rest(ASSET_RETRY_S, error)
            except Exception as error:  # noqa: BLE001  # the next round goes on
                events.JOB_FAILED.log(log, pool="captions", failure=error)
                self._rest(ASSET_RETRY_S, None)

    def _rest(self, seconds: float, why: BacklotError | None) -> None:
        self._resting_until_s = self._clock.monotonic() + seconds
        if why is not None and not self._closed:
            events.CAPTION_BACKFILL_PAUSED.log(log, reason=why)

    def _round(self) -> None:
        """Fetch all captions that are due. :raises BacklotError: the round has to stop."""
        generation = self._db.read(state.generation)
        if generation == self._done_at:
            return
        if self._clock.monotonic() < self._resting_until_s:
            self.index.reload()
            return
        if self._db.path is None:
            raise CatalogUnavailable("without a catalog on disk there is no place for captions")
        self._leased_at_s = self._clock.monotonic()
        if not self._lease.take():
            self.index.reload()
            return
        try:
            self.index.reload()
            self._total_bytes = self.index.total_bytes()
            if self._ask_all():
                self._done_at = generation
        finally:
            if not self._closed:
                self._lease.release()

    def _ask_all(self) -> bool:
        """Fetch pending captions; True if all were fetched. :raises BacklotError: see `_round`."""
        asked = found = failed = in_a_row = 0
        after: PendingCaption | None = None
        forgiven_s = self._clock.monotonic() - ASSET_RETRY_S
        try:
            while batch := self._db.read(captions.pending, PENDING_BATCH, self._types, after):
                for asset in batch:
                    after = asset
                    if self._skipped.get(asset.embed_code) == asset.updated_at_s:
                        continue
                    if self._presented.row(asset.embed_code) is None:
                        continue
                    if self._failed_at.get(asset.embed_code, forgiven_s) > forgiven_s:
                        failed += 1
                        continue
                    if not self._may_go_on():
                        return False
                    try:
                        found += self._ask(asset)
                        asked, in_a_row = asked + 1, 0
                    except RateLimited:
                        failed += 1  # no fault of this asset: the next round asks it
                    except (CredentialsRefused, Interrupted, CatalogUnavailable):
                        raise
                    except BacklotError as error:
                        log.debug("captions of %s: %s", asset.embed_code, error)
                        self._failed_at[asset.embed_code] = self._clock.monotonic()
                        failed, in_a_row = failed + 1, in_a_row + 1
                        if in_a_row == MOST_FAILURES:
                            raise
        finally:
            if asked:
                events.CAPTIONS.log(log, asked=asked, found=found)
        if not failed:
            self._failed_at.clear()
        return not failed

    def _may_go_on(self) -> bool:
        """Wait while probes run; False if this is closed, or another mount has the lease.

        :raises CatalogUnavailable: the lease cannot be renewed.
        """
        while self._probes.busy and not self._closed:
            self._clock.sleep(PROBES_CHECK_S)
        now_s = self._clock.monotonic()
        if now_s - self._leased_at_s > CAPTION_LEASE_S / 3 and not self._closed:
            self._leased_at_s = now_s
            return self._lease.take()
        return not self._closed

    def _ask(self, asset: PendingCaption) -> bool:
        """Fetch the captions of one asset; False if it has none that can be used.

        :raises BacklotError: the API did not answer.
        """
        code = asset.embed_code
        body = b""
        try:
            body = self._api.get_captions(code, deadline=Deadline(self._ask_s, self._clock))
        except NoSuchEntry:
            pass
        except ProtocolViolation as error:
            return self._skip(asset, error)
        if is_nothing(body):
            self.index.record(asset, None, b"")
            return False
        kind = kind_of(body)
        if kind is None:
            return self._skip(asset, f"{len(body)} bytes of no kind that is known")
        if self._total_bytes + len(body) > MOST_TOTAL_BYTES:
            return self._skip(asset, f"{MOST_TOTAL_BYTES >> 30} GiB of captions are kept, the most")
        self._total_bytes += len(body)
        self.index.record(asset, kind, body)
        return True

    def _skip(self, asset: PendingCaption, reason: object) -> bool:
        self._skipped[asset.embed_code] = asset.updated_at_s
        events.CAPTIONS_SKIPPED.log(log, embed_code=asset.embed_code, reason=reason)
        return False
