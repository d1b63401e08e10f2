"""The life of one mount process, in the foreground or in the background."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from backlotfs import logs, service
from backlotfs.clock import Deadline, SystemClock
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.kernel import signals
from backlotfs.kernel.operations import BacklotOperations
from backlotfs.kernel.session import ATTRIBUTE_TIMEOUT_S, MountOptions, MountSession
from backlotfs.settings import MountSettings
from backlotfs.wiring import Stack, build_stack, greet

log = logging.getLogger(__name__)

#: The first listing of a library may take this long; 100 000 assets need about 200 calls.
FIRST_LISTING_DEADLINE_S = 900.0


def serve_mount(settings: MountSettings, ready: Callable[[], None]) -> None:
    """Mount, serve until unmounted or told to stop, clean up.

    :param ready: called once the mountpoint answers.
    :raises BacklotError: the mount could not be made; nothing is left behind.
    """
    signals.block()  # before the first thread
    try:
        logs.configure(
            level=settings.log_level, log_format=settings.log_format, place=settings.log_place
        )
    except OSError as error:
        raise SettingsError(
            f"cannot log to {settings.log_place}: {error.strerror}; name a file with --log-file"
        ) from None
    clock = SystemClock()
    session = MountSession(
        settings.mountpoint, MountOptions(settings.account.source, settings.allow_other)
    )
    begun = threading.Event()
    stack = build_stack(settings, clock, settle_s=2 * ATTRIBUTE_TIMEOUT_S)

    def stop() -> None:
        service.notify("STOPPING=1")
        if not begun.is_set():
            os._exit(128 + signal.SIGTERM)  # nothing is mounted yet
        session.stop(logging.shutdown)

    signals.serve(
        {
            signal.SIGTERM: stop,
            signal.SIGINT: stop,
            signal.SIGHUP: stack.catalog.refresh,
            signal.SIGUSR1: lambda: _dump(stack),
        }
    )
    greet(settings.account, clock, stack.session)
    service.notify("STATUS=listing the library")
    stack.catalog.load(Deadline(FIRST_LISTING_DEADLINE_S, clock), _still_starting)
    operations = BacklotOperations(
        stack.namespace,
        stack.reader,
        clock,
        uid=settings.uid,
        gid=settings.gid,
        interrupted=session.interrupted,
        mounted=session.began,
    )

    def announce() -> None:
        log.info("mounted %s on %s", settings.account.source, settings.mountpoint)
        ready()
        service.notify("READY=1\nSTATUS=mounted")

    begun.set()
    session.run(operations, announce)
    log.info("unmounted %s", settings.mountpoint)
    stack.close()
    logging.shutdown()


def outcome_of(serve: Callable[[], None]) -> tuple[int, str]:
    """Run ``serve``; its exit code and the one line that says why, if it is not 0."""
    try:
        serve()
    except BacklotError as error:
        return error.exit_code, str(error)
    return 0, ""


def _still_starting() -> None:
    """systemd counts the start time-out from here: a large library's first listing takes long."""
    service.notify("EXTEND_TIMEOUT_USEC=60000000")


def _dump(stack: Stack) -> None:
    library = stack.catalog.library
    log.info("state: %d assets, library version %d", len(library.assets), library.version)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
