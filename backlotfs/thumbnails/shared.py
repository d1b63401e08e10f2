"""Thumbnails for the folders of a mount: made in memory, when somebody looks one up.

A mount must not be slowed by pictures. So few are made at a time, of small images only; who looks
one up waits for a moment and is told that there is none otherwise, and meanwhile nobody else waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from cachetools import LRUCache, TLRUCache

from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.concurrency.workers import Workers
from backlotfs.errors import (
    BacklotError,
    DeadlineExceeded,
    Interrupted,
    NoSuchEntry,
    ProtocolViolation,
    SourceDenied,
    SourceGone,
)
from backlotfs.namespace.providers.thumbnails import Wanted
from backlotfs.thumbnails.cache import SIZES
from backlotfs.thumbnails.picture import Picture
from backlotfs.thumbnails.uri import relative_uris, thumbnail_name

log = logging.getLogger(__name__)

#: Finished thumbnails that are kept: some hundred of the large ones, a thousand of the normal.
KEPT_BYTES = 16 * 1024 * 1024
#: A look-up waits so long for its picture, and a picture may take so long to be made.
LOOK_UP_S, MAKING_S = 3.0, 20.0
#: After a look-up that was not answered in time none waits for so long.
REST_S = 20.0
#: An image that is not to be had is not asked for again for so long; less where that may pass.
REFUSED_S, FAILED_S = 600.0, 30.0
#: More pixels than any preview image has: the mount itself unpacks them.
MOST_PIXELS = 8_300_000
#: Pictures made at the same time.
MAKERS = 2
_REMEMBERED = 4096


class SharedPictures:
    """Any thread may call it; it has threads of its own. See `namespace.shared_thumbnails`."""

    sizes = tuple(SIZES)

    def __init__(
        self, fetch: Callable[[str, Deadline], bytes], clock: Clock, *, software: str
    ) -> None:
        """``fetch``: an image by its URL; `PreviewImages.fetch`. ``software``: who makes them."""
        self._fetch = fetch
        self._clock = clock
        self._software = software
        self._workers = Workers(MAKERS, "thumbnails")
        self._flights: SingleFlight[Wanted, bytes] = SingleFlight()
        self._lock = threading.Lock()
        self._made: LRUCache[Wanted, bytes] = LRUCache(KEPT_BYTES, getsizeof=len)
        # URL → seconds it is not asked for again
        self._without: TLRUCache[str, float] = TLRUCache(
            _REMEMBERED, ttu=lambda _url, seconds, now: now + seconds, timer=clock.monotonic
        )
        self._resting_until_s = 0.0

    def named(self, name: str) -> Mapping[str, str]:
        """What thumbnails of a file of this name are called → the relative URI that it is from."""
        return {thumbnail_name(uri): uri for uri in relative_uris(name)}

    def png(self, wanted: Wanted, waiter: InterruptibleWait) -> bytes:
        """All of a thumbnail.

        :raises NoSuchEntry: none can be had now. :raises Interrupted: see `InterruptibleWait`.
        """
        none = NoSuchEntry(f"no thumbnail of {wanted.uri!r} can be had now")
        with self._lock:
            made = self._made.get(wanted)
            if made is not None:
                return made
            if wanted.image_url in self._without or self._clock.monotonic() < self._resting_until_s:
                raise none
        flight, ours = self._flights.join(wanted)
        if ours:
            self._workers.submit(lambda: self._flights.fly(wanted, lambda: self._make(wanted)))
        seconds = min(LOOK_UP_S, waiter.deadline.remaining_s())
        # A waiter of its own: a late picture is no reason to be short with whoever asks for files.
        patient = InterruptibleWait(Deadline(seconds, self._clock), waiter.interrupted)
        try:
            return patient.result(flight, f"making a thumbnail of {wanted.uri!r}")
        except Interrupted:
            raise
        except DeadlineExceeded:
            with self._lock:
                self._resting_until_s = self._clock.monotonic() + REST_S
        except BacklotError:
            pass
        raise none

    def _make(self, wanted: Wanted) -> bytes:
        try:
            image = self._fetch(wanted.image_url, Deadline(MAKING_S, self._clock))
            picture = Picture(image, most_pixels=MOST_PIXELS)
            png = picture.png(SIZES[wanted.size], self._texts(wanted))
        except BacklotError as error:
            final = isinstance(error, SourceGone | SourceDenied | ProtocolViolation)
            with self._lock:
                self._without[wanted.image_url] = REFUSED_S if final else FAILED_S
            log.debug("no thumbnail of %r: %s", wanted.uri, error)
            raise
        with self._lock:
            self._made[wanted] = png
        return png

    def _texts(self, wanted: Wanted) -> dict[str, str]:
        return {
            "Thumb::URI": wanted.uri,
            "Thumb::MTime": str(wanted.mtime_s),
            "Thumb::Size": str(wanted.file_size),
            "Software": self._software,
        }
