# SPDX-License-Identifier: Apache-2.0
"""Makes a mount in the kernel, reports when it is ready, and ends it.

Stopping. A plain unmount fails while files are open, and a session with an operation that waits for
a stalled host does not end: meanwhile even ``mountpoint`` hangs. So `KernelMount.stop` first
unmounts lazily and then lets every waiting operation fail. If applications still have open files
after `GRACE_S`, `stop` ends the process, and these applications get ENOTCONN.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from backlotfs.errors import BacklotError
from backlotfs.kernel.fusepy_adapter import FusepyAdapter
from backlotfs.kernel.mount_table import mount_at, probe_mount
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.mountpoint import MountpointLock, detach
from backlotfs.kernel.operations import Operations
from backlotfs.kernel.passthrough import Passthrough
from backlotfs.kernel.read_requests import ReadContext
from backlotfs.kernel.session import FuseSession
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Seconds after `stop` in which applications may close their files.
GRACE_S = 2.0
#: Seconds after `GRACE_S` for saving the state of the mount.
LAST_S = 5.0
#: The kernel's read-ahead on the mount: 1 MiB, its largest request without tuning. The default is
#: 128 KiB, and only root may change it, by a file in /sys.
READ_AHEAD_KB = 1024


def uses_session(binding: str) -> bool:
    """Whether this choice of `FUSE_BINDINGS` is the session: ``auto`` is, on Linux."""
    return binding == "session" or (binding == "auto" and sys.platform == "linux")


class KernelMount:
    """Runs a mount on the calling thread; another thread may call `stop`.

    ``binding`` is one of `FUSE_BINDINGS`.

    :ivar adapter: exchanges requests and answers with the kernel.
    """

    def __init__(
        self,
        mountpoint: Path,
        options: MountOptions,
        binding: str = "auto",
        passthrough: Passthrough | None = None,
    ) -> None:
        """Mount nothing yet. :raises FuseUnusable: fusepy is asked for, and libfuse is missing."""
        self.adapter: FuseSession | FusepyAdapter = (
            FuseSession(passthrough) if uses_session(binding) else FusepyAdapter()
        )
        self._mountpoint = mountpoint
        self._options = options
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._device = ""

    def run(
        self,
        operations: Operations,
        context: ReadContext,
        ready: Callable[[], None],
        mounted: Callable[[], None] = lambda: None,
    ) -> None:
        """Mount, serve until unmounted, return.

        :param ready: called from another thread once the mountpoint answers.
        :param mounted: called when the kernel has the mount, before another mount can be made here.
        :raises FuseUnusable: another mount of backlotfs was made there first, or the kernel does
            not mount.
        """
        lock = MountpointLock(self._mountpoint)
        lock.acquire()
        parent = os.stat(self._mountpoint.parent).st_dev

        def announce() -> None:
            # The kernel answers no probe before INIT is answered.
            self.adapter.began.wait()
            while not self._stopping.is_set() and not self._ended.is_set():
                device = None
                with contextlib.suppress(OSError):  # no process or descriptor is free now
                    device = probe_mount(self._mountpoint).device
                if device is not None and device != parent:
                    raise_read_ahead(device)
                    ready()
                    return
                time.sleep(0.01)

        def made() -> None:
            entry = mount_at(self._mountpoint)
            self._device = "" if entry is None else entry.device
            mounted()
            lock.release()

        threading.Thread(target=announce, name="ready", daemon=True).start()
        try:
            self.adapter.serve(self._mountpoint, self._options, operations, context, made)
        finally:
            lock.release()
            self._device = ""  # the kernel may give this number to a later mount
            self._ended.set()

    def stop(self, last: Callable[[], None]) -> None:
        """Unmount and end; see the module's docstring. Returns when the session has ended.

        :param last: called before the process is ended because files are still open.
        """
        if self._stopping.is_set():
            return
        try:
            self._detach()
        except BacklotError as error:
            events.UNMOUNT_FAILED.log(log, reason=error)
        self._stopping.set()
        self.adapter.end()
        if not self._ended.wait(GRACE_S):
            events.FILES_OPEN.log(log, seconds=GRACE_S)
            closing = threading.Thread(target=last, name="last", daemon=True)
            closing.start()
            closing.join(LAST_S)
            # The mount may have been made after the call above.
            with contextlib.suppress(BacklotError):
                self._detach()
            os._exit(0)

    def _detach(self) -> None:
        """Unmount this mount only: a later one may be at the same mountpoint."""
        if self._device:
            detach(self._mountpoint, self._device)


def raise_read_ahead(device: int) -> bool:
    """Set the kernel's read-ahead to `READ_AHEAD_KB`; return whether that succeeded.

    :param device: ``st_dev`` of the mountpoint.
    """
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        if int(setting.read_text()) < READ_AHEAD_KB:
            setting.write_text(str(READ_AHEAD_KB))
    except (OSError, ValueError) as error:
        log.debug("the kernel's read-ahead stays as it is: %s", error)
        return False
    return True
