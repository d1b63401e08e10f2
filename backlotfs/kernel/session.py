"""A mount session: mounts, serves the kernel's requests and unmounts.

Stopping. A plain unmount fails while files are open, and a loop with a thread that waits for a
stalled host does not end: libfuse joins that thread, and meanwhile even ``mountpoint`` hangs. So
`stop` first unmounts lazily and then lets every waiting operation fail. If applications still have
open files after `GRACE_S`, it ends the process, and they get ENOTCONN.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, FuseUnusable
from backlotfs.kernel.deadlines import OPERATION_DEADLINE_S
from backlotfs.kernel.device import Device
from backlotfs.kernel.device_loop import UnsettledLookups, serve_with
from backlotfs.kernel.fuse_library import PATH_ENCODING, fuse_class, interruption_check, load_fuse
from backlotfs.kernel.invalidation import EntryInvalidator
from backlotfs.kernel.mount_table import probe_mount
from backlotfs.kernel.mountpoint import MountpointLock, detach
from backlotfs.kernel.operations import BacklotOperations
from backlotfs.kernel.read_requests import Beginning, ReadCounts, ReadRequests
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Seconds after `stop` in which applications may close their files.
GRACE_S = 2.0
#: Seconds after `GRACE_S` for saving the state of the mount.
LAST_S = 5.0
#: How long the kernel may use old attributes after a file was replaced: until its entry is
#: invalidated, or the timeouts of `KernelTtl.short` end. New opens bypass the page cache meanwhile.
SETTLE_S = 6.0
#: Most asynchronous requests of the kernel for the whole mount: with its default of 12, the
#: read-ahead of a few stalled readers stops all other readers (measured).
MAX_BACKGROUND = 256


class KernelTtl(NamedTuple):
    """How long the kernel caches attributes and names, in seconds; the same for a whole mount.

    :ivar attributes: TTL of attributes. :ivar entries: TTL of directory entries.
    :ivar negative: TTL of negative entries (names that do not exist).
    """

    attributes: float
    entries: float
    negative: float

    @classmethod
    def long(cls) -> KernelTtl:
        """The TTLs of a mount with all files in the root, where `EntryInvalidator` works.

        A second ``ls -l`` is answered by the kernel. If a notification is lost, the effect ends
        after an hour. There are no negative entries, because a new upload must be visible as soon
        as it is listed, and an invalidation takes a moment.
        """
        return cls(3600.0, 3600.0, 0.0)

    @classmethod
    def short(cls) -> KernelTtl:
        """The TTLs of a mount with folders, whose entries cannot be invalidated."""
        return cls(5.0, 5.0, 0.0)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """The options of the mount in the kernel.

    :ivar source: the first column of ``df`` and mountinfo.
    :ivar subtype: the part of the file system type after ``fuse.``.
    """

    source: str
    kernel_ttl: KernelTtl
    allow_other: bool = False
    subtype: str = "backlotfs"

    def fuse_options(self) -> dict[str, object]:
        """Keyword arguments for fusepy; always ``ro``, ``nosuid``, ``nodev`` and ``noexec``."""
        options: dict[str, object] = {
            "ro": True,
            "nosuid": True,
            "nodev": True,
            "noexec": True,
            # A comma would begin the next option, a backslash would escape it.
            "fsname": self.source.replace("\\", "_").replace(",", "_"),
            "subtype": self.subtype,
            "use_ino": True,
            "max_background": MAX_BACKGROUND,
            "attr_timeout": self.kernel_ttl.attributes,
            "entry_timeout": self.kernel_ttl.entries,
            "negative_timeout": self.kernel_ttl.negative,
        }
        if self.allow_other:
            options |= {"allow_other": True, "default_permissions": True}
        return options


class MountSession:
    """Runs a mount on the calling thread; another thread may call `stop`."""

    def __init__(self, mountpoint: Path, options: MountOptions) -> None:
        """Load libfuse. :raises FuseUnusable: libfuse 2 is missing."""
        self._fuse = fuse_class()
        self._caller_killed = interruption_check()
        self._context = load_fuse()._libfuse.fuse_get_context
        self._mountpoint = mountpoint
        self._options = options
        self._invalidator = EntryInvalidator()
        self.lookups = UnsettledLookups()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._began = threading.Event()
        self._reads: ReadRequests | None = None

    def interrupted(self) -> bool:
        """Whether this thread's operation must end: its caller was killed, or the mount ends."""
        return self._stopping.is_set() or self._caller_killed()

    def caller(self) -> int:
        """The process id of the caller of the operation on this thread."""
        return int(self._context().contents.pid)

    def began(self) -> None:
        """Connect the invalidation; called when the kernel's INIT is about to be answered."""
        try:
            if self._options.kernel_ttl == KernelTtl.long():
                self._invalidator.connect()
        except Exception as error:  # noqa: BLE001  # the mount is the better for it, not dependent on it
            events.INVALIDATION_OFF.log(log, failure=error)
        finally:
            self._began.set()

    def waiting_reads(self) -> list[tuple[int, str]]:
        """The thread id and embed code of each read that waits."""
        return [] if self._reads is None else self._reads.waiting()

    def invalidate(self, names: Iterable[str]) -> None:
        """Invalidate the kernel's entries for these names in the root."""
        self._invalidator.invalidate(names)

    def run(
        self,
        operations: BacklotOperations,
        begin: Beginning,
        clock: Clock,
        ready: Callable[[], None],
        counts: ReadCounts,
        *,
        read_deadline_s: float = OPERATION_DEADLINE_S,
        queued: Callable[[str], bool] = lambda _code: False,
    ) -> None:
        """Mount, serve until unmounted, return.

        :param begin: begins each read: `BacklotOperations.begin`.
        :param counts: counts every read.
        :param read_deadline_s: time limit of a read.
        :param queued: see `ReadRequests`.
        :param ready: called from another thread once the mountpoint answers.
        :raises FuseUnusable: another mount of backlotfs was made there first, or libfuse cannot
            mount and has written its reason to stderr.
        """
        lock = MountpointLock(self._mountpoint)
        lock.acquire()
        parent = os.stat(self._mountpoint.parent).st_dev

        def announce() -> None:
            # INIT is answered only after `init` returns, so READY cannot come from there.
            self._began.wait()
            while not self._stopping.is_set():
                device = None
                with contextlib.suppress(OSError):  # no process or descriptor is left now
                    device = probe_mount(self._mountpoint).device
                if device is not None and device != parent:
                    raise_read_ahead(device)
                    ready()
                    return
                time.sleep(0.01)

        threading.Thread(target=announce, name="ready", daemon=True).start()

        def reads(device: Device) -> ReadRequests:
            self._reads = ReadRequests(
                device, begin, clock, counts, deadline_s=read_deadline_s, queued=queued
            )
            return self._reads

        libfuse = load_fuse()._libfuse
        libfuse.fuse_main_real = serve_with(libfuse, reads, self.lookups, lock.release)
        try:
            self._fuse(
                operations,
                # decoded as fusepy encodes it again, whatever the locale is
                os.fsencode(self._mountpoint).decode("utf-8", "surrogateescape"),
                foreground=True,
                raw_fi=True,
                encoding=PATH_ENCODING,
                **self._options.fuse_options(),
            )
        except RuntimeError:
            if not self._stopping.is_set():
                raise FuseUnusable(
                    f"libfuse could not mount on {self._mountpoint}; see its message above"
                ) from None
        finally:
            lock.release()
            self._invalidator.disconnect()
            self._ended.set()

    def stop(self, last: Callable[[], None]) -> None:
        """Unmount and end; see the module's docstring. Returns when the loop has ended.

        :param last: called before the process is ended because files are still open.
        """
        if self._stopping.is_set():
            return
        try:
            detach(self._mountpoint)
        except BacklotError as error:
            events.UNMOUNT_FAILED.log(log, reason=error)
        self._stopping.set()
        if self._reads is not None:
            self._reads.end()
        if not self._ended.wait(GRACE_S):
            events.FILES_OPEN.log(log, seconds=GRACE_S)
            closing = threading.Thread(target=last, name="last", daemon=True)
            closing.start()
            closing.join(LAST_S)
            # The mount may have been made after the call above.
            with contextlib.suppress(BacklotError):
                detach(self._mountpoint)
            os._exit(0)


#: The kernel's read-ahead on the mount: 1 MiB, its largest request without tuning. The default is
#: 128 KiB, and only root may change it, by a file in /sys.
READ_AHEAD_KB = 1024


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
