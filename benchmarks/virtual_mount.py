# SPDX-License-Identifier: Apache-2.0
"""A mount in virtual time: the stack as shipped, over a `VirtualService`, without a kernel."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import requests

from backlotfs.api import rate_limiter
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.session import ApiSession
from backlotfs.catalog import catalog, probe_scheduler, versions
from backlotfs.catalog.db import state
from backlotfs.concurrency import single_flight, workers
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account, MountSettings
from backlotfs.config.time_limits import TimeLimits
from backlotfs.mount import stack as stack_module
from backlotfs.mount import transport
from backlotfs.mount.check_api import check_api
from backlotfs.mount.stack import Stack, build_stack
from benchmarks.virtual_service import API_URL, ServiceAdapter, SourceConnections, VirtualService
from benchmarks.virtual_time import (
    VirtualCondition,
    VirtualThreading,
    VirtualTime,
    virtual_future,
)


class VirtualMount:
    """What `backlotfs.mount.serve` does, as far as the API notices; made by `mounted`."""

    def __init__(self, stack: Stack, time: VirtualTime, limits: TimeLimits) -> None:
        self.stack = stack
        self._time = time
        self._limits = limits

    def list_names(self) -> list[str]:
        """``ls -f``."""
        return [entry.name for entry in self.stack.namespace.entries(self.stack.namespace.root)]

    def use(self) -> None:
        """Somebody lists the folder and looks at its first line only."""
        next(self.stack.namespace.entries(self.stack.namespace.root), None)

    def size(self, name: str) -> int:
        """``stat``, as patient as the adapter. :raises BacklotError: see `Namespace.attributes`."""
        namespace = self.stack.namespace
        return namespace.attributes(namespace.find(f"/{name}"), self._waiter).size

    def list_sizes(self) -> int:
        """``ls -l``; how many names had a size."""
        return sum(self.size(name) >= 0 for name in self.list_names())

    def unsized(self) -> int:
        """Assets never probed yet."""
        self.stack.versions.flush()
        sized, missing, total = self.stack.db.read(state.sized_counts)
        return total - sized - missing

    def _waiter(self) -> InterruptibleWait:
        deadline = Deadline(self._limits.stat_s, self._time)
        return InterruptibleWait(deadline, lambda: False, self.stack.probes.is_queued)


@contextlib.contextmanager
def mounted(service: VirtualService, time: VirtualTime, cache_dir: Path) -> Iterator[VirtualMount]:
    """Mount and, at the end, unmount: every thread ends, the catalog stays in ``cache_dir``.

    All settings are the defaults; only time, threads and connections are stood in for.
    """
    account = Account(API_URL, service.settings.api_key, service.settings.api_secret)
    settings = MountSettings(account, Path("/virtual"), cache_dir)
    with _stood_in(service, time):
        stack = build_stack(settings, time)
        if stack.catalog.open_saved() and stack.catalog.show_saved():
            stack.catalog.refresh()  # the check beside
        else:
            stack.catalog.lists_sources = check_api(account, time, stack.session, stack.limiter)
            stack.catalog.load(Deadline(account.limits.first_listing_s, time))
        stack.catalog.keep_fresh(each_minute=stack.probes.start_backfill)
        stack.probes.start_backfill()
        try:
            yield VirtualMount(stack, time, account.limits)
        finally:
            time.end()
            stack.close()


@contextlib.contextmanager
def _stood_in(service: VirtualService, time: VirtualTime) -> Iterator[None]:
    def session() -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        made.mount("http://", ServiceAdapter(service))
        return made

    wait: Any = VirtualCondition.wait
    with contextlib.ExitStack() as stack:
        for module in (catalog, rate_limiter, versions, workers):
            stack.enter_context(mock.patch.object(module, "threading", VirtualThreading(time)))
        for module in (probe_scheduler, single_flight):
            stack.enter_context(mock.patch.object(module, "Future", virtual_future(time)))
        stack.enter_context(
            mock.patch.multiple(
                stack_module,
                ApiRateLimiter=functools.partial(ApiRateLimiter, wait=wait),
                open_api_session=lambda _account: ApiSession(session),
            )
        )
        stack.enter_context(
            mock.patch.object(transport, "ConnectionPool", return_value=SourceConnections(service))
        )
        yield
