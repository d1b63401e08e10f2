"""Captions (``--captions``): their kinds, which assets have some, and asking the API for them.

Theory of operation. The listing does not say which assets have captions, so `CaptionBackfill` asks
the API for every presented asset, newest first, one call for each asset and for each time that its
record was touched. One thread does so; it waits while sizes are probed, and the rate limiter lets
all other calls go first. The answer, also "none", is stored in the catalog; an answer that is not a
caption document is asked for again only by the next mount. Of several mounts of one library one
asks (a lease in the catalog); the others look once a minute what it has found. `CaptionIndex` holds
in memory what was found, so that no directory listing waits for it.
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

#: Every kind there is, which is what the file's name ends in, with its MIME type.
KINDS = {
    "dfxp": "application/ttml+xml",
    "vtt": "text/vtt",
    "srt": "application/x-subrip",
    "scc": "text/x-scc",
}
#: Nothing that tells the kind stands later in a document.
_HEAD_BYTES = 8192

_WEBVTT = re.compile(r"WEBVTT(?=[ \t\r\n]|$)")
_SCC = re.compile(r"Scenarist_SCC V\d")
_SRT = re.compile(r"\d{1,9}[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->")
#: What may stand in front of the first element of XML, one at a time.
_PROLOGUE = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*>", re.DOTALL)
_TIMED_TEXT = re.compile(r"<(?:[\w.-]{1,40}:)?tt(?=[\s/>])")


def is_nothing(body: bytes) -> bool:
    """Whether an answer says that there are no captions: empty, or JSON with nothing in it."""
    if not body.strip():
        return True
    try:
        said = json.loads(body) if len(body) < _HEAD_BYTES else True
    except (ValueError, RecursionError):
        return False
    return not (any(said.values()) if isinstance(said, dict) else said)


def kind_of(body: bytes) -> str | None:
    """One of `KINDS`; None for what is none of them, as a page of HTML that a proxy sent."""
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
    """The beginning as text, without the mark of byte order that it may have."""
    head = body[:_HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", "replace")
    return head.decode("utf-8-sig", "replace")


class CaptionIndex:
    """The captions that were found. Any thread may call it.

    Only assets that have captions take memory. Methods raise `CatalogUnavailable` when the catalog
    cannot be used now.
    """

    def __init__(self, db: CatalogDb) -> None:
        """Begin with what the catalog holds, as far as it can be read."""
        self._db = db
        self._known: dict[str, Caption] = {}
        with contextlib.suppress(BacklotError):
            self.reload()

    def known(self, embed_code: str) -> Caption | None:
        """The caption document of an asset; None: it has none, or was not asked for yet."""
        return self._known.get(embed_code)

    def total_bytes(self) -> int:
        """Size of all documents, as they came; the catalog holds them compressed."""
        return sum(caption.size for caption in list(self._known.values()))

    def document(self, embed_code: str) -> bytes | None:
        """The bytes of a document, from the catalog; None when there are none any more."""
        found = self._db.read(captions.document, embed_code)
        if found is None:
            self._known.pop(embed_code, None)
            return None
        caption, body = found
        self._known[embed_code] = caption  # another mount may have found a newer one
        return body

    def reload(self) -> None:
        """Read the catalog again: another mount may have asked the API."""
        self._known = self._db.read(captions.all_captions)

    def record(self, asked: PendingCaption, kind: str | None, body: bytes) -> None:
        """Store what an asset was found to have; ``kind`` None: it has no captions."""
        self._db.write(captions.save, asked, kind, body)
        if kind is None:
            self._known.pop(asked.embed_code, None)
        else:
            time_s = asked.updated_at_s or asked.created_at_s
            self._known[asked.embed_code] = Caption(kind, len(body), time_s)


#: One question ends after this long; a wait for a credit does not count.
ASK_DEADLINE_S = 60.0
#: How often it looks whether the probes are done.
LOOK_S = 1.0
#: An asset that failed is asked again this late; after a failure of the catalog, or of so many
#: assets in a row, the next round comes as late …
REST_S = 600.0
MOST_FAILURES = 5
#: … and after a refusal, which a person has to cure, this late.
REFUSED_S = 3600.0
#: The lease, which is renewed with every question after a third of it.
LEASE_S = 300.0
#: Assets taken from the catalog at a time.
BATCH = 1000
#: Of all documents of a library, as they came: a server that has 4 MiB for each of a million assets
#: would fill the disk. Those of 100 000 films of two hours have a tenth of it.
MOST_TOTAL_BYTES = 20 * 1024**3


class CaptionBackfill:
    """Asks the API for the captions of every presented asset. Any thread may call it.

    :ivar index: what was found.
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
        """Put it together.

        :param probes: go first.
        :param ask_s: one question may take so long: longer than an answer of the API.
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
        self._lease = Lease(db, "captions", LEASE_S)
        self._lock = threading.Lock()
        self._running = self._again = self._closed = False
        self._leased_at_s = 0.0
        self._total_bytes = 0  # of all documents in the catalog
        self._resting_until_s = clock.monotonic()
        self._done_at: int | None = None  # the catalog's generation when a round left nothing
        self._failed_at: dict[str, float] = {}
        self._skipped: dict[str, int] = {}  # embed code to the ``updated_at`` that was answered so

    def published(self, change: CatalogDelta) -> None:
        """Ask for the captions of assets that are new or were touched."""
        if change.new or change.updated:
            self.start()

    def start(self) -> None:
        """Ask for the captions of all assets that were not asked for yet; returns at once."""
        with self._lock:
            self._again = True
            if self._running or self._closed:
                return
            self._running = True
        self._workers.submit(self._run)

    def close(self) -> None:
        """Ask no more. :raises CatalogUnavailable: the lease cannot be released."""
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
                self._rest(REFUSED_S, error)
            except BacklotError as error:
                self._rest(REST_S, error)
            except Exception as error:  # noqa: BLE001  # the next round goes on
                events.JOB_FAILED.log(log, pool="captions", failure=error)
                self._rest(REST_S, None)

    def _rest(self, seconds: float, why: BacklotError | None) -> None:
        self._resting_until_s = self._clock.monotonic() + seconds
        if why is not None and not self._closed:
            events.CAPTION_BACKFILL_PAUSED.log(log, reason=why)

    def _round(self) -> None:
        """Ask for all captions that are due. :raises BacklotError: the round cannot go on."""
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
        """Whether all assets were asked for, and answered. :raises BacklotError: as `_round`."""
        asked = found = failed = in_a_row = 0
        after: PendingCaption | None = None
        forgiven_s = self._clock.monotonic() - REST_S
        try:
            while batch := self._db.read(captions.pending, BATCH, self._types, after):
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
        """Wait while sizes are looked for; False when it is over, or another mount has the lease.

        :raises CatalogUnavailable: the lease cannot be renewed.
        """
        while self._probes.busy and not self._closed:
            self._clock.sleep(LOOK_S)
        now_s = self._clock.monotonic()
        if now_s - self._leased_at_s > LEASE_S / 3 and not self._closed:
            self._leased_at_s = now_s
            return self._lease.take()
        return not self._closed

    def _ask(self, asset: PendingCaption) -> bool:
        """Whether it has captions. :raises BacklotError: that is not known now."""
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
