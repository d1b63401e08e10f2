"""What a service manager is told: sd_notify(3), without a dependency for four lines."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

#: More time is asked for this often, and so much of it: a busy machine may be late by half of it.
ASK_EVERY_S = 15.0
ASK_FOR_S = 60.0


def notify(state: str) -> None:
    """Send e.g. ``READY=1`` to the manager behind ``NOTIFY_SOCKET``; silent without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(address)
        channel.sendall(state.encode())


@contextlib.contextmanager
def taking_long(every_s: float = ASK_EVERY_S) -> Iterator[None]:
    """While inside, the manager's start time-out does not end: it is asked for more time.

    Whatever the body waits for, also without any progress to tell; it has a deadline of its own.
    """
    over = threading.Event()

    def ask() -> None:
        notify(f"EXTEND_TIMEOUT_USEC={ASK_FOR_S * 1e6:.0f}")

    def go_on() -> None:
        while not over.wait(every_s):
            ask()

    ask()
    asking = threading.Thread(target=go_on, name="more-time", daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def watchdog_patience_s() -> float | None:
    """Seconds after which the manager takes silence for a hang; None: it does not watch us."""
    for_another = os.environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid()))
    given = os.environ.get("WATCHDOG_USEC", "")
    if for_another or not (given.isascii() and given.isdigit()) or int(given) == 0:
        return None
    return int(given) / 1e6
