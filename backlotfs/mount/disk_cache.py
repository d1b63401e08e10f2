# SPDX-License-Identifier: Apache-2.0
"""Opens the disk cache of a mount, which only one process can use at a time.

After an unmount, the process of that mount needs some time to close its files. A mount that is made
meanwhile waits for the disk cache; otherwise it would have none until its end. So each mount writes
into the lock file where it is mounted. If nothing is mounted there any more, its process is ending.
"""

from __future__ import annotations

import logging
import shutil
import signal
from pathlib import Path

from backlotfs.api.signing import Credentials
from backlotfs.cache.disk.tier import DiskTier, kept_budget
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.settings import GIB, MountSettings
from backlotfs.errors import CacheInUse, CacheUnusable
from backlotfs.kernel.mount_table import our_mounts
from backlotfs.log import events
from backlotfs.mount.read_path import BLOCK_BYTES

log = logging.getLogger(__name__)

#: Default size of the disk cache: this, or this part (1/10) of the free disk space if it is less.
#: A cache with pinned files keeps at least the size of its blocks.
DISK_BYTES, DISK_PART = 10 * GIB, 10
#: Blocks that wait to be written to disk may use this part of the memory (1/8).
QUEUED_PART = 8
#: Longest wait for a mount that is ending.
ENDING_S = 10.0
_POLL_S = 0.05
#: Processes see the same mount table if both files say the same: the boot, the mount namespace.
_BOOT, _NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/mnt")


def open_disk_tier(settings: MountSettings, clock: Clock) -> DiskTier | None:
    """Open the disk cache; None: it is off, or it cannot be opened, which is logged.

    It waits up to `ENDING_S` for a mount that is ending, but not after a signal that is to end this
    process.
    """
    account = settings.account
    identity = LibraryIdentity.of(
        account.api_url, Credentials(account.api_key, account.api_secret).account
    )
    folder = settings.cache_dir / "blocks" / identity.digest
    deadline = Deadline(ENDING_S, clock)
    waits = False
    try:
        while True:
            try:
                return _open(folder, settings, clock)
            except CacheInUse as error:
                if deadline.expired or not is_ending(error.holder) or _is_to_end():
                    raise
            if not waits:
                events.DISK_CACHE_AWAITED.log(log, path=folder)
            waits = True
            clock.sleep(_POLL_S)
    except CacheUnusable as error:
        # A usual cause is another mount that uses the folder. So this is a warning only if the user
        # has set a cache size.
        level = logging.INFO if settings.cache_bytes is None else logging.WARNING
        events.DISK_CACHE_OFF.log(log, at=level, reason=error)
        return None


def _open(folder: Path, settings: MountSettings, clock: Clock) -> DiskTier | None:
    budget = settings.cache_bytes
    if budget is None:
        # The disk may have less free space now than when files were pinned; these must be kept.
        budget = max(default_disk_bytes(settings.cache_dir), kept_budget(folder, BLOCK_BYTES))
    if not budget:
        return None
    return DiskTier(
        folder,
        budget,
        clock,
        block_bytes=BLOCK_BYTES,
        queued_blocks=settings.memory_bytes // BLOCK_BYTES // QUEUED_PART,
    )


def default_disk_bytes(folder: Path) -> int:
    """10 GiB, or a tenth of the free disk space if it is less; 0 if that space is not known."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return min(DISK_BYTES, shutil.disk_usage(folder).free // DISK_PART)
    except OSError:
        return 0


def holder_at(mountpoint: Path) -> str:
    """The text for the lock file of a mount that is mounted here; empty without ``/proc``."""
    table = _mount_table()
    return f"{table} {mountpoint}" if table else ""


def is_ending(holder: str) -> bool:
    """Whether the mount that wrote this text is not mounted any more, as far as is known."""
    table = _mount_table()
    if not table or not holder.startswith(f"{table} "):
        return False  # no mount, one that starts, or one on another system or in a container
    mountpoint = holder.removeprefix(f"{table} ")
    return all(mount.mountpoint != mountpoint for mount in our_mounts())


def _mount_table() -> str:
    """Identifies the mount table that this process sees; empty if there is no ``/proc``."""
    try:
        return f"{_BOOT.read_text().strip()} {_NAMESPACE.stat().st_ino}"
    except OSError:
        return ""


def _is_to_end() -> bool:
    return not signal.sigpending().isdisjoint({signal.SIGTERM, signal.SIGINT})
