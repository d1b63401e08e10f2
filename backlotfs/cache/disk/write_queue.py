"""Blocks that wait for the disk, and the thread that takes them there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from backlotfs.cache.memory import BlockKey

#: Longer than a healthy disk takes for a full queue; a dead one does not keep a mount from ending.
_CLOSE_TIMEOUT_S = 10.0
#: Blocks written before their rows are, together.
BATCH = 32


class PendingBlock:
    """A block on its way to the disk.

    :ivar checksum: of what the block was when it was handed over: should its memory be used for
        something else before it is written, it will not verify.
    :ivar unwanted: its source was discarded meanwhile.
    """

    __slots__ = ("block", "checksum", "key", "owner", "unwanted")

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
        self.unwanted = False


class WriteQueue:
    """A bounded queue and one daemon thread, started with the first block. Thread-safe."""

    def __init__(self, write: Callable[[Sequence[PendingBlock]], None], limit: int) -> None:
        """Nothing runs yet.

        :param write: called on the thread with all that waits, `BATCH` at most; raises nothing.
        :param limit: blocks that may wait, those being written among them.
        """
        self._write = write
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[PendingBlock] = deque()
        self._keys: dict[BlockKey, PendingBlock] = {}
        self._thread: threading.Thread | None = None
        self._closing = False
        self._idle = False  # whether the thread sleeps until it is told
        self._batches = 0  # that the disk took
        self._in_vain_s = 0.0  # the longest wait for room in which it took none; until it does

    @property
    def full(self) -> bool:
        """Whether there is no room; may change at once."""
        return len(self._keys) >= self._limit

    def __contains__(self, key: BlockKey) -> bool:
        """Whether this block waits or is being written; may change at once."""
        return key in self._keys

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until there is some; False when there is none in time.

        A disk that hangs is waited for once: who comes later has no room at once, until it has
        taken something. Else every block that a transfer brings would hold up the next.
        """
        with self._changed:
            if timeout_s <= self._in_vain_s:
                return not self.full
            batches = self._batches
            if self._changed.wait_for(lambda: not self.full or self._closing, timeout_s):
                return True
            if batches == self._batches:  # else others were quicker to take the room
                self._in_vain_s = timeout_s
            return False

    def submit(self, pending: PendingBlock) -> bool:
        """Have it written; False when it is here already, when there is no room, or at the end."""
        with self._changed:
            if self._closing or self.full or pending.key in self._keys:
                return False
            self._keys[pending.key] = pending
            self._waiting.append(pending)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="disk-tier", daemon=True)
                self._thread.start()
            if self._idle:
                self._idle = False
                self._changed.notify_all()
        return True

    def discard(self, embed_code: str) -> None:
        """Blocks of this source are not wanted any more, not even the one being written."""
        with self._changed:
            for key, pending in self._keys.items():
                if key.embed_code == embed_code:
                    pending.unwanted = True

    def drain(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Wait until everything submitted so far is written; False when it takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._keys, timeout_s)

    def close(self) -> bool:
        """Write what waits, then end the thread; False when it does not end. Twice is once."""
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
                count = min(BATCH, len(self._waiting))
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
            del batch, pending  # their memory is not held while the next are waited for
