"""Keeps pinned sources whole: fetches what a mount finds missing of them, or in a new version.

`backlotfs pin` fetches by itself. What is left for the keeper: a source that was replaced, blocks
that did not verify or had no room any more after a restart, and a pin that was cut short before it.
One source at a time, one step at a time, so that readers have the line.
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

#: What is not whole yet is looked at again after this long.
AGAIN_S = 60.0
#: One step fetches so much, and ends within this.
STEP_BYTES, STEP_S = 8 * 1024 * 1024, 60.0


class PinReconciler:
    """Any thread may call it; `start` starts its own.

    :ivar pins: what it keeps.
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

        :param current: the version a source is known to have; None: in doubt, or not known.
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
        """Look at every pin, and from now on at those that change."""
        self.check_all()
        threading.Thread(target=self._run, name="pin-keeper", daemon=True).start()

    def check_all(self) -> None:
        """Look at every pin, because the disk cache may have lost its blocks.

        The caller may hold the lock of the pins, so they are read later.
        """
        with self._changed:
            self._all_due = True
            self._changed.notify()

    def source_changed(self, embed_code: str) -> None:
        """It has, or may have, another version now."""
        if self.pins.of(embed_code) is not None:
            with self._changed:
                self._due.add(embed_code)
                self._changed.notify()

    def deleted(self, embed_code: str) -> None:
        """It is gone from the library: so is its pin, and what was held of it."""
        if self.pins.remove((embed_code,), drop=True):
            events.PIN_REMOVED.log(log, embed_code=embed_code)

    def close(self) -> None:
        """Fetch nothing more."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def reconcile(self) -> bool:
        """Make whole what is due; whether something is left to be looked at later."""
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
                    self._later.update(due)  # the others would fare no better
                    due.clear()
            except Exception as error:  # noqa: BLE001  # the others are kept, whatever one does
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
                    self._changed.wait(AGAIN_S if self._later else None)

    def _complete(self, code: str) -> bool:
        """Whether it is, or is none of ours any more.

        :raises BacklotError: it cannot be had now, or does not fit.
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
                Deadline(STEP_S, self._clock), lambda: self._closing, self._queued
            )
            offset, more = self._warmer.warm(version, offset, STEP_BYTES, waiter)
            fetched_bytes += more
        self._warmer.settle()
        events.PINNED.log(log, embed_code=code, fetched_bytes=fetched_bytes)
        return self._warmer.cached_bytes(version) == version.size
