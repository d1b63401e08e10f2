"""The life of one mount process, in the foreground or in the background."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from backlotfs import __version__
from backlotfs.concurrency.clock import Clock, Deadline, SystemClock
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError, CredentialsRefused, SettingsError
from backlotfs.kernel.callers import ProcessNames, ProgramRules
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.operations import BacklotOperations
from backlotfs.kernel.session import SETTLE_S, KernelTtl, MountOptions, MountSession
from backlotfs.log import events, excepthooks, output
from backlotfs.mount import signals, systemd
from backlotfs.mount.background import Ready
from backlotfs.mount.check_api import check_api
from backlotfs.mount.control.handlers import handlers
from backlotfs.mount.control.server import ControlServer, Handler
from backlotfs.mount.control.unix_socket import socket_path
from backlotfs.mount.minute_report import MinuteReport
from backlotfs.mount.read_path import open_disk_tier
from backlotfs.mount.stack import Stack, build_stack
from backlotfs.mount.state_dump import dump_state
from backlotfs.mount.status import WaitingProgram, count_sizes
from backlotfs.mount.watchdog import watch
from backlotfs.namespace.incomplete_notice import about
from backlotfs.namespace.sizes import Treatment

log = logging.getLogger(__name__)

#: The first listing of a library may take this long; 1 000 000 assets need 2000 calls.
FIRST_LISTING_DEADLINE_S = 1800.0
#: With a saved catalog the mount starts at once; refused credentials still end it within this.
CHECK_S = 5.0
#: What is said at the mount of sizes that are not known yet: nothing if they come within this.
NOTED_S = 5.0
#: The look at the API comes this much after the mount, so that the first listing has the machine.
CHECK_AFTER_S = 0.5


def serve_mount(settings: MountSettings, ready: Ready, *, cleared_dead: bool = False) -> None:
    """Mount, serve until unmounted or told to stop, clean up.

    :param ready: called once the mountpoint answers, with what the user has to know of the sizes.
    :param cleared_dead: a dead mount was in the way.
    :raises BacklotError: the mount could not be made; nothing is left behind.
    """
    signals.block()  # before the first thread
    excepthooks.keep_no_core()
    _configure_logs(settings)
    if cleared_dead:
        events.DEAD_MOUNT_CLEARED.log(log, mountpoint=settings.mountpoint)
    try:
        _serve(settings, ready)
    except BacklotError as error:
        # Otherwise the command says it, on the same stderr.
        if settings.log_place != "stderr" or not output.people_read_stderr(settings.log_format):
            events.MOUNT_FAILED.log(log, exit_code=error.exit_code, reason=error)
        raise


def _serve(settings: MountSettings, ready: Ready) -> None:
    clock = SystemClock()
    began_s = clock.monotonic()
    # What we make ourselves changes with what is found out, too often to be taken back each time.
    flat = settings.layouts == ("flat",) and not settings.makes_files
    memory = KernelTtl.long() if flat else KernelTtl.short()
    options = MountOptions(settings.source, memory, settings.allow_other, settings.subtype)
    session = MountSession(settings.mountpoint, options)
    names = ProcessNames(clock)
    rules = ProgramRules(
        Treatment(settings.unsized),
        settings.no_wait,
        name_of=names.of,
        caller=session.caller,
    )

    def listing(assets: int) -> None:
        systemd.notify(f"STATUS=listing the library: {assets} assets")
        ready.listing(assets)

    stack = build_stack(
        settings,
        clock,
        settle_s=SETTLE_S,
        disk=open_disk_tier(settings, clock),
        invalidate=session.invalidate,
        progress=listing,
        rules=rules,
    )
    patience = OperationDeadlines(
        clock,
        session.interrupted,
        session.caller,
        limits=settings.account.limits,
        stat_timeout_s=settings.stat_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        queued=stack.probes.is_queued,
        copies=rules.copies,
    )

    asked = handlers(settings, stack, lambda: _waiting_programs(patience, session, names))
    report = MinuteReport(stack, clock)
    begun = threading.Event()

    def end() -> None:
        _tell_the_end(settings, stack, clock.monotonic() - began_s, report)
        _close(stack)

    def stop() -> None:
        systemd.notify("STOPPING=1")
        if not begun.is_set():
            os._exit(128 + signal.SIGTERM)  # nothing is mounted yet
        session.stop(end)

    signals.serve(
        {
            signal.SIGTERM: stop,
            signal.SIGINT: stop,
            signal.SIGHUP: stack.catalog.refresh,
            signal.SIGUSR1: lambda: dump_state(asked, stack),
            signal.SIGUSR2: lambda: output.change_verbosity(settings.log_level),
        }
    )
    saved = stack.catalog.open_saved()
    if not saved:
        _list_library(settings, stack, clock)
    operations = BacklotOperations(
        stack.namespace,
        stack.reader,
        patience,
        uid=settings.uid,
        gid=settings.gid,
        mounted=session.began,
        sparing=rules.makes_thumbnails,
        lookups=session.lookups,
    )
    refused: list[BacklotError] = []

    def announce() -> None:
        events.MOUNTED.log(
            log,
            source=settings.source,
            mountpoint=settings.mountpoint,
            assets=len(stack.catalog.library.rows),
            version=__version__,
        )
        ready(_sizes_to_come(stack))
        systemd.notify("READY=1\nSTATUS=mounted")
        watch(settings.mountpoint)
        if saved:
            error = _check(settings, stack, clock)
            if error is not None:
                refused.append(error)
                stop()
                return
        stack.catalog.keep_fresh(each_minute=minutely)
        _crawl(stack)
        stack.keeper.start()

    def minutely() -> None:
        _crawl(stack)  # another mount may have crawled, and ended
        report.tell()

    control = _open_control(settings, asked)
    begun.set()
    try:
        session.run(
            operations,
            operations.begin,
            clock,
            announce,
            stack.observed.reads,
            read_deadline_s=settings.read_timeout_s or settings.account.limits.read_s,
            # A timeout that was asked for counts waits for credits too.
            queued=(
                stack.probes.is_queued if settings.read_timeout_s is None else lambda _code: False
            ),
        )
    finally:
        if control is not None:
            control.close()
    end()
    if refused:
        raise refused[0]


def _list_library(settings: MountSettings, stack: Stack, clock: Clock) -> None:
    """List a library that was never listed before. :raises BacklotError: that cannot be done."""
    stack.catalog.lists_sources = check_api(settings.account, clock, stack.session, stack.limiter)
    events.LISTING.log(log, source=settings.source)
    systemd.notify("STATUS=listing the library")
    with systemd.taking_long():
        stack.catalog.load(Deadline(FIRST_LISTING_DEADLINE_S, clock))


def _crawl(stack: Stack) -> None:
    stack.probes.start_backfill()
    if stack.captions is not None:
        stack.captions.start()


def _waiting_programs(
    patience: OperationDeadlines, session: MountSession, names: ProcessNames
) -> Iterator[WaitingProgram]:
    """The programs whose operations wait now, for whatever reason."""
    for wait in patience.waits():
        yield WaitingProgram(wait.pid, names.of(wait.pid), wait.embed_code, reads=False)
    for pid, embed_code in session.waiting_reads():
        yield WaitingProgram(pid, names.of(pid), embed_code, reads=True)


def _sizes_to_come(stack: Stack) -> str:
    """A sentence on the sizes that are not known yet, where they take long; else empty."""
    files = count_sizes(stack).to_come
    seconds = stack.probes.seconds_for(files)
    if not files or seconds is None or seconds < NOTED_S:
        return ""
    events.SIZES_TO_COME.log(log, files=files, seconds=round(seconds))
    return (
        f"the sizes of {files} files are not known yet; at this account's rate of API calls that "
        f"takes about {about(seconds)}. Copies may start now: they wait for the sizes they need"
    )


def outcome_of(serve: Callable[[], None]) -> tuple[int, str]:
    """Run ``serve``; its exit code and the one line that says why, if it is not 0."""
    try:
        serve()
    except BacklotError as error:
        return error.exit_code, error.advice()
    return 0, ""


def _configure_logs(settings: MountSettings) -> None:
    try:
        output.configure(
            level=settings.log_level, log_format=settings.log_format, place=settings.log_place
        )
    except OSError as error:
        raise SettingsError(
            f"cannot log to {settings.log_place}: {error.strerror}; name a file with --log-file"
        ) from None


def _check(settings: MountSettings, stack: Stack, clock: Clock) -> BacklotError | None:
    """The look at the API that a saved catalog made it possible to put off."""
    time.sleep(CHECK_AFTER_S)
    if stack.catalog.lists_sources is None:  # the catalog is of an earlier version
        with contextlib.suppress(BacklotError):  # whatever it is, the refresh meets it too
            stack.catalog.lists_sources = check_api(
                settings.account, clock, stack.session, stack.limiter
            )
    stack.catalog.refresh()
    until = time.monotonic() + CHECK_S - CHECK_AFTER_S
    while time.monotonic() < until and stack.catalog.refreshing:
        time.sleep(0.05)
    error = stack.catalog.last_error
    if error is not None:
        events.STALE.log(log, reason=error)
    return error if isinstance(error, CredentialsRefused) else None


def _open_control(settings: MountSettings, asked: Mapping[str, Handler]) -> ControlServer | None:
    try:
        return ControlServer(socket_path(settings.mountpoint), asked)
    except OSError as error:
        events.CONTROL_OFF.log(log, reason=error.strerror)
        return None


def _tell_the_end(
    settings: MountSettings, stack: Stack, seconds: float, report: MinuteReport
) -> None:
    with contextlib.suppress(BacklotError):
        report.tell()  # the last minute's, which is no whole one
    used = stack.observed.reads.total()
    events.UNMOUNTED.log(
        log,
        mountpoint=settings.mountpoint,
        seconds=round(seconds),
        reads=used.reads,
        read_bytes=used.asked_bytes,
        failed=used.failed,
        fetched_bytes=stack.gets.totals().fetched_bytes,
    )


def _close(stack: Stack) -> None:
    stack.close()
    logging.shutdown()
