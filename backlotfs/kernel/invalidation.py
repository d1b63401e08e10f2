"""Telling the kernel that names in the root do not mean what it remembers.

libfuse 2's high-level interface has one set of timeouts for the whole mount and knows no inode but
the root's, so only entries of the root can be taken back; that is what makes long timeouts safe
there. The kernel takes the folder's lock for it, which a listing under way holds, so it is done on
a thread of its own and never from an operation.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
from collections.abc import Iterable
from typing import Any

from backlotfs.kernel.fuse_library import load_fuse

log = logging.getLogger(__name__)

_ROOT_NODE = 1


class EntryInvalidator:
    """Takes back entries of the root. `connect` on libfuse's thread, `invalidate` from any."""

    def __init__(self) -> None:
        self._names: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._connected = False

    def connect(self) -> None:
        """Call in `init`, on libfuse's thread: the session is known from here on."""
        libfuse: Any = load_fuse()._libfuse
        libfuse.fuse_get_session.restype = ctypes.c_void_p
        libfuse.fuse_get_session.argtypes = [ctypes.c_void_p]
        libfuse.fuse_session_next_chan.restype = ctypes.c_void_p
        libfuse.fuse_session_next_chan.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        notify = libfuse.fuse_lowlevel_notify_inval_entry
        notify.restype = ctypes.c_int
        notify.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_size_t]
        session = libfuse.fuse_get_session(libfuse.fuse_get_context().contents.fuse)
        channel = libfuse.fuse_session_next_chan(session, None)

        def serve() -> None:
            while True:
                name = self._names.get().encode("utf-8", "surrogateescape")
                # ENOENT only means that the kernel did not remember it.
                answer = notify(channel, _ROOT_NODE, name, len(name))
                log.debug("entry taken back from the kernel: answer %d", answer)

        self._connected = True
        threading.Thread(target=serve, name="invalidation", daemon=True).start()

    def invalidate(self, names: Iterable[str]) -> None:
        """Have the kernel forget these entries of the root, soon."""
        if self._connected:
            for name in names:
                self._names.put(name)
