"""One read of an application: the blocks that it was given, and those that it waits for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import DISK, NETWORK, TIERS, Block
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError


def _no_look_ahead() -> None:
    """Plan nothing."""


class PendingRead:
    """The blocks of one read. The block loader calls `deliver` and `fail`, under its lock.

    :ivar wanted: the bytes asked for, inside the source, not empty.
    :ivar missed: a block was neither cached nor in flight when the read began.
    :ivar error: why the read fails; None while it may still succeed.
    :ivar full_blocks_before: blocks with a lower number are read to their end.
    :ivar look_ahead: plans the prefetch; to be called after the answer was written, or while the
        reader waits, so that no reader waits for it.
    :ivar came_from: how many blocks came from each tier.
    :ivar first_use_bytes: bytes of the blocks that came from a host, for this read or prefetched,
        and that no other read used before.
    """

    __slots__ = (
        "_absent",
        "_block_bytes",
        "_blocks",
        "_done",
        "_first",
        "_lock",
        "abandoned",
        "came_from",
        "doing",
        "embed_code",
        "error",
        "first_use_bytes",
        "full_blocks_before",
        "look_ahead",
        "missed",
        "wanted",
    )  # fmt: skip

    def __init__(
        self,
        wanted: ByteRange,
        block_bytes: int,
        lock: AbstractContextManager[object],
        doing: str,
        embed_code: str = "",
    ) -> None:
        """``doing``: what errors say was being done: ``reading <embed code>``.

        :param embed_code: of the source; empty for a file that has none.
        """
        self.wanted = wanted
        self.embed_code = embed_code
        self.doing = doing
        self.missed = False
        self.look_ahead: Callable[[], None] = _no_look_ahead
        self.abandoned = False
        self.error: BacklotError | None = None
        self.full_blocks_before = wanted.stop // block_bytes
        self.came_from = [0] * len(TIERS)
        self.first_use_bytes = 0
        self._block_bytes = block_bytes
        self._lock = lock
        self._first = wanted.start // block_bytes
        count = (wanted.stop - 1) // block_bytes - self._first + 1
        self._blocks: list[Block | None] = [None] * count
        self._absent = count
        self._done: Callable[[], None] | None = None

    @property
    def complete(self) -> bool:
        """Whether every block has arrived, or the read has failed."""
        return not self._absent or self.error is not None

    def deliver(self, number: int, block: Block, tier: int = NETWORK) -> None:
        """Take block ``number`` of the source. ``tier``: where the block was found."""
        place = number - self._first
        if self.error is None and self._blocks[place] is None:
            self._blocks[place] = block
            self._absent -= 1
            self.came_from[tier] += 1
            if not block.used:
                block.used = True
                self.first_use_bytes += len(block.view) if tier != DISK else 0

    def fail(self, error: BacklotError) -> None:
        """Let the read fail."""
        self.error = error
        # The error's traceback will refer to this read: a cycle must not hold memory.
        self._blocks = []

    def finished(self) -> None:
        """Call the done callback. Call this without the lock, after the read became complete."""
        # Drop the callback: it may refer to this read, and so keep its memory.
        done, self._done = self._done, None
        if done is not None:
            done()

    def add_done_callback(self, done: Callable[[], None]) -> None:
        """Call ``done`` when the read is complete, on this thread or on a fetch's.

        Call this at most once for a read.
        """
        with self._lock:
            if not self.complete:
                self._done = done
                return
        done()

    def abandon(self) -> None:
        """Note that nobody waits for the read any more."""
        self.abandoned = True
        self._done = None

    def views(self) -> list[memoryview]:
        """The wanted bytes, in order, without a copy; valid while the read is referred to."""
        views = [block.view for block in self._blocks if block is not None]
        start = self.wanted.start - self._first * self._block_bytes
        surplus = len(self._blocks) * self._block_bytes - start - self.wanted.length
        last = len(views[-1])
        if surplus > self._block_bytes - last:
            views[-1] = views[-1][: self._block_bytes - surplus]
        if start:
            views[0] = views[0][start:]
        return views

    def blocks(self) -> list[tuple[int, Block]]:
        """The blocks that have arrived, with their numbers."""
        numbered = enumerate(self._blocks, self._first)
        return [(number, block) for number, block in numbered if block is not None]

    def wait(self, waiter: InterruptibleWait) -> None:
        """Wait for every block. :raises BacklotError: the read failed, or the wait was ended."""
        if not self.complete:
            arrival: Future[None] = Future()
            self.add_done_callback(lambda: arrival.set_result(None))
            try:
                waiter.result(arrival, self.doing, self.embed_code)
            except BacklotError:
                self.abandon()
                raise
        if self.error is not None:
            raise self.error
