# SPDX-License-Identifier: Apache-2.0
"""A thread handles the signals of a mount, because the main thread serves the session.

With fusepy, the main thread runs a loop in C: there, Python's signal handlers do not run, and
libfuse's own SIGHUP handler unmounts. So the signals are blocked before any thread starts, and one
thread waits for them.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping

from backlotfs.log import events

log = logging.getLogger(__name__)

#: The signals that are handled, and blocked in all threads.
HANDLED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


def block() -> None:
    """Block the `HANDLED` signals in this thread and in all that it starts later."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def serve(handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Start the thread that waits for `HANDLED` signals and calls their handlers."""

    def wait() -> None:
        while True:
            number = signal.Signals(signal.sigwait(HANDLED))
            events.SIGNAL.log(log, signal=number.name)
            try:
                handlers[number]()
            except Exception as error:  # noqa: BLE001  # the next signal must be handled too
                events.SIGNAL_FAILED.log(log, signal=number.name, failure=error)

    threading.Thread(target=wait, name="signals", daemon=True).start()
