# SPDX-License-Identifier: Apache-2.0
"""Opens a library in this process, without a mount, for programs that read files by this package.

An opened library has the catalog, versions, URLs and block loader of a mount, but no kernel
adapter. Several processes may open one library: they share the saved listing, and each has its own
memory for blocks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from backlotfs.catalog.db import state
from backlotfs.concurrency.clock import Clock, Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import POLL_S, InterruptibleWait
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError, CredentialsRefused
from backlotfs.log import events
from backlotfs.mount.check_api import check_api
from backlotfs.mount.disk_cache import open_disk_tier
from backlotfs.mount.stack import Stack, build_stack

log = logging.getLogger(__name__)


def _never_queued(_embed_code: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class OpenedLibrary:
    """An opened library, for all threads of the process that opened it, but no forked process.

    :ivar stack: the parts as in a mount: namespace, versions, resolver, reader, transport.
    """

    settings: MountSettings
    stack: Stack
    clock: Clock
    _ends: Event = field(default_factory=Event)
    _pid: int = field(default_factory=os.getpid)

    @property
    def is_usable(self) -> bool:
        """Whether this process opened it, and has not closed it."""
        return self._pid == os.getpid() and not self._ends.is_set()

    def waiter(self) -> InterruptibleWait:
        """Make the waiter of one operation; its wait ends early if the library is closed.

        As in a mount, waits for API credits do not count for the default limit. They do count for
        the limit ``read_timeout``.
        """
        limits, asked_s = self.settings.limits, self.settings.read_timeout_s
        return InterruptibleWait(
            Deadline(limits.read_s if asked_s is None else asked_s, self.clock),
            self._ends.is_set,
            self.stack.probes.is_queued if asked_s is None else _never_queued,
        )

    def refresh(self) -> None:
        """Bring the listing up to date, and wait for the end. :raises BacklotError: this failed."""
        self.stack.catalog.load(Deadline(self.settings.limits.sync_s, self.clock))

    def close(self) -> None:
        """End all waits, save all state and close the connections."""
        self._ends.set()
        self.stack.close()


def open_library(
    settings: MountSettings, progress: Callable[[int], None] = lambda _assets: None
) -> OpenedLibrary:
    """Open a library: show the saved listing, or list the library if there is none yet.

    A saved listing that is older than ``metadata_ttl``, or lacks labels that the layout needs, is
    refreshed first. If the API does not
    answer in time, the saved listing is shown and the refresh continues in the background.

    :param settings: with ``cache_bytes`` 0 or None there is no disk cache. Only one process at a
        time can use its folder, so by default the folder is left to a mount.
    :param progress: called with the number of assets so far while the library is listed.
    :raises BacklotError: the library cannot be listed, or the API refuses the credentials.
    """
    clock = SystemClock()
    disk = open_disk_tier(settings, clock) if settings.cache_bytes else None
    try:
        stack = build_stack(settings, clock, disk=disk, progress=progress)
    except BaseException:
        if disk is not None:
            disk.close()
        raise
    library = OpenedLibrary(settings, stack, clock)
    try:
        # Make the session now: a fork while another thread imports would block the child's import.
        stack.session.transport(clock, settings.account.limits)
        if stack.catalog.open_saved() and stack.catalog.show_saved():
            _update_saved(library)
        else:
            _check_api(library)
            stack.catalog.load(Deadline(settings.limits.first_listing_s, clock))
    except BaseException:
        library.close()
        raise
    return library


def _check_api(library: OpenedLibrary) -> None:
    stack = library.stack
    stack.catalog.lists_sources = check_api(
        library.settings.account, library.clock, stack.session, stack.limiter
    )


def _update_saved(library: OpenedLibrary) -> None:
    """Refresh an old listing, and wait for the end at most as long as for a first API call.

    :raises CredentialsRefused: the API refuses the credentials.
    """
    catalog, clock, settings = library.stack.catalog, library.clock, library.settings
    age_s = clock.now() - library.stack.db.read(state.sync_state).synced_at_s
    if 0 <= age_s < settings.metadata_ttl_s and not catalog.lacks_labels:
        return
    catalog.refresh(insists=False)  # in the background: it continues after the wait below
    until_s = clock.monotonic() + settings.limits.first_call_s
    while catalog.refreshing and clock.monotonic() < until_s:
        clock.sleep(POLL_S)
    if isinstance(catalog.last_error, CredentialsRefused):
        raise catalog.last_error
    if catalog.refreshing or isinstance(catalog.last_error, BacklotError):
        events.STALE.log(log, reason=catalog.last_error or "the API has not answered yet")
