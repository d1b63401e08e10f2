"""The device loop receives the kernel's requests instead of libfuse's own loop.

libfuse 2 copies the bytes of each read once more, walks its tree of paths for it, and calls back
through ctypes on threads that are not Python's. It also cannot negotiate features of newer kernels.
So libfuse only opens and closes the session (`serve_with`). In between, this loop receives all
requests: `ReadRequests` serves READ and INTERRUPT; all others are passed to libfuse
(`fuse_session_process`), which calls back on the same thread.

A LOOKUP does not wait for a size, because the kernel locks the folder meanwhile, and a `touch`
there would then block all programs in it. A file of unknown size is answered with attributes that
are valid for 0 s (`UnsettledLookups`). The kernel then asks for them by GETATTR, which takes no
lock and may wait.

Threads: `BASE_THREADS` receive requests. A request that libfuse serves may wait for the network, so
if no thread is left to receive, another is started; it ends when enough others are idle again.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from typing import Any

from backlotfs.kernel.device import (
    INIT,
    INTERRUPT,
    LOOKUP,
    READ,
    Device,
    improve_init,
    parse_interrupt,
    parse_read,
    parse_request,
    unsettle_lookup,
)
from backlotfs.kernel.read_requests import ReadRequests
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Number of threads that receive while nothing waits.
BASE_THREADS = 3
#: Most threads: as many operations may wait for the network at a time.
MAX_THREADS = 512

_SEND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _ChannelOperations(ctypes.Structure):
    """``struct fuse_chan_ops``."""

    _fields_ = (("receive", ctypes.c_void_p), ("send", _SEND), ("destroy", ctypes.c_void_p))


class UnsettledLookups:
    """Tells which thread serves a LOOKUP, and whether its answer lacks the file's size."""

    def __init__(self) -> None:
        self._thread = threading.local()

    @property
    def in_lookup(self) -> bool:
        """Whether this thread serves a LOOKUP."""
        return getattr(self._thread, "in_lookup", False)

    def mark(self) -> None:
        """Record that this thread's LOOKUP is answered with attributes that are not settled."""
        self._thread.unsettled = True

    def begin(self) -> None:
        """Record that this thread begins to serve a LOOKUP."""
        self._thread.in_lookup, self._thread.unsettled = True, False

    def end(self) -> bool:
        """Record the end of this thread's LOOKUP; True if its attributes are not settled."""
        self._thread.in_lookup = False
        return bool(self._thread.unsettled)


class _CapturingChannel:
    """A libfuse channel that keeps answers instead of sending them. One thread uses it."""

    def __init__(self, libfuse: Any, buffer_bytes: int) -> None:
        self._libfuse = libfuse
        self._answers: list[bytes] = []
        self._operations = _ChannelOperations(None, _SEND(self._keep), None)
        self.address = libfuse.fuse_chan_new(ctypes.byref(self._operations), -1, buffer_bytes, None)

    def take(self) -> list[bytes]:
        """Return and remove the answers since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """Free libfuse's structure."""
        self._libfuse.fuse_chan_destroy(self.address)

    def _keep(self, _channel: int, vector: int, count: int) -> int:
        parts = (_IoVector * count).from_address(vector)
        self._answers.append(b"".join(ctypes.string_at(part.base, part.length) for part in parts))
        return 0


class DeviceLoop:
    """Serves one session of libfuse until it is unmounted."""

    def __init__(
        self,
        libfuse: Any,
        session: int,
        channel: int,
        device: Device,
        reads: ReadRequests,
        lookups: UnsettledLookups,
    ) -> None:
        """Serve libfuse's structures at the addresses ``session`` and ``channel``."""
        self._lookups = lookups
        self._libfuse = libfuse
        self._session = session
        self._channel = channel
        self._reads = reads
        self._buffer_bytes = int(libfuse.fuse_chan_bufsize(channel))
        self._device = device
        self._lock = threading.Lock()
        self._idle = 0
        self._threads: set[threading.Thread] = set()

    def run(self) -> None:
        """Serve requests until the mount is gone and no operation runs any more."""
        self._reads.start()
        with self._lock:
            for _ in range(BASE_THREADS):
                self._start_thread()
        while True:
            with self._lock:
                thread = next(iter(self._threads), None)
            if thread is None:
                return
            thread.join()
            with self._lock:
                self._threads.discard(thread)

    def _start_thread(self) -> None:
        """Start a thread that receives; call with the lock held.

        The thread counts as idle at once: otherwise all busy threads that return meanwhile would
        stay as well.

        :raises RuntimeError: the system has no thread left.
        """
        thread = threading.Thread(target=self._serve, name="fuse", daemon=True)
        thread.start()
        self._idle += 1
        self._threads.add(thread)

    def _serve(self) -> None:
        message = bytearray(self._buffer_bytes)
        shared = (ctypes.c_char * self._buffer_bytes).from_buffer(message)
        receive, reads = self._device.receive, self._reads
        captured = _CapturingChannel(self._libfuse, self._buffer_bytes)
        idle = True
        try:
            while length := receive(message):
                request = parse_request(message)
                if request.opcode == LOOKUP:
                    idle = self._look_up(shared, length, captured)
                    if not idle:
                        break
                elif request.opcode == READ:
                    reads.serve(request.unique, parse_read(message))
                elif request.opcode == INTERRUPT and reads.interrupt(parse_interrupt(message)):
                    pass
                elif request.opcode == INIT:
                    self._begin_session(shared, length, captured)
                elif not (idle := self._hand_over(shared, length, self._channel)):
                    break
        except OSError as error:
            events.DEVICE_LOST.log(log, reason=error.strerror)
        finally:
            captured.close()
            with self._lock:
                self._idle -= idle

    def _look_up(self, shared: Any, length: int, captured: _CapturingChannel) -> bool:
        """Serve a LOOKUP, whose answer is changed before it is sent; return `_stays`."""
        self._have_a_receiver()
        self._lookups.begin()
        self._libfuse.fuse_session_process(self._session, shared, length, captured.address)
        unsettled = self._lookups.end()
        for answer in captured.take():
            self._device.send(unsettle_lookup(answer) if unsettled else answer)
        return self._stays()

    def _hand_over(self, shared: Any, length: int, channel: int) -> bool:
        """Let libfuse serve a request; return `_stays`."""
        self._have_a_receiver()
        self._libfuse.fuse_session_process(self._session, shared, length, channel)
        return self._stays()

    def _have_a_receiver(self) -> None:
        """Mark this thread as busy; start another if none is left to receive."""
        with self._lock:
            self._idle -= 1
            if not self._idle and len(self._threads) < MAX_THREADS:
                try:
                    self._start_thread()
                except RuntimeError as error:  # the next request waits until a thread is free
                    events.RECEIVER_STARVED.log(log, reason=error)

    def _stays(self) -> bool:
        """Whether this thread continues to receive after its request; then it is idle again."""
        with self._lock:
            # A thread that ends is not counted from here on. Otherwise all others could end as
            # well, and the session would end while it is in use.
            if self._idle < BASE_THREADS:
                self._idle += 1
                return True
            self._threads.discard(threading.current_thread())
            return False

    def _begin_session(self, shared: Any, length: int, captured: _CapturingChannel) -> None:
        """Serve INIT: libfuse's answer is changed before it is sent."""
        self._libfuse.fuse_session_process(self._session, shared, length, captured.address)
        for answer in captured.take():
            self._device.send(improve_init(answer))


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
#: The functions of libfuse 2.9 that are called, with their types.
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

#: Takes fusepy's arguments of ``fuse_main_real``; returns 0 or an error number.
Main = Callable[[int, Any, Any, int, Any], int]


def serve_with(
    libfuse: Any,
    reads: Callable[[Device], ReadRequests],
    lookups: UnsettledLookups,
    mounted: Callable[[], None] = lambda: None,
) -> Main:
    """Make a function that replaces libfuse's ``fuse_main_real``.

    :param mounted: called when the kernel has made or refused the mount.
    :param reads: makes the `ReadRequests` of the session when its device is open.
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
