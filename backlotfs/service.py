"""What a service manager is told: sd_notify(3), without a dependency for four lines."""

from __future__ import annotations

import contextlib
import os
import socket


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


def watchdog_patience_s() -> float | None:
    """Seconds after which the manager takes silence for a hang; None: it does not watch us."""
    for_another = os.environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid()))
    given = os.environ.get("WATCHDOG_USEC", "")
    if for_another or not (given.isascii() and given.isdigit()) or int(given) == 0:
        return None
    return int(given) / 1e6
