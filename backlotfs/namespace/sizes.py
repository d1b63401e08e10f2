# SPDX-License-Identifier: Apache-2.0
"""Source sizes: which size is shown, when a source is probed, and which program waits for that.

A size costs an API call, and an account has a limited number of calls. So a file of unknown size is
probed when a program needs it, and `UnsizedRules` decide whether the program waits. A source that
may have been replaced since the last probe is probed again; its last size is shown if that probe
has to wait for a credit, fails, or takes too long.
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

#: Pause between two probes of a source for a program that waits through outages.
AGAIN_S = 2.0


class Treatment(Enum):
    """The treatment of a program that uses a file of unknown size."""

    WAIT = "wait"  #: it waits for the size
    HIDE = "hide"  #: there is no such file yet
    FAIL = "fail"  #: EAGAIN


class UnsizedRules(Protocol):
    """Decides the treatment of programs; called on the thread that serves the program.

    A mount uses `kernel.callers.ProgramRules`.
    """

    def treatment(self, seconds: Callable[[], float]) -> Treatment:
        """The treatment of the calling program for one file.

        :param seconds: returns the seconds until the file can be probed.
        """

    def hides(self, seconds: float | None) -> bool:
        """Whether listings for the calling program leave out files of unknown size.

        :param seconds: seconds until all sizes of the folder are known; None: not predictable.
        """


class Hidden(NamedTuple):
    """The files that a listing leaves out, and the seconds until their sizes are known."""

    embed_codes: frozenset[str]
    seconds: float | None


class SourceSizes:
    """Finds sizes for callers. Any thread may call it.

    Every call that waits raises a `BacklotError` if the probe fails: `SourceMissing`, `SourceGone`
    or `SourceDenied` if there is no source that can be read, `NoSuchEntry` or `SizeUnknown` if the
    program does not wait for sizes.
    """

    def __init__(
        self, versions: SourceVersionCache, probes: ProbeScheduler, rules: UnsizedRules | None
    ) -> None:
        """Use ``rules`` to decide which program waits for an unknown size; None: all wait."""
        self._versions = versions
        self._probes = probes
        self._rules = rules

    def is_unknown(self, row: AssetRow) -> bool:
        """Whether the source was not probed yet, so that its size is unknown."""
        if row.size >= 0:
            return False
        known = self._versions.known(row.embed_code, row)
        return known is None and not self._versions.unavailable(row)

    def list_folder(self, rows: Iterable[AssetRow]) -> Hidden:
        """Prioritize probes of a listed folder; return the files to leave out of the listing."""
        # Assets without a source are probed again too, but only after some time.
        unsettled = [row for row in rows if row.size < 0 or not row.verified]
        if unsettled:
            self._probes.prioritize(unsettled)
        unknown = frozenset(row.embed_code for row in unsettled if self.is_unknown(row))
        seconds = self._probes.seconds_for(len(unknown)) if unknown else 0.0
        if unknown and self._rules is not None and self._rules.hides(seconds):
            return Hidden(unknown, seconds)
        return Hidden(frozenset(), seconds)

    def for_stat(self, embed_code: str, start_wait: StartWait) -> ProbedSource:
        """The version to show; a changed source is probed, without a wait for a credit.

        :param start_wait: called only if the caller has to wait.
        """
        known = self._versions.known(embed_code)
        if known is None:
            return self._first_probe(embed_code, start_wait)
        if known.verified:
            return known
        waiter = start_wait()
        try:
            # The kernel caches the size, so a correction in `open` would come too late.
            probe = self._request(embed_code)
            if not probe.done() and self._probes.is_queued(embed_code):
                return known  # probably unchanged: not worth a wait for a credit
            return waiter.result(probe, f"probing {embed_code}")
        except (RemoteUnavailable, DeadlineExceeded):
            return known

    def for_open(self, embed_code: str, waiter: InterruptibleWait) -> ProbedSource:
        """The version to open; a source that may have changed is probed first."""
        known = self._versions.known(embed_code)
        if known is None:
            return self._first_probe(embed_code, lambda: waiter)
        return known if known.verified else self._probe(embed_code, waiter)

    def _first_probe(self, embed_code: str, start_wait: StartWait) -> ProbedSource:
        """Wait for the first probe. :raises NoSuchEntry, SizeUnknown: the program does not wait."""
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
        """Request a probe. :raises BacklotError: the last probe failed not long ago."""
        failure = self._versions.failure(embed_code)
        if failure is not None:
            raise failure.with_traceback(None)  # the error is reused and must not collect frames
        return self._probes.request(embed_code)
