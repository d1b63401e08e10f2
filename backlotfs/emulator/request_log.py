"""The log of requests: one entry per request, added at its start and updated until its end.

Entries hold no query string, so no signature and no URL that works.
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
"""Entries and bytes of memory kept; older ones are dropped. A usual entry has about 600 bytes."""

LONGEST_TEXT = 1024
"""Characters of a path, a name or a header that an entry keeps."""

_EMPTY_ENTRY_BYTES = 320  # the object, its numbers, its place in the log


@dataclass(slots=True)
class RequestEntry:
    """One request. ``RequestLog.entries`` gives copies: they do not change under the reader.

    :ivar route: ``assets``, ``streams``, ``source`` …: see ``http_types.ROUTES``.
    :ivar path_without_query: as received, undecoded; cut after 1024 characters, as all texts here.
    :ivar embed_code: the asset it is about, or None.
    :ivar range_header: the ``Range`` header, or None.
    :ivar connection_id: the client's port: equal for requests on one kept-alive connection.
    :ivar host: ``api`` or ``cdn``.
    :ivar started_s: seconds since the epoch on the emulator's clock.
    :ivar status: status of the answer, set just before its headers go out; None until then, and
        when the connection was reset before any header.
    :ivar bytes_sent: body bytes handed to the kernel so far.
    :ivar duration_s: real seconds from start to end; None while the request goes on.
    :ivar fault: kind of the scripted fault that struck, or None.
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
        """Cut what is too long."""
        self.method = self.method[:LONGEST_TEXT]
        self.path_without_query = self.path_without_query[:LONGEST_TEXT]
        self.embed_code = self.embed_code and self.embed_code[:LONGEST_TEXT]
        self.range_header = self.range_header and self.range_header[:LONGEST_TEXT]

    @property
    def ended(self) -> bool:
        """Whether the request is over."""
        return self.duration_s is not None

    @property
    def memory_bytes(self) -> int:
        """About the bytes of memory that the entry takes."""
        texts = (self.method, self.path_without_query, self.embed_code, self.range_header)
        return _EMPTY_ENTRY_BYTES + sum(sys.getsizeof(text) for text in texts if text is not None)

    def fits(self, route: str | None, embed_code: str | None, status: int | None) -> bool:
        """Whether it has these values; None stands for any."""
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

        :param on_end: called with each entry that is complete, on the server's thread.
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
        """How many entries fit."""
        with self._changed:
            return sum(one.fits(route, embed_code, status) for one in self._entries)

    def clear(self) -> None:
        """Forget all entries; requests under way stay unlisted."""
        with self._changed:
            self._entries.clear()
            self._bytes = 0

    def wait_for(self, condition: Callable[[RequestLog], bool], *, timeout_s: float = 30.0) -> None:
        """Return once ``condition(self)`` holds; it is asked again after every change.

        :raises TimeoutError: when it does not come to hold in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError(f"the request log did not get there in {timeout_s:g} s")

    def begin(self, entry: RequestEntry) -> RequestEntry:
        """List a request that starts; the server keeps the entry to fill it."""
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
        """Note a status, further body bytes, or a fault."""
        with self._changed:
            entry.status = entry.status if status is None else status
            entry.bytes_sent += sent
            entry.fault = fault or entry.fault
            self._changed.notify_all()

    def end(self, entry: RequestEntry) -> None:
        """Note that a request is over."""
        with self._changed:
            entry.duration_s = time.monotonic() - entry._began
            self._changed.notify_all()
        if self._on_end is not None:
            self._on_end(entry)
