# SPDX-License-Identifier: Apache-2.0
"""The messages of a mount to systemd: it is ready, needs more time to start, or is alive.

sd_notify(3) takes a few lines, so there is no dependency for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from backlotfs.config.time_limits import START_ASK_EVERY_S, START_ASK_FOR_S
from backlotfs.kernel.mount_table import probe_mount
from backlotfs.log import events

#: The watchdog's timeout is divided by this. The result is both the time limit of a probe and the
#: pause after an answer. So systemd kills a mount if two probes in a row get no answer.
_PROBES = 3

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state such as ``READY=1`` to ``NOTIFY_SOCKET``; do nothing if it is not set."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(address)
        channel.sendall(state.encode())


@contextlib.contextmanager
def more_start_time(every_s: float = START_ASK_EVERY_S) -> Iterator[None]:
    """Within the context, extend systemd's start timeout; the body has its own deadline."""
    over = threading.Event()
    request = f"EXTEND_TIMEOUT_USEC={START_ASK_FOR_S * 1e6:.0f}"

    def ask_again() -> None:
        while not over.wait(every_s):
            notify(request)

    notify(request)
    asking = threading.Thread(target=ask_again, name="more-time", daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def watchdog_timeout_s() -> float | None:
    """The timeout of the unit's ``WatchdogSec=``; None if systemd does not watch this process."""
    for_another = os.environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid()))
    given = os.environ.get("WATCHDOG_USEC", "")
    if for_another or not (given.isascii() and given.isdigit()) or int(given) == 0:
        return None
    return int(given) / 1e6


def start_watchdog(mountpoint: Path) -> None:
    """If systemd watches this process, start a thread that reports as long as the mount answers."""
    timeout_s = watchdog_timeout_s()
    if timeout_s is None:
        return
    interval_s = timeout_s / _PROBES

    def run() -> None:
        while True:
            if report_alive(mountpoint, interval_s):  # else the next probe follows at once
                time.sleep(interval_s)

    threading.Thread(target=run, name="watchdog", daemon=True).start()


def report_alive(mountpoint: Path, timeout_s: float) -> bool:
    """Probe the mount by another process; report to systemd unless the mount does not answer.

    :returns: whether it was reported; if not, ``timeout_s`` has passed.
    """
    try:
        silent = probe_mount(mountpoint, timeout_s=timeout_s).silent
    except OSError as error:  # the process could not be started, so the mount was not probed
        events.WATCHDOG_BLIND.log(log, reason=error.strerror)
        silent = False
    if silent:
        events.WATCHDOG_SILENT.log(log, mountpoint=mountpoint, seconds=timeout_s)
    else:
        notify("WATCHDOG=1")
    return not silent
