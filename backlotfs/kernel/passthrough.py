# SPDX-License-Identifier: Apache-2.0
"""Passthrough: the kernel reads a file of the disk cache itself, without asking the mount.

A version that is complete on disk is one file of exactly its length (`cache.disk`). When the first
program opens the node of this version, the kernel can be given that file as *backing file*: reads
and mappings then cost this process nothing, and are as fast as the disk.

Either all open files of a node are passed through, or none. So this is decided at the node's first
open and is valid until its last release; until then the kernel knows the backing file by an id. The
mount does not see the reads of such a node, so only its opens are counted.

Passthrough needs Linux 6.9 or newer and a mount with CAP_SYS_ADMIN in the initial user namespace.
It does not work for a disk cache on a stacked file system such as overlayfs. Without passthrough,
reads go through the mount, and `Passthrough.state` gives the reason.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

from backlotfs.kernel.protocol import Device
from backlotfs.source.version import SourceVersion

_BACKING_OPEN = (1 << 30) | (16 << 16) | (229 << 8) | 1
_BACKING_CLOSE = (1 << 30) | (4 << 16) | (229 << 8) | 2
_BACKING_MAP = struct.Struct("=iIQ")  # descriptor, flags, padding
_ID = struct.Struct("=I")

OFF = "switched off"
NO_DISK = "there is no disk cache"
OLD_KERNEL = "the kernel does not have it; Linux 6.9 does"
FUSEPY = "not with fusepy"
NOT_ALLOWED = "the kernel allows it only to this machine's own root"
STACKED = "the disk cache is on a stacked file system, such as a container's own disk"
#: Stacked file systems, which show files of another one; the kernel refuses them (ELOOP).
STACKED_TYPES = frozenset({"overlay", "ecryptfs"})
_REASONS = {errno.EPERM: NOT_ALLOWED, errno.ELOOP: STACKED}

#: Opens the complete file of a version: `DiskTier.open_complete`.
OpenComplete = Callable[[str, str], int | None]


class PassthroughState(NamedTuple):
    """The state for ``status``.

    :ivar off: why the kernel does not read files itself; ``""`` if it does.
    :ivar opens: number of opens that were passed through.
    :ivar files: number of open files that the kernel reads itself now.
    """

    off: str
    opens: int
    files: int


class _Node:
    """An open node.

    :ivar version: the version that the node shows.
    :ivar backing_id: id of the backing file; None until it is decided; 0 if reads go through the
        mount.
    :ivar deciding: a lock, held during the decision, which uses the disk.
    """

    __slots__ = ("backing_id", "deciding", "opens", "version")

    def __init__(self, version: SourceVersion) -> None:
        self.version = version
        self.backing_id: int | None = None
        self.deciding = threading.Lock()
        self.opens = 0


class Passthrough:
    """Decides which nodes are passed through. Any thread may call it; it waits for no host."""

    def __init__(self, open_complete: OpenComplete | None = None, off: str = "") -> None:
        """Decide nothing before `begin`.

        :param open_complete: None: there is no disk cache.
        :param off: why passthrough must not be used; ``""`` if it may be used.
        """
        self._open_complete = open_complete
        self._off = off or ("" if open_complete is not None else NO_DISK)
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._nodes: dict[int, _Node] = {}
        self._opens = 0

    @property
    def wanted(self) -> bool:
        """Whether to ask the kernel for passthrough."""
        return not self._off

    def begin(self, device: Device, *, offered: bool) -> None:
        """Use this session. :param offered: whether the kernel has passthrough."""
        if not offered:
            self._off = self._off or OLD_KERNEL
        self._device = device

    def state(self) -> PassthroughState:
        """The state now."""
        with self._lock:
            files = sum(bool(node.backing_id) for node in self._nodes.values())
            return PassthroughState(self._off, self._opens, files)

    def is_used(self, version: SourceVersion) -> bool:
        """Whether a version is open now and the kernel reads it itself."""
        with self._lock:
            return any(
                node.backing_id
                and node.version.embed_code == version.embed_code
                and node.version.validator == version.validator
                for node in self._nodes.values()
            )

    def opened(self, node: int, version: SourceVersion) -> int:
        """Count an open of a node; return the id of its backing file, or 0.

        Call `closed` once for each call of this method.
        """
        with self._lock:
            found = self._nodes.get(node)
            if found is None:
                found = self._nodes[node] = _Node(version)
            found.opens += 1
        with found.deciding:  # other opens of this node have to agree; other nodes do not wait
            if found.backing_id is None:
                found.backing_id = self._register(version)
        if found.backing_id:
            with self._lock:
                self._opens += 1
        return found.backing_id

    def closed(self, node: int) -> None:
        """Count a release of a node; do nothing for a node that `opened` did not count."""
        with self._lock:
            found = self._nodes.get(node)
            if found is None:
                return
            found.opens -= 1
            if found.opens:
                return
            del self._nodes[node]
        if found.backing_id:
            self._call(_BACKING_CLOSE, bytearray(_ID.pack(found.backing_id)))

    def _register(self, version: SourceVersion) -> int:
        if self._off or self._open_complete is None or not version.size:
            return 0
        file = self._open_complete(version.embed_code, version.validator)
        if file is None:
            return 0
        try:
            if os.fstat(file).st_size != version.size:
                return 0
            return self._call(_BACKING_OPEN, bytearray(_BACKING_MAP.pack(file, 0, 0)))
        except OSError:
            return 0  # the disk fails; reads through the mount do not need it
        finally:
            with contextlib.suppress(OSError):
                os.close(file)

    def _call(self, request: int, argument: bytearray) -> int:
        """Call the device; 0 if the kernel refuses. After a refused open, no more are tried."""
        if self._device is None:
            return 0
        try:
            return int(fcntl.ioctl(self._device.descriptor, request, argument, True))
        except OSError as error:
            if request == _BACKING_OPEN:
                number = error.errno or 0
                self._off = _REASONS.get(number, error.strerror or "the kernel refuses it")
            return 0
