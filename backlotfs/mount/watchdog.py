"""systemd's watchdog (``WatchdogSec=``): a mount that no longer answers is killed and restarted."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from backlotfs.kernel.mount_table import look
from backlotfs.log import events
from backlotfs.mount import systemd

log = logging.getLogger(__name__)

#: Looks in the time after which the manager loses its patience: two may fail.
_LOOKS = 3


class Watchdog:
    """Tells the manager that the mount answers, as long as it does.

    What is asked is the mount itself, from outside: that this thread still runs would prove little.
    """

    def __init__(self, mountpoint: Path, patience_s: float) -> None:
        """Start nothing yet. :param patience_s: the manager's."""
        self._mountpoint = mountpoint
        self._interval_s = patience_s / _LOOKS

    def start(self) -> None:
        """From now on, to the end of the process; a manager that stops us no longer listens."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.tell()
            time.sleep(self._interval_s)

    def tell(self) -> None:
        """Look once, and say so if there was an answer."""
        try:
            silent = look(self._mountpoint, timeout_s=self._interval_s).silent
        except OSError as error:  # no memory, no process to be had: of the mount it says nothing
            events.WATCHDOG_BLIND.log(log, reason=error.strerror)
            silent = False
        if not silent:
            systemd.notify("WATCHDOG=1")
        else:
            events.WATCHDOG_SILENT.log(log, mountpoint=self._mountpoint, seconds=self._interval_s)


def watch(mountpoint: Path) -> None:
    """Start what the manager asks for, if there is one and it does."""
    patience_s = systemd.watchdog_patience_s()
    if patience_s is not None:
        Watchdog(mountpoint, patience_s).start()
