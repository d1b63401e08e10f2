# SPDX-License-Identifier: Apache-2.0
"""Thumbnails for the folders of a mount, made in memory when a program looks one up.

Pictures must not slow a mount down: few are made at a time, and only from small images. A look-up
waits up to `LOOK_UP_S` for its picture. If the picture is late, the look-up answers that there is
none, and for `LOOK_UP_PAUSE_S` no look-up waits for a picture or starts to make one.
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
from backlotfs.thumbnails.cache import SIZES, relative_uris, thumbnail_name
from backlotfs.thumbnails.picture import Picture

log = logging.getLogger(__name__)

#: Memory for finished thumbnails: some hundred large ones, or a thousand normal ones.
KEPT_BYTES = 16 * 1024 * 1024
#: Longest wait of a look-up for its picture, and longest time to fetch an image.
LOOK_UP_S, MAKING_S = 3.0, 20.0
#: No look-up waits for this long after one that was not answered in time.
LOOK_UP_PAUSE_S = 20.0
#: An image that could not be used is not requested again for this long. The second time is for
#: failures that may be temporary.
REFUSED_S, FAILED_S = 600.0, 30.0
#: Images with more pixels are refused, because the mount itself decodes them. Usual preview images
#: have fewer.
MOST_PIXELS = 8_300_000
#: Pictures made at the same time.
MAKERS = 2
_REMEMBERED = 4096


class SharedPictures:
    """Makes the pictures of `namespace.providers.thumbnails`. Any thread may call it."""

    sizes = tuple(SIZES)

    def __init__(
        self, fetch: Callable[[str, Deadline], bytes], clock: Clock, *, software: str
    ) -> None:
        """Start the threads that make pictures.

        :param fetch: gets an image by its URL: `PreviewImages.fetch`.
        :param software: the program's name, for the texts of each picture.
        """
        self._fetch = fetch
        self._clock = clock
        self._software = software
        self._workers = Workers(MAKERS, "thumbnails")
        self._flights: SingleFlight[Wanted, bytes] = SingleFlight()
        self._lock = threading.Lock()
        self._made: LRUCache[Wanted, bytes] = LRUCache(KEPT_BYTES, getsizeof=len)
        # URL to the seconds for which it is not requested again
        self._without: TLRUCache[str, float] = TLRUCache(
            _REMEMBERED, ttu=lambda _url, seconds, now: now + seconds, timer=clock.monotonic
        )
        self._resting_until_s = 0.0

    def named(self, name: str) -> Mapping[str, str]:
        """The names of a file's thumbnails, each with the relative URI that it is the MD5 of."""
        return {thumbnail_name(uri): uri for uri in relative_uris(name)}

    def png(self, wanted: Wanted, waiter: InterruptibleWait) -> bytes:
        """Return a whole thumbnail; make it first if necessary.

        :raises NoSuchEntry: there is none now. :raises Interrupted: see `InterruptibleWait`.
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
        # A separate waiter: the timeout of a picture must not count for the program's other waits.
        patient = InterruptibleWait(Deadline(seconds, self._clock), waiter.interrupted)
        try:
            return patient.result(flight, f"making a thumbnail of {wanted.uri!r}")
        except Interrupted:
            raise
        except DeadlineExceeded:
            with self._lock:
                self._resting_until_s = self._clock.monotonic() + LOOK_UP_PAUSE_S
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
