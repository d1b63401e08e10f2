"""Sizes of sources: what is known, what is probed, and which program waits for a probe.

A size costs an API call, and the calls of an account are counted. So a file of unknown size is
probed when a program asks for it, and `UnsizedRules` say whether the program waits meanwhile. A
source that may have been replaced since the last probe is probed again; its last size is shown
where the new one cannot be had at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from enum import Enum
from typing import NamedTuple, Protocol

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.versions import ProbedSource, SourceVersionCache
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import (
    DeadlineExceeded,
    NoSuchEntry,
    RateLimited,
    RemoteUnavailable,
    SizeUnknown,
)
from backlotfs.namespace.tree import StartWait

#: A program that goes on trying has a source probed again after so many seconds.
AGAIN_S = 2.0


class Treatment(Enum):
    """What a program gets that asks for a file whose size is not known yet."""

    WAIT = "wait"  #: it waits for the size
    HIDE = "hide"  #: there is no such file yet
    FAIL = "fail"  #: EAGAIN


class UnsizedRules(Protocol):
    """Which program gets which treatment; asked on the thread that serves the program.

    `kernel.callers.ProgramRules` are those of a mount.
    """

    def treatment(self, seconds: Callable[[], float]) -> Treatment:
        """The treatment of the calling program, for a file that it names.

        :param seconds: tells how long it takes until the file's size can be asked for.
        """

    def hides(self, seconds: float | None) -> bool:
        """Whether a folder is listed without such files for the calling program.

        :param seconds: until all sizes of the folder are known; None when that cannot be told.
        """


class Hidden(NamedTuple):
    """The files that a listing leaves out, and the seconds until their sizes are known."""

    embed_codes: frozenset[str]
    seconds: float | None


class SourceSizes:
    """Finds out sizes for callers. Any thread may call it.

    Every call that waits raises a `BacklotError` where the size cannot be found out:
    `SourceMissing`, `SourceGone` or `SourceDenied` where there is no source to be had,
    `NoSuchEntry` or `SizeUnknown` where the program does not wait for sizes.
    """

    def __init__(
        self, versions: SourceVersionCache, probes: ProbeScheduler, rules: UnsizedRules | None
    ) -> None:
        """``rules``: who waits for a size that is not known yet; None: every program."""
        self._versions = versions
        self._probes = probes
        self._rules = rules

    def is_unknown(self, row: AssetRow) -> bool:
        """Whether it is not known yet how large the source is, nor that there is none."""
        if row.size >= 0:
            return False
        return self._versions.known(row.embed_code) is None and not self._versions.unavailable(row)

    def list_folder(self, rows: Iterable[AssetRow]) -> Hidden:
        """Have the sizes of a folder probed first that are not known; which files to leave out."""
        # Also those without a source: whether they have one now is asked again, in its time.
        unsettled = [row for row in rows if row.size < 0 or not row.verified]
        if unsettled:
            self._probes.prioritize(row.embed_code for row in unsettled)
        unknown = frozenset(row.embed_code for row in unsettled if self.is_unknown(row))
        seconds = self._probes.seconds_for(len(unknown)) if unknown else 0.0
        if unknown and self._rules is not None and self._rules.hides(seconds):
            return Hidden(unknown, seconds)
        return Hidden(frozenset(), seconds)

    def for_stat(self, embed_code: str, start_wait: StartWait) -> ProbedSource:
        """What to show of a source: of one that may have changed the new size, if it comes now.

        :param start_wait: called only where the caller has to wait.
        """
        known = self._versions.known(embed_code)
        if known is None:
            return self._first_probe(embed_code, start_wait)
        if known.verified:
            return known
        waiter = start_wait()
        try:
            # The kernel keeps what it is told: a size corrected only in `open` comes too late.
            probe = self._request(embed_code)
            if not probe.done() and self._probes.is_queued(embed_code):
                return known  # no wait for a credit to see a size that is probably the same
            return waiter.result(probe, f"probing {embed_code}")
        except (RemoteUnavailable, DeadlineExceeded):
            return known

    def for_open(self, embed_code: str, waiter: InterruptibleWait) -> ProbedSource:
        """The version to open: probed again if it may have changed."""
        known = self._versions.known(embed_code)
        if known is None:
            return self._first_probe(embed_code, lambda: waiter)
        return known if known.verified else self._probe(embed_code, waiter)

    def _first_probe(self, embed_code: str, start_wait: StartWait) -> ProbedSource:
        """:raises NoSuchEntry, SizeUnknown: the program does not wait for sizes."""
        treatment = Treatment.WAIT
        if self._rules is not None:
            treatment = self._rules.treatment(lambda: self._probes.seconds_until(embed_code))
        if treatment is Treatment.WAIT:
            return self._probe(embed_code, start_wait())
        self._request(embed_code)
        if treatment is Treatment.HIDE:
            raise NoSuchEntry(f"{embed_code} has no known size yet, and is hidden from a program")
        raise SizeUnknown(f"{embed_code} has no known size yet")

    def _probe(self, embed_code: str, waiter: InterruptibleWait) -> ProbedSource:
        doing = f"probing {embed_code}"
        while True:
            try:
                return waiter.result(self._request(embed_code), doing, embed_code)
            except RateLimited:
                raise  # after the longest wait for a credit
            except RemoteUnavailable:
                if not waiter.persistent:
                    raise
            waiter.pause(AGAIN_S, doing)

    def _request(self, embed_code: str) -> Future[ProbedSource]:
        """:raises BacklotError: why the last probe failed, not long ago."""
        failure = self._versions.failure(embed_code)
        if failure is not None:
            raise failure.with_traceback(None)  # it is kept: it must not collect frames
        return self._probes.request(embed_code)
