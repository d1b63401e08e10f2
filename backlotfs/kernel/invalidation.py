"""Invalidation of the kernel's directory entries of the root, and of the root's attributes.

libfuse 2's high-level interface has one set of timeouts for the whole mount, and shows no inode
but the root's. So only entries of the root can be invalidated, and only a mount with all files in
the root has long timeouts. The kernel takes the lock of the folder for an invalidation, which a
running listing or look-up has too. So another thread sends it, never an operation. No look-up in
the root waits for the network (see `device_loop`), so nothing waits long for that lock.

The messages are written to a duplicate of libfuse's descriptor: libfuse destroys its channel at the
unmount, and its notify function would then use freed memory.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import struct
import threading
from collections.abc import Iterable
from typing import Any

from backlotfs.kernel.fuse_library import load_fuse

log = logging.getLogger(__name__)

_ROOT_NODE = 1
#: FUSE_NOTIFY_INVAL_INODE and FUSE_NOTIFY_INVAL_ENTRY of <linux/fuse.h>.
_INVAL_INODE, _INVAL_ENTRY = 2, 3
#: ``struct fuse_out_header`` (length, code, unique 0) and ``struct fuse_notify_inval_entry_out``
#: (parent, length of the name, flags); the name and a NUL follow.
_MESSAGE = struct.Struct("=IiQQII")
#: ``struct fuse_out_header`` and ``struct fuse_notify_inval_inode_out`` (node, offset, length); an
#: offset below 0 means the attributes only; the kernel has no pages of a folder.
_OF_INODE = struct.Struct("=IiQQqq")
#: Stands for the root itself in the queue of names.
_ROOT = ""


class EntryInvalidator:
    """Sends invalidations of entries of the root.

    `connect` is called on libfuse's thread, the other methods on any.
    """

    def __init__(self) -> None:
        self._names: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._device = -1

    def connect(self) -> None:
        """Connect to the session. Call this in `init`, on libfuse's thread."""
        libfuse: Any = load_fuse()._libfuse
        session = libfuse.fuse_get_session(libfuse.fuse_get_context().contents.fuse)
        self.attach(os.dup(libfuse.fuse_chan_fd(libfuse.fuse_session_next_chan(session, None))))

    def attach(self, device: int) -> None:
        """Use a descriptor of ``/dev/fuse``, which `disconnect` closes, and start the thread."""
        self._device = device
        threading.Thread(target=self._serve, name="invalidation", daemon=True).start()

    def disconnect(self) -> None:
        """Send nothing more, because the session has ended."""
        with self._lock:
            device, self._device = self._device, -1
        if device >= 0:
            with contextlib.suppress(OSError):
                os.close(device)

    def invalidate(self, names: Iterable[str]) -> None:
        """Queue the invalidation of these entries of the root, and of the root's attributes."""
        if self._device >= 0:
            for name in (*names, _ROOT):
                self._names.put(name)

    def _serve(self) -> None:
        while True:
            name = self._names.get().encode("utf-8", "surrogateescape")
            if name:
                length = _MESSAGE.size + len(name) + 1
                head = _MESSAGE.pack(length, _INVAL_ENTRY, 0, _ROOT_NODE, len(name), 0)
                message = head + name + b"\0"
            else:
                message = _OF_INODE.pack(_OF_INODE.size, _INVAL_INODE, 0, _ROOT_NODE, -1, 0)
            with self._lock:
                if self._device < 0:
                    return
                try:
                    os.write(self._device, message)
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return  # unmounted
                    if error.errno != errno.ENOENT:  # the kernel had not cached it
                        log.debug("an entry was not invalidated: %s", error.strerror)
