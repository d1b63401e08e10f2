"""libfuse 2's session, opened and closed by its own functions, run by our loop between them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from backlotfs.kernel.device import Device
from backlotfs.kernel.device_loop import DeviceLoop, UnsettledLookups
from backlotfs.kernel.read_requests import ReadRequests

_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
#: What is called of libfuse 2.9, with its types.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "fuse_setup": (_POINTER, [_INT, _POINTER, _POINTER, _SIZE, _POINTER, _POINTER, _POINTER]),
    "fuse_teardown": (None, [_POINTER, _POINTER]),
    "fuse_get_session": (_POINTER, [_POINTER]),
    "fuse_session_next_chan": (_POINTER, [_POINTER, _POINTER]),
    "fuse_session_process": (None, [_POINTER, _POINTER, _SIZE, _POINTER]),
    "fuse_chan_fd": (_INT, [_POINTER]),
    "fuse_chan_bufsize": (_SIZE, [_POINTER]),
    "fuse_chan_new": (_POINTER, [_POINTER, _INT, _SIZE, _POINTER]),
    "fuse_chan_destroy": (None, [_POINTER]),
}

#: Takes fusepy's arguments of ``fuse_main_real``; 0 or what went wrong.
Main = Callable[[int, Any, Any, int, Any], int]


def serve_with(
    libfuse: Any,
    reads: Callable[[Device], ReadRequests],
    lookups: UnsettledLookups,
    mounted: Callable[[], None] = lambda: None,
) -> Main:
    """A function to stand in the place of libfuse's ``fuse_main_real``.

    :param mounted: called as soon as the kernel has the mount, or refused it.
    :param reads: makes what serves the reads of the session, when its device is open.
    """
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(libfuse, name)
        function.restype, function.argtypes = result, arguments

    def main(argc: int, argv: Any, operations: Any, size: int, user_data: Any) -> int:
        mountpoint, multithreaded = ctypes.c_void_p(), ctypes.c_int()
        fuse = libfuse.fuse_setup(
            argc, argv, operations, size,
            ctypes.byref(mountpoint), ctypes.byref(multithreaded), user_data,
        )  # fmt: skip
        mounted()
        if not fuse:
            return 1
        session = libfuse.fuse_get_session(fuse)
        channel = libfuse.fuse_session_next_chan(session, None)
        device = Device(int(libfuse.fuse_chan_fd(channel)))
        try:
            DeviceLoop(libfuse, session, channel, device, reads(device), lookups).run()
        finally:
            libfuse.fuse_teardown(fuse, mountpoint)
        return 0

    return main
