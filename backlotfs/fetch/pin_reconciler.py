# SPDX-License-Identifier: Apache-2.0
"""Keeps pinned sources complete in the disk cache: a mount fetches their missing blocks.

`backlotfs pin` itself fetches the files that it pins. The reconciler fetches what is missing later:
the new version of a replaced source, blocks that were damaged or that had no room after a restart,
and the missing blocks of a source whose `pin` was interrupted. It fetches one step of one source at
a time, so that most of the network is left to readers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.pins import Pins
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError, DeadlineExceeded, RemoteUnavailable
from backlotfs.fetch.warm import Warmer
from backlotfs.log import events
from backlotfs.source.version import SourceVersion

log = logging.getLogger(__name__)

#: Time until incomplete sources are tried again.
RECONCILE_EVERY_S = 60.0
#: The bytes of one step, and its time limit.
PIN_STEP_BYTES, PIN_STEP_S = 8 * 1024 * 1024, 60.0


class PinReconciler:
    """Completes pinned sources on a thread of its own, which `start` starts. Thread-safe.

    :ivar pins: the pins of the mount.
    """

    def __init__(
        self,
        pins: Pins,
        warmer: Warmer,
        current: Callable[[str], SourceVersion | None],
        clock: Clock,
        queued: Callable[[str], bool] = lambda _code: False,
    ) -> None:
        """Fetch nothing yet.

        :param current: returns the version of a source; None if it is unknown or not verified.
        :param queued: whether the URL of a source waits for an API credit.
        """
        self._queued = queued
        self.pins = pins
        self._warmer = warmer
        self._current = current
        self._clock = clock
        self._changed = threading.Condition()
        self._due: set[str] = set()
        self._all_due = False
        self._later: set[str] = set()
        self._closing = False

    def start(self) -> None:
        """Check every pin, and from now on each source that changes."""
        self.check_all()
        threading.Thread(target=self._run, name="pin-keeper", daemon=True).start()

    def check_all(self) -> None:
        """Check every pin, because the disk cache may have lost its blocks.

        The caller may hold the lock of the pins, so the pins are read later by the thread.
        """
        with self._changed:
            self._all_due = True
            self._changed.notify()

    def source_changed(self, embed_code: str) -> None:
        """Check a source that has, or may have, another version now."""
        if self.pins.of(embed_code) is not None:
            with self._changed:
                self._due.add(embed_code)
                self._changed.notify()

    def deleted(self, embed_code: str) -> None:
        """Remove the pin of an asset that was deleted from the library, and its blocks."""
        if self.pins.remove((embed_code,), drop=True):
            events.PIN_REMOVED.log(log, embed_code=embed_code)

    def close(self) -> None:
        """Stop fetching."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def reconcile(self) -> bool:
        """Complete the sources that are due; return whether some are still incomplete."""
        with self._changed:
            codes, self._due = self._due | self._later, set()
            self._later.clear()
            all_due, self._all_due = self._all_due, False
        if all_due:
            codes.update(pin.embed_code for pin in self.pins.all())
        due = sorted(codes)
        while due and not self._closing:
            code = due.pop(0)
            try:
                whole = self._complete(code)
            except BacklotError as error:
                events.PIN_INCOMPLETE.log(log, reason=error)
                whole = False
                if isinstance(error, RemoteUnavailable | DeadlineExceeded):
                    self._later.update(due)  # the others would fail too
                    due.clear()
            except Exception as error:  # noqa: BLE001  # continue with the others
                events.JOB_FAILED.log(log, pool="pin-keeper", failure=error)
                whole = False
            if not whole:
                self._later.add(code)
        return bool(self._later)

    def _run(self) -> None:
        while not self._closing:
            self.reconcile()
            with self._changed:
                if not self._due and not self._all_due and not self._closing:
                    self._changed.wait(RECONCILE_EVERY_S if self._later else None)

    def _complete(self, code: str) -> bool:
        """Complete a pinned source; return whether it is complete or no longer pinned.

        :raises BacklotError: the source cannot be fetched now, or does not fit.
        """
        version = self._current(code)
        if self.pins.of(code) is None:
            return True
        if version is None:
            return False
        pin = Pin(code, version.validator)
        self.pins.follow(pin)
        if self._warmer.cached_bytes(version) == version.size:
            return True
        if not self.pins.fits(pin):
            raise BacklotError(
                f"{code} does not fit any more: unpin others, or mount with a larger --cache-size "
                "or --pin-quota"
            )
        offset = fetched_bytes = 0
        while offset < version.size:
            if self._closing or self.pins.of(code) != pin:
                return self.pins.of(code) is None
            waiter = InterruptibleWait(
                Deadline(PIN_STEP_S, self._clock), lambda: self._closing, self._queued
            )
            offset, more = self._warmer.warm(version, offset, PIN_STEP_BYTES, waiter)
            fetched_bytes += more
        self._warmer.settle()
        events.PINNED.log(log, embed_code=code, fetched_bytes=fetched_bytes)
        return self._warmer.cached_bytes(version) == version.size
