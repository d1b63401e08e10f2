# SPDX-License-Identifier: Apache-2.0
"""The library for the client of a cluster: its assets, their versions, and their signed URLs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from backlotfs.api.records import SignedUrl
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.versions import ProbedSource
from backlotfs.cluster.tasks import Masked, Reach, Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import RemoteUnavailable
from backlotfs.mount.stack import Stack
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.tree import Folder

#: The most questions for versions and URLs at the same time; more would only wait for credits.
AT_ONCE = 16


class Asset(NamedTuple):
    """One file to export.

    :ivar name: its path below DEST, with ``/``. :ivar row: its row in the listing.
    """

    name: str
    row: AssetRow


def find_assets(namespace: Namespace, path: str) -> Iterator[Asset]:
    """All assets at or below a path, with the names that an export of a mount would give them.

    The names begin with the name of the folder, as with ``cp -r``. If the path ends with a slash,
    they do not.

    :raises NoSuchEntry, NotADirectory: there is nothing at the path.
    """
    inner = path.strip("/")
    found = namespace.find(f"/{inner}")
    own = inner.rpartition("/")[2]
    if isinstance(found, AssetRow):
        yield Asset(own, found)
    elif isinstance(found, Folder):
        contents_only = not own or path.endswith("/")
        yield from _below(namespace, found, "" if contents_only else f"{own}/")


def _below(namespace: Namespace, folder: Folder, prefix: str) -> Iterator[Asset]:
    for name, below in folder.folders():
        yield from _below(namespace, below, f"{prefix}{name}/")
    for name, _ in folder.files():
        row = folder.get(name)
        if isinstance(row, AssetRow) and namespace.is_listed(row):
            yield Asset(prefix + name, row)


class ClusterLibrary:
    """Gets versions and URLs for the tasks. Any thread may call it."""

    def __init__(self, stack: Stack, account: Account, stop: threading.Event) -> None:
        """Use an opened library. :param stop: set: end all waits."""
        self._stack = stack
        self._stop = stop
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._limits: TimeLimits = account.limits
        self._reach = Reach(
            account.api_url,
            account.allow_source_hosts,
            account.ca_bundle,
            None if account.proxy is None else Masked(account.proxy.url),
        )

    def known(self, asset: Asset) -> tuple[int, int] | None:
        """Size and time (ns) of a file if its version is verified; else None. No API call."""
        known = self._stack.versions.known(asset.row.embed_code, asset.row)
        if known is None or not known.verified:
            return None
        return known.version.size, self._mtime_ns(known)

    def source(self, asset: Asset) -> Source:
        """The present version of an asset, and a URL for it. It costs one API credit at most.

        :raises BacklotError: the asset has no source that can be read, or the API or the host does
            not answer.
        """
        code, stack = asset.row.embed_code, self._stack
        with self._places:
            deadline = Deadline(self._limits.source_s, stack.transport.clock)
            waiter = InterruptibleWait(deadline, self._stop.is_set, stack.probes.is_queued)
            version = stack.namespace.open(asset.row, waiter)
            url = stack.resolver.resolve(code, deadline)
            known = stack.versions.known(code)
        if known is None or known.version != version:
            raise RemoteUnavailable(f"{code} was replaced while its URL was awaited")
        mtime_ns = self._mtime_ns(known)
        return Source(self._reach, version, mtime_ns, Masked(url.url), time.time_ns())

    def renewed(self, source: Source) -> Source:
        """The same version with another URL, because the host has refused this one.

        :raises BacklotError: the API gives no other URL.
        """
        code, resolver = source.version.embed_code, self._stack.resolver
        resolver.invalidate(code, SignedUrl.parse(source.url.text))
        with self._places:
            deadline = Deadline(self._limits.source_s, self._stack.transport.clock)
            url = resolver.resolve(code, deadline)
        return replace(source, url=Masked(url.url), made_ns=time.time_ns(), is_renewed=True)

    def changed(self, source: Source) -> None:
        """Note that a worker got another version. The next attempt finds out the version again."""
        self._stack.versions.on_mismatch(source.version)

    def waits_for(self) -> float | None:
        """Seconds until there are more API credits; None if no call waits for them."""
        status = self._stack.limiter.status()
        return status.more_in_s if sum(status.waiting) else None

    def _mtime_ns(self, known: ProbedSource) -> int:
        return self._stack.namespace.attributes_of_version(known).mtime_s * 10**9
