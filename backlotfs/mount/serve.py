# SPDX-License-Identifier: Apache-2.0
"""The steps of a mount process: list or open the library, mount, serve, unmount, clean up.

The log is the only output of a mount in the background. `background` reports the result of the
start to the waiting command.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from backlotfs import __version__
from backlotfs.catalog.db.rows import CatalogClosed, SizedCounts
from backlotfs.catalog.db.state import sync_state
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError, CredentialsRefused, SettingsError
from backlotfs.kernel.callers import ProgramRules, RecentPrograms
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.lifecycle import KernelMount
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.operations import Operations, Owner
from backlotfs.kernel.passthrough import OFF, Passthrough
from backlotfs.kernel.read_requests import ReadContext, ReadLimits
from backlotfs.log import events, excepthooks, output
from backlotfs.log.terminal import about, counted
from backlotfs.log.traces import start_tracing
from backlotfs.mount import signals, systemd
from backlotfs.mount.background import Ready
from backlotfs.mount.check_api import check_api
from backlotfs.mount.control.handlers import handlers
from backlotfs.mount.control.server import ControlServer
from backlotfs.mount.control.unix_socket import socket_paths
from backlotfs.mount.disk_cache import holder_at, open_disk_tier
from backlotfs.mount.history import History
from backlotfs.mount.stack import build_stack
from backlotfs.mount.status import (
    MinuteReport,
    WaitingProgram,
    count_sizes,
    dump_state,
    read_totals,
)
from backlotfs.namespace.sizes import Treatment

if TYPE_CHECKING:
    from backlotfs.mount.metrics_server import MetricsServer

log = logging.getLogger(__name__)

#: See `_give_back_memory`; the numbers of the options are those of glibc's malloc.h.
_GIVEN_BACK_BYTES, _KEPT_BYTES = 1 << 20, 32 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: A mount with a saved catalog starts without an answer of the API. It ends if the API refuses the
#: credentials within this time after the mount is ready.
CHECK_S = 5.0
#: A mount that starts with a saved catalog and refreshes it reports that it is ready when the API
#: has answered, or this long after the refresh began.
FIRST_ANSWER_S = 1.0
#: Unknown sizes are reported at the start only if it takes at least this long to find them.
NOTED_S = 5.0


def serve_mount(settings: MountSettings, ready: Ready, *, cleared_dead: bool = False) -> None:
    """Mount, serve until unmounted or stopped by a signal, and clean up.

    :param ready: called once the mountpoint answers, with lines for the user: on an old listing, on
        the part of the library that is shown, and on unknown sizes.
    :param cleared_dead: whether a dead mount was removed from the mountpoint before.
    :raises BacklotError: the mount failed, and everything was cleaned up.
    """
    signals.block()  # before the first thread starts
    excepthooks.keep_no_core()
    _give_back_memory()
    _configure_logs(settings)
    if cleared_dead:
        events.DEAD_MOUNT_CLEARED.log(log, mountpoint=settings.mountpoint)
    try:
        _MountProcess(settings, ready).run()
    except BacklotError as error:
        # If people read stderr, the command itself writes the reason there.
        if settings.log_place != "stderr" or not output.people_read_stderr(settings.log_format):
            events.MOUNT_FAILED.log(log, exit_code=error.exit_code, reason=error)
        raise


def _give_back_memory() -> None:
    """Have glibc return each freed piece of `_GIVEN_BACK_BYTES` or more to the system at once.

    By default it keeps pieces of up to 32 MiB: 95 MB with a million assets. Of smaller pieces,
    `_KEPT_BYTES` stay for later use, because to get them again costs time.
    """
    with contextlib.suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _GIVEN_BACK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def outcome_of(serve: Callable[[], None]) -> tuple[int, str]:
    """Call ``serve``; return the exit code, and a line with the reason (empty if the code is 0)."""
    try:
        serve()
    except BacklotError as error:
        return error.exit_code, error.advice()
    return 0, ""


class _MountProcess:
    """One mount, from its first call of the API to its last log line. Used once."""

    def __init__(self, settings: MountSettings, ready: Ready) -> None:
        """Build all parts; nothing is sent or mounted yet."""
        self._settings = settings
        self._ready = ready
        self._clock = clock = SystemClock()
        self._began_s = clock.monotonic()
        options = MountOptions(settings.source, settings.allow_other, settings.subtype)
        self._tracing = start_tracing() if settings.traces else None
        disk = open_disk_tier(settings, clock)
        self._kernel = KernelMount(
            settings.mountpoint,
            options,
            settings.fuse_binding,
            Passthrough(
                None if disk is None else disk.open_complete,
                "" if settings.passthrough else OFF,
            ),
        )
        self._adapter = adapter = self._kernel.adapter
        self._programs = programs = RecentPrograms(clock)
        self._rules = rules = ProgramRules(
            Treatment(settings.unsized),
            settings.no_wait,
            name_of=lambda pid: programs.of(pid).name,
            caller=adapter.caller,
        )
        self._stack = build_stack(
            settings,
            clock,
            notifier=adapter.notifier,
            disk=disk,
            progress=self._on_listing_progress,
            rules=rules,
            passes_through=adapter.passthrough.is_used,
            tracing=self._tracing,
        )
        self._stack.catalog.presented.interrupted = adapter.interrupted
        self._deadlines = OperationDeadlines(
            clock,
            adapter.interrupted,
            adapter.caller,
            settings.limits,
            queued=self._stack.probes.is_queued,
            copies=rules.copies,
        )
        self._history = History(partial(read_totals, self._stack), clock)
        self._metrics = self._open_metrics()
        self._handlers = handlers(
            settings,
            self._stack,
            self._waiting_programs,
            self._history,
            adapter.passthrough.state,
            metrics=None if self._metrics is None else str(self._metrics.address),
        )
        self._report = MinuteReport(self._stack, clock)
        self._mounting = threading.Event()
        self._controlling = threading.Lock()  # guards the two fields below
        self._control: ControlServer | None = None
        self._ended = False
        self._refused: BacklotError | None = None

    def _open_metrics(self) -> MetricsServer | None:
        """:raises SettingsError: see `MetricsServer`."""
        address = self._settings.metrics
        if address is None:
            return None
        # imported here, because few mounts need these modules
        from backlotfs.mount.metrics_server import MetricsServer, check_installed

        check_installed()
        from backlotfs.mount.metrics import KernelState, MountMetrics

        adapter, deadlines = self._adapter, self._deadlines
        metrics = MountMetrics(
            self._settings,
            self._stack,
            lambda: KernelState(
                len(deadlines.waits()), len(adapter.waiting_reads()), adapter.passthrough.state()
            ),
        )
        return MetricsServer(address, metrics)

    def run(self) -> None:
        """Serve until the mount ends. :raises BacklotError: it failed, or the API refuses it."""
        settings, stack = self._settings, self._stack
        if self._metrics is not None:
            self._metrics.start()
            events.METRICS.log(log, address=self._metrics.address)
        signals.serve(
            {
                signal.SIGTERM: self._stop,
                signal.SIGINT: self._stop,
                signal.SIGHUP: stack.catalog.refresh,
                signal.SIGUSR1: lambda: dump_state(self._handlers, stack),
                signal.SIGUSR2: lambda: output.change_verbosity(settings.log_level),
            }
        )
        saved = stack.catalog.open_saved()
        if saved:
            threading.Thread(target=self._show_saved, name="saved-listing", daemon=True).start()
        else:
            self._list_library()
        operations = Operations(
            stack.namespace,
            stack.reading.reader,
            self._deadlines,
            Owner(settings.uid, settings.gid),
            no_prefetch=self._rules.makes_thumbnails,
            reads_whole=self._rules.reads_whole_files,
            program=lambda: self._programs.of(self._adapter.caller()),
        )
        self._mounting.set()
        try:
            limits = ReadLimits(settings.limits.read_s, stack.probes.is_queued)
            if settings.read_timeout_s is not None:  # this limit includes waits for API credits
                limits = ReadLimits(settings.read_timeout_s)
            self._kernel.run(
                operations,
                ReadContext(self._clock, stack.reading.metrics.reads, limits),
                lambda: self._on_mounted(saved=saved),
                # not before: the mountpoint, and with it the socket, may be that of another mount
                self._keep_control,
            )
        finally:
            if self._metrics is not None:
                self._metrics.close()  # first: the next mount needs the address
            self._end_control()
        self._close()
        if self._refused is not None:
            raise self._refused

    def _show_saved(self) -> None:
        """Read the saved listing while the mount starts; if it cannot be used, list the library.

        If the library cannot be listed, the mount ends, as a mount without a saved listing does.
        """
        catalog = self._stack.catalog
        try:
            if not catalog.show_saved():
                self._list_library()
        except BacklotError as error:
            self._refused = error
            catalog.presented.end()  # ends waiting operations, which would delay the unmount
            self._adapter.began.wait()  # before this, the mount cannot be unmounted properly
            self._stop()
        finally:
            catalog.presented.end()

    def _list_library(self) -> None:
        """List a library that has no usable saved listing. :raises BacklotError: this failed."""
        with systemd.more_start_time():  # also during the check: a slow API answers late
            self._check_api()
            events.LISTING.log(log, source=self._settings.source)
            systemd.notify("STATUS=listing the library")
            deadline = Deadline(self._settings.limits.first_listing_s, self._clock)
            self._stack.catalog.load(deadline)

    def _check_api(self) -> None:
        stack = self._stack
        stack.catalog.lists_sources = check_api(
            self._settings.account, self._clock, stack.session, stack.limiter
        )

    def _on_listing_progress(self, assets: int) -> None:
        systemd.notify(f"STATUS=listing the library: {counted(assets, 'asset')}")
        self._ready.listing(assets)

    def _keep_control(self) -> None:
        """Open the control socket if there is none: a cleaner of ``/tmp`` may have removed it.

        If no folder for it could be used before, ``/run/user/UID`` may exist since a later login.
        """
        with self._controlling:
            if self._ended or (self._control is not None and not self._control.removed):
                return
            if self._control is not None:
                self._control.close()
            self._control = self._open_control()

    def _end_control(self) -> None:
        with self._controlling:
            self._ended = True
            if self._control is not None:
                self._control.close()
                self._control = None

    def _open_control(self) -> ControlServer | None:
        reasons: list[object] = []
        for path in socket_paths(self._settings.mountpoint):
            try:
                return ControlServer(path, self._handlers)
            except OSError as error:
                reasons.append(error.strerror)
            except RuntimeError as error:  # the system has no thread left
                reasons.append(error)
        events.CONTROL_OFF.log(log, reason=reasons[0])
        return None

    def _on_mounted(self, *, saved: bool) -> None:
        """Announce the mount and start the background work. Called once the mountpoint answers."""
        disk = self._stack.reading.disk
        if disk is not None:
            disk.name_holder(holder_at(self._settings.mountpoint))
        with contextlib.suppress(CatalogClosed):  # the mount ended during the announcement
            self._announce(saved=saved)

    def _announce(self, *, saved: bool) -> None:
        """:raises CatalogClosed: the mount has ended."""
        settings, stack = self._settings, self._stack
        if saved and stack.catalog.refreshing:  # not before: it would slow the start down
            threading.Thread(target=self._refresh_saved, name="first-refresh", daemon=True).start()
        first_s = self._clock.monotonic() + FIRST_ANSWER_S
        if saved and self._is_refused(first_s, heard=stack.api.heard.is_set):
            self._stop()
            return
        events.MOUNTED.log(
            log,
            source=settings.source,
            mountpoint=settings.mountpoint,
            assets=self._counted().total,
            version=__version__,
        )
        said = (self._old_listing() if saved else "", self._part(), self._unknown_sizes())
        self._ready("\n".join(filter(None, said)))
        systemd.notify("READY=1\nSTATUS=mounted")
        systemd.start_watchdog(settings.mountpoint)
        if saved:
            if self._is_refused(self._clock.monotonic() + CHECK_S):
                self._stop()
                return
            if stack.catalog.last_error is not None:
                events.STALE.log(log, reason=stack.catalog.last_error)
        stack.catalog.keep_fresh(each_minute=self._each_minute)
        self._start_backfills()
        stack.reading.reconciler.start()
        self._history.start()

    def _old_listing(self) -> str:
        """A sentence that an old listing is shown, and why; empty if the listing is up to date.

        It is also empty if the API has answered and the refresh still runs.
        """
        catalog = self._stack.catalog
        unheard = catalog.refreshing and not self._stack.api.heard.is_set()
        error = None if catalog.refreshing else catalog.last_error
        if not unheard and error is None:
            return ""
        listed_s = self._stack.db.read(sync_state).synced_at_s
        listed = time.strftime("%Y-%m-%d %H:%M", time.localtime(listed_s))
        if error is not None:
            return f"the API cannot be used now: the listing of {listed} is shown ({error})"
        return (
            f"the API has not answered yet: the listing of {listed} is shown. If the API refuses "
            f"the credentials within {CHECK_S:g} s, the mount ends and its log says why"
        )

    def _counted(self) -> SizedCounts:
        """Count the assets that are shown; rules are applied to the listing in memory."""
        stack = self._stack
        if stack.catalog.presented.admit.choice is None:
            return stack.catalog.counted()
        return count_sizes(stack)

    def _part(self) -> str:
        """A sentence on the part of the library that the rules select; empty without rules."""
        catalog = self._stack.catalog
        if catalog.presented.admit.choice is None:
            return ""
        said = f"{self._counted().total} of {counted(catalog.counted().total, 'asset')} shown"
        unknown = [
            f"the rule {rule} matches nothing: no such label" for rule in catalog.unknown_labels
        ]
        return "; ".join([said, *unknown])

    def _unknown_sizes(self) -> str:
        """A sentence on unknown sizes if it takes `NOTED_S` or longer to find them; else empty."""
        files = self._counted().to_come
        seconds = self._stack.probes.seconds_for(files)
        if not files or seconds is None or seconds < NOTED_S:
            return ""
        events.SIZES_TO_COME.log(log, files=files, seconds=round(seconds))
        return (
            f"the sizes of {counted(files, 'file')} are not known yet; at this account's rate of "
            f"API calls that takes about {about(seconds)}. Copies may start now: cp waits for the "
            "size of its file, rsync and export for the sizes of the whole folder"
        )

    def _refresh_saved(self) -> None:
        """Start to refresh a saved catalog."""
        catalog = self._stack.catalog
        with contextlib.suppress(BacklotError):  # the refresh will get and report the same error
            if catalog.lists_sources is None:  # not in the catalog of an earlier version
                self._check_api()
        catalog.refresh(insists=False)

    def _is_refused(self, until_s: float, heard: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the first refresh; return whether the API refuses the credentials.

        :param until_s: end of the wait on the monotonic clock.
        :param heard: returns whether the API has answered, which ends the wait.
        """
        catalog = self._stack.catalog
        while self._clock.monotonic() < until_s and catalog.refreshing and not heard():
            self._clock.sleep(0.02)
        error = catalog.last_error
        if isinstance(error, CredentialsRefused):
            self._refused = error
        return self._refused is not None

    def _each_minute(self) -> None:
        self._keep_control()
        self._start_backfills()  # one in another mount of the library may have stopped
        self._report.log()

    def _start_backfills(self) -> None:
        self._stack.probes.start_backfill()
        if self._stack.captions is not None:
            self._stack.captions.start()

    def _waiting_programs(self) -> Iterator[WaitingProgram]:
        """The programs whose operations wait now, for any reason."""
        for wait in self._deadlines.waits():
            name = self._programs.of(wait.pid).name
            yield WaitingProgram(wait.pid, name, wait.embed_code, reads=False)
        for pid, embed_code in self._adapter.waiting_reads():
            yield WaitingProgram(pid, self._programs.of(pid).name, embed_code, reads=True)

    def _stop(self) -> None:
        systemd.notify("STOPPING=1")
        if not self._mounting.is_set():
            os._exit(128 + signal.SIGTERM)  # nothing is mounted yet
        if self._metrics is not None:
            self._metrics.close()  # now: the next mount needs the address
        self._kernel.stop(self._close)

    def _close(self) -> None:
        """Log the totals and close everything."""
        self._end_control()
        stack = self._stack
        with contextlib.suppress(BacklotError):
            self._report.log()
        used = stack.reading.metrics.reads.total()
        events.UNMOUNTED.log(
            log,
            mountpoint=self._settings.mountpoint,
            seconds=round(self._clock.monotonic() - self._began_s),
            reads=used.reads,
            read_bytes=used.asked_bytes,
            failed=used.failed,
            fetched_bytes=stack.transport.hosts.totals().fetched_bytes,
        )
        stack.close()
        if self._tracing is not None:
            self._tracing.close()
        logging.shutdown()


def _configure_logs(settings: MountSettings) -> None:
    try:
        output.configure(
            level=settings.log_level, log_format=settings.log_format, place=settings.log_place
        )
    except OSError as error:
        raise SettingsError(
            f"cannot log to {settings.log_place}: {error.strerror}; name a file with --log-file"
        ) from None
