"""The threads that receive: enough of them, and never none while the session lives."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import ctypes
import queue
import struct
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from backlotfs.kernel.device import unsettle_lookup
from backlotfs.kernel.device_loop import (
    BASE_THREADS,
    DeviceLoop,
    UnsettledLookups,
    _ChannelOperations,
    _IoVector,
)
from tests.support.deadlines import wait_until

_GETATTR = struct.pack("=IIQ8x", 40, 3, 7)
_LOOKUP = struct.pack("=IIQ8x", 40, 1, 7)
_BURSTS, _BURST = 60, 50


class Kernel:
    """The device and libfuse in one: hands out requests, and counts those that libfuse served."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.served = self.channels_destroyed = 0

    def ask(self, count: int) -> None:
        """So many requests at once."""
        for _ in range(count):
            self._requests.put(_GETATTR)

    def has_served(self, count: int) -> bool:
        """Whether all of so many are done."""
        return self.served == count

    def unmount(self) -> None:
        """Every receiving thread learns of it."""
        for _ in range(600):
            self._requests.put(b"")

    def receive(self, message: bytearray) -> int:
        """As `Device`."""
        request = self._requests.get()
        message[: len(request)] = request
        return len(request)

    def fuse_chan_bufsize(self, channel: int) -> int:
        """As libfuse."""
        return 4096

    def fuse_chan_new(self, *_arguments: object) -> int:
        """As libfuse."""
        return 3

    def fuse_chan_destroy(self, channel: int) -> None:
        """As libfuse."""
        with self._lock:
            self.channels_destroyed += 1

    def fuse_session_process(self, *arguments: object) -> None:
        """A request that waits for something."""
        time.sleep(0.0005)
        with self._lock:
            self.served += 1


class Reads:
    """No reads come."""

    def start(self) -> None:
        """As `ReadRequests`."""


@pytest.fixture
def _hurried_threads() -> Iterator[None]:
    """Threads take turns at every opportunity."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hurried_threads")
def test_bursts_leave_enough_threads() -> None:
    """Threads come and go with each burst; those that go never take the last ones with them."""
    kernel = Kernel()
    reads: Any = Reads()
    device: Any = kernel
    loop = DeviceLoop(kernel, 1, 2, device, reads, UnsettledLookups())
    running = threading.Thread(target=loop.run, daemon=True)
    running.start()
    try:
        for burst in range(1, _BURSTS + 1):
            kernel.ask(_BURST)
            wait_until(partial(kernel.has_served, burst * _BURST), "the requests", timeout_s=60)
            assert running.is_alive(), "the session was ended while the kernel still asks"
        wait_until(
            lambda: sum(thread.name == "fuse" for thread in threading.enumerate()) == BASE_THREADS,
            "the threads of the burst to end",
            timeout_s=60,
        )
    finally:
        kernel.unmount()
        running.join(60)
    assert not running.is_alive()


def test_where_no_thread_can_be_started_requests_wait_their_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All are served by the threads that there are, none of which is lost."""
    kernel = Kernel()
    reads: Any = Reads()
    device: Any = kernel
    loop = DeviceLoop(kernel, 1, 2, device, reads, UnsettledLookups())
    running = threading.Thread(target=loop.run, daemon=True)
    running.start()
    try:
        kernel.ask(1)
        wait_until(partial(kernel.has_served, 1), "the loop to run")

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            kernel.ask(_BURST)
            wait_until(partial(kernel.has_served, 1 + _BURST), "the requests", timeout_s=60)
        kernel.ask(_BURST)
        wait_until(partial(kernel.has_served, 1 + 2 * _BURST), "more requests", timeout_s=60)
    finally:
        kernel.unmount()
        running.join(60)
    assert not running.is_alive()
    assert "can't start new thread" in caplog.text


def test_a_look_up_without_a_size_is_answered_with_attributes_that_are_not_valid() -> None:
    """What libfuse answers goes through our hands; other look-ups are passed on as they are."""
    unsettled = threading.Event()
    lookups = UnsettledLookups()
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    channels: list[Any] = []
    entry = struct.pack("=IiQQQQQII", 144, 0, 7, 5, 1, 3600, 3600, 1, 2) + bytes(88)

    class LookingUp(Kernel):
        """libfuse that answers by the channel it is given."""

        def fuse_chan_new(self, *arguments: Any) -> int:
            operations = ctypes.cast(arguments[0], ctypes.POINTER(_ChannelOperations))
            channels.append(operations.contents.send)
            return len(channels) - 1

        def fuse_session_process(self, *arguments: Any) -> None:
            assert lookups.in_lookup
            if unsettled.is_set():
                lookups.mark()
            message = ctypes.create_string_buffer(entry, len(entry))
            parts = (_IoVector * 1)(_IoVector(ctypes.addressof(message), len(entry)))
            channels[arguments[3]](arguments[3], ctypes.addressof(parts), 1)

        def send(self, message: bytes) -> None:
            """As `Device`."""
            answers.put(message)

    kernel: Any = LookingUp()
    reads: Any = Reads()
    loop = DeviceLoop(kernel, 1, 2, kernel, reads, lookups)
    running = threading.Thread(target=loop.run, daemon=True)
    running.start()
    try:
        kernel._requests.put(_LOOKUP)
        assert answers.get(timeout=60) == entry
        unsettled.set()
        kernel._requests.put(_LOOKUP)
        assert answers.get(timeout=60) == unsettle_lookup(entry) != entry
    finally:
        kernel.unmount()
        running.join(60)
    assert not running.is_alive()
    assert kernel.channels_destroyed >= BASE_THREADS, "each thread gives its channel back"


def test_only_the_thread_of_a_look_up_serves_one() -> None:
    """Each time anew: a mark of the last one does not stay."""
    lookups = UnsettledLookups()
    assert not lookups.in_lookup
    lookups.begin()
    seen: list[bool] = []
    other = threading.Thread(target=lambda: seen.append(lookups.in_lookup), daemon=True)
    other.start()
    other.join(60)
    lookups.mark()
    assert (seen, lookups.in_lookup, lookups.end()) == ([False], True, True)
    assert not lookups.in_lookup
    lookups.begin()
    assert not lookups.end()
