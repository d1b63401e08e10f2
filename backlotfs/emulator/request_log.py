"""What was asked of the emulator: one entry a request, written when it starts, filled as it goes.

Entries hold no query string, so no signature and no URL that works.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Condition

KEPT_ENTRIES = 200_000
"""Entries kept; older ones are dropped, so that a long-running emulator stays small."""


@dataclass(slots=True)
class RequestEntry:
    """One request. ``RequestLog.entries`` gives copies: they do not change under the reader.

    :ivar route: ``assets``, ``streams``, ``source`` …: see ``routing.ROUTES``.
    :ivar path_without_query: as received, undecoded.
    :ivar embed_code: the asset it is about, or None.
    :ivar range_header: the ``Range`` header, or None.
    :ivar connection_id: the client's port: equal for requests on one kept-alive connection.
    :ivar host: ``api`` or ``cdn``.
    :ivar started_s: seconds since the epoch on the emulator's clock.
    :ivar status: status of the answer, set just before its headers go out; None until then, and
        for ever when the connection was reset before any header.
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

    @property
    def ended(self) -> bool:
        """Whether the request is over."""
        return self.duration_s is not None


class RequestLog:
    """All requests of one emulator. Thread-safe."""

    def __init__(self, on_end: Callable[[RequestEntry], None] | None = None) -> None:
        """``on_end`` is called with each entry that is complete, on the server's thread."""
        self._entries: deque[RequestEntry] = deque(maxlen=KEPT_ENTRIES)
        self._changed = Condition()
        self._on_end = on_end

    def entries(
        self, *, route: str | None = None, embed_code: str | None = None, status: int | None = None
    ) -> list[RequestEntry]:
        """Copies of the entries that fit, oldest first."""
        with self._changed:
            return [replace(e) for e in self._entries if _fits(e, route, embed_code, status)]

    def count(
        self, *, route: str | None = None, embed_code: str | None = None, status: int | None = None
    ) -> int:
        """How many entries fit."""
        with self._changed:
            return sum(_fits(e, route, embed_code, status) for e in self._entries)

    def clear(self) -> None:
        """Forget all entries; requests under way stay unlisted."""
        with self._changed:
            self._entries.clear()

    def wait_for(
        self,
        condition: Callable[[RequestLog], bool],
        *,
        timeout_s: float = 30.0,
    ) -> None:
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


def _fits(
    entry: RequestEntry, route: str | None, embed_code: str | None, status: int | None
) -> bool:
    return (
        (route is None or entry.route == route)
        and (embed_code is None or entry.embed_code == embed_code)
        and (status is None or entry.status == status)
    )
