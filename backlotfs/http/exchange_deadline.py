"""A time limit over one whole HTTP exchange, enforced from another thread.

A socket's own timeout bounds one wait for bytes. A host that sends one byte every few seconds never
runs into it, and would hold the thread that reads from it for ever. So each exchange has a time by
which it has to end. One thread of the process looks every `LOOK_S` at the exchanges under way and
shuts down the socket of each whose time is over: then the blocked call returns, and
`Exchange.check` says why.

An exchange goes through phases, and each phase sets its own time with `Exchange.limit`: sending
and the silence before the answer; the rest of the answer's head; the body, or each part of it.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time

#: Seconds between two looks at the exchanges under way: an exchange ends at most so much too late.
LOOK_S = 0.1
#: Seconds from the first byte of an answer's head to its last; a server sends it in one piece.
HEAD_TIMEOUT_S = 3.0
#: Bytes of an answer's head, with all ``1xx`` answers before it; real ones have some hundred.
MAX_HEAD_BYTES = 64 * 1024


class ExchangeTimeout(TimeoutError):
    """The time of an exchange was over before it ended, whatever came meanwhile."""


class Exchange:
    """The time limit of one exchange; belongs to the thread that makes the exchange."""

    __slots__ = ("_at_s", "_head_began", "_over", "_sock", "_total_at_s")

    def __init__(self, total_s: float = math.inf) -> None:
        """Start counting now.

        :param total_s: seconds for all of it; `limit` can only shorten that.
        """
        self._sock: socket.socket | None = None
        self._over = self._head_began = False
        self.restart(total_s)

    def restart(self, total_s: float) -> None:
        """Give the exchange so many seconds in all from now on: for the next part of a body."""
        self._total_at_s = self._at_s = time.monotonic() + total_s

    def limit(self, seconds: float) -> None:
        """Give the phase that begins now so many seconds, and never more than the total leaves."""
        self._at_s = min(self._total_at_s, time.monotonic() + seconds)

    def limit_head(self) -> None:
        """Give the answer's head, which has begun, `HEAD_TIMEOUT_S` from the first such call on."""
        if not self._head_began:
            self._head_began = True
            self.limit(HEAD_TIMEOUT_S)

    def cut(self) -> None:
        """End the exchange as if its time were over, from any thread; `restart` undoes that."""
        self._total_at_s = self._at_s = -math.inf

    def watch(self, sock: socket.socket) -> None:
        """Shut ``sock`` down when the time is over; it takes the place of the socket before.

        :raises ExchangeTimeout: the time is over already.
        """
        self.check()
        if self._total_at_s < math.inf:
            self._sock = sock
            _watchdog.add(self)

    @property
    def left_s(self) -> float:
        """Seconds left in this phase, never negative."""
        return 0.0 if self._over else max(0.0, self._at_s - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the time was over before `end`; the socket is of no use then."""
        return self._over

    def check(self) -> None:
        """:raises ExchangeTimeout: the time is over. What was read from the socket may be cut."""
        if self._over or self._at_s <= time.monotonic():
            self._over = True
            raise ExchangeTimeout("the answer did not come in time")

    def end(self) -> None:
        """Stop watching: the exchange is over, or its socket is about to be closed."""
        _watchdog.remove(self)
        self._sock = None

    def _shut_down_if_due(self, now_s: float) -> bool:
        """Whether the time was over; called with the watchdog's lock held."""
        if self._at_s > now_s or self._sock is None:
            return False
        self._over = True
        with contextlib.suppress(OSError):  # closed, or the host was faster
            # not the method of `ssl.SSLSocket`, which takes the TLS state from under its reader
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        return True


class _Watchdog:
    """The thread that ends exchanges, and the exchanges under way."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._under_way: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    def add(self, exchange: Exchange) -> None:
        with self._wake:
            if not self._under_way:
                self._wake.notify()
            self._under_way.add(exchange)
            if self._thread is None or not self._thread.is_alive():  # a fork leaves no threads
                self._thread = threading.Thread(
                    target=self._run, name="exchange-watchdog", daemon=True
                )
                self._thread.start()

    def remove(self, exchange: Exchange) -> None:
        with self._wake:  # never while its socket is being shut down: its number may be used again
            self._under_way.discard(exchange)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._under_way:
                    self._wake.wait()
                now_s = time.monotonic()
                due = [each for each in self._under_way if each._shut_down_if_due(now_s)]
                self._under_way.difference_update(due)
            time.sleep(LOOK_S)


_watchdog = _Watchdog()
