# SPDX-License-Identifier: Apache-2.0
"""The write queue: blocks that wait to be written to disk, and the writer thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from backlotfs.cache.memory import BlockKey

#: Longest wait at the end for the queue to be written: a hung disk must not block an unmount.
_CLOSE_TIMEOUT_S = 10.0
#: Most blocks that are written together, before their rows.
WRITE_BATCH = 32


class PendingBlock:
    """A block in the write queue.

    :ivar checksum: checksum of the block when it was queued. If the memory of the block changes
        before it is written, the checksum does not match when the block is read.
    """

    __slots__ = ("block", "checksum", "key", "owner")

    def __init__(
        self,
        key: BlockKey,
        block: bytes | bytearray | memoryview,
        owner: object,
        checksum: int,
    ) -> None:
        self.key = key
        self.block = block
        self.owner = owner
        self.checksum = checksum


class WriteQueue:
    """A bounded queue and one daemon thread, started with the first block. Thread-safe."""

    def __init__(self, write: Callable[[Sequence[PendingBlock]], None], limit: int) -> None:
        """Start no thread yet.

        :param write: called on the thread with at most `WRITE_BATCH` blocks; raises nothing.
        :param limit: most blocks in the queue, including those being written.
        """
        self._write = write
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[PendingBlock] = deque()
        self._keys: dict[BlockKey, PendingBlock] = {}
        self._thread: threading.Thread | None = None
        self._closing = False
        self._idle = False  # whether the thread waits for a block
        self._batches = 0  # number of batches written
        self._in_vain_s = 0.0  # longest wait for room since the last batch was written

    @property
    def full(self) -> bool:
        """Whether the queue is full at this moment."""
        return len(self._keys) >= self._limit

    def __contains__(self, key: BlockKey) -> bool:
        """Whether the queue has this block at this moment."""
        return key in self._keys

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait for room in the queue; False if there is none in time.

        If the disk hangs, only the first caller waits. Later calls with the same or a shorter time
        limit return at once, until a batch is written. Otherwise each block of a transfer would
        delay the next one.
        """
        with self._changed:
            if timeout_s <= self._in_vain_s:
                return not self.full
            batches = self._batches
            if self._changed.wait_for(lambda: not self.full or self._closing, timeout_s):
                return True
            if batches == self._batches:  # otherwise other callers took the room
                self._in_vain_s = timeout_s
            return False

    def submit(self, pending: PendingBlock) -> bool:
        """Queue a block.

        :returns: False if the block is queued already, the queue is full or closed, or the system
            cannot start the thread now; a later call tries that again.
        """
        with self._changed:
            if self._closing or self.full or pending.key in self._keys:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="disk-cache", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return False
                self._thread = thread
            self._keys[pending.key] = pending
            self._waiting.append(pending)
            if self._idle:
                self._idle = False
                self._changed.notify_all()
        return True

    def drain(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Wait until all queued blocks are written; False if that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._keys, timeout_s)

    def close(self) -> bool:
        """Write all queued blocks and end the thread; False if it does not end. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(_CLOSE_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._idle = True
                    self._changed.wait()
                if not self._waiting:
                    return
                count = min(WRITE_BATCH, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
            try:
                self._write(batch)
            finally:
                with self._changed:
                    self._batches += 1
                    self._in_vain_s = 0.0
                    for pending in batch:
                        del self._keys[pending.key]
                    self._changed.notify_all()
            del batch, pending  # free their memory while the thread waits for more
