# SPDX-License-Identifier: Apache-2.0
"""The log of requests: each has one entry, added at its start and updated until its end.

Entries have no query string, so they contain no signature and no usable URL.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Condition

KEPT_ENTRIES = 200_000
KEPT_BYTES = 192 * 1024 * 1024
"""Limits of entries and of their memory; older ones are dropped. An entry has about 600 bytes."""

LONGEST_TEXT = 1024
"""Most characters of a path, a name or a header in an entry."""

_EMPTY_ENTRY_BYTES = 320  # the object, its numbers, its place in the log


@dataclass(slots=True)
class RequestEntry:
    """One request. ``RequestLog.entries`` returns copies, which do not change.

    :ivar route: ``assets``, ``streams``, ``source`` …: see ``http_types.ROUTES``.
    :ivar path_without_query: as received, undecoded; cut after 1024 characters, as all texts here.
    :ivar embed_code: the asset of the request, or None.
    :ivar range_header: the ``Range`` header, or None.
    :ivar connection_id: the client's port: equal for requests on one kept-alive connection.
    :ivar host: ``api`` or ``cdn``.
    :ivar started_s: seconds since the epoch on the emulator's clock.
    :ivar status: status of the answer, set just before its headers are sent; None until then, and
        if the connection was reset before any header.
    :ivar bytes_sent: body bytes passed to the kernel so far.
    :ivar duration_s: real seconds from start to end; None until it ends.
    :ivar fault: kind of the fault that the request got, or None.
    """

    route: str
    method: str
    path_without_query: str
    embed_code: str | None
    range_header: str | None
    connection_id: int
    host: str
    started_s: float
    status: int | None = None
    bytes_sent: int = 0
    duration_s: float | None = None
    fault: str | None = None
    _began: float = field(default_factory=time.monotonic, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Cut texts that are too long."""
        self.method = self.method[:LONGEST_TEXT]
        self.path_without_query = self.path_without_query[:LONGEST_TEXT]
        self.embed_code = self.embed_code and self.embed_code[:LONGEST_TEXT]
        self.range_header = self.range_header and self.range_header[:LONGEST_TEXT]

    @property
    def ended(self) -> bool:
        """Whether the request has ended."""
        return self.duration_s is not None

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of the entry in bytes."""
        texts = (self.method, self.path_without_query, self.embed_code, self.range_header)
        return _EMPTY_ENTRY_BYTES + sum(sys.getsizeof(text) for text in texts if text is not None)

    def fits(self, route: str | None, embed_code: str | None, status: int | None) -> bool:
        """Whether the entry has these values; None matches all."""
        return (
            route in (None, self.route)
            and embed_code in (None, self.embed_code)
            and status in (None, self.status)
        )


class RequestLog:
    """All requests of one emulator. Thread-safe."""

    def __init__(
        self,
        on_end: Callable[[RequestEntry], None] | None = None,
        *,
        kept_entries: int = KEPT_ENTRIES,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """Keep the newest entries, within both limits.

        :param on_end: called with each entry when its request has ended, on the server's thread.
        """
        self._entries: deque[RequestEntry] = deque()
        self._bytes = 0
        self._kept_entries = kept_entries
        self._kept_bytes = kept_bytes
        self._changed = Condition()
        self._on_end = on_end

    def entries(
        self, *, route: str | None = None, embed_code: str | None = None, status: int | None = None
    ) -> list[RequestEntry]:
        """Copies of the entries that fit, oldest first."""
        with self._changed:
            return [replace(one) for one in self._entries if one.fits(route, embed_code, status)]

    def count(
        self, *, route: str | None = None, embed_code: str | None = None, status: int | None = None
    ) -> int:
        """The number of entries that fit."""
        with self._changed:
            return sum(one.fits(route, embed_code, status) for one in self._entries)

    def clear(self) -> None:
        """Remove all entries, also those of running requests."""
        with self._changed:
            self._entries.clear()
            self._bytes = 0

    def wait_for(self, condition: Callable[[RequestLog], bool], *, timeout_s: float = 30.0) -> None:
        """Wait until ``condition(self)`` is true; it is called after every change.

        :raises TimeoutError: it did not become true in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError(f"the request log did not get there in {timeout_s:g} s")

    def begin(self, entry: RequestEntry) -> RequestEntry:
        """Add the entry of a request that starts; the server updates it."""
        with self._changed:
            self._entries.append(entry)
            self._bytes += entry.memory_bytes
            while len(self._entries) > self._kept_entries or self._bytes > self._kept_bytes:
                self._bytes -= self._entries.popleft().memory_bytes
            self._changed.notify_all()
        return entry

    def update(
        self, entry: RequestEntry, *, status: int | None = None, sent: int = 0, fault: str = ""
    ) -> None:
        """Set the status or the fault of an entry, or add sent bytes."""
        with self._changed:
            entry.status = entry.status if status is None else status
            entry.bytes_sent += sent
            entry.fault = fault or entry.fault
            self._changed.notify_all()

    def end(self, entry: RequestEntry) -> None:
        """Note that a request has ended."""
        with self._changed:
            entry.duration_s = time.monotonic() - entry._began
            self._changed.notify_all()
        if self._on_end is not None:
            self._on_end(entry)
