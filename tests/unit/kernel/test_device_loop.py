"""The threads that receive: enough of them, and never none while the session lives."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import queue
import struct
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from backlotfs.kernel.device_loop import BASE_THREADS, DeviceLoop, UnsettledLookups
from tests.support.deadlines import wait_until

_GETATTR = struct.pack("=IIQ8x", 40, 3, 7)
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
    running = threading.Thread(target=loop.run)
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
    running = threading.Thread(target=loop.run)
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
