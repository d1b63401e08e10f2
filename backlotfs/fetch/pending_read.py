"""The blocks of one read, here or on their way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from backlotfs.byterange import ByteRange
from backlotfs.cache.block_pool import Block
from backlotfs.cache.tiers import DISK, NETWORK, TIERS
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError


def _nothing() -> None:
    """Where nothing lies ahead."""


class PendingRead:
    """What one read asked for. `take` and `fail` are the block store's, under its lock.

    :ivar wanted: the bytes asked for, inside the source, not empty.
    :ivar missed: a block was neither cached nor under way when it was asked for.
    :ivar error: why it will never be complete.
    :ivar ended_before: blocks of a number below this are read to their end, so for the last time.
    :ivar look_ahead: to be called once the answer is out or awaited: plans what lies ahead, which
        no reader has to wait for.
    :ivar came_from: blocks taken, by tier.
    :ivar fresh_bytes: of the blocks that came from a host, now or ahead of time, and that no other
        read had before.
    """

    __slots__ = (
        "_absent", "_block_bytes", "_blocks", "_done", "_first", "_lock", "abandoned", "came_from",
        "doing", "embed_code", "ended_before", "error", "fresh_bytes", "look_ahead", "missed",
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
        """``doing``: for the messages of errors: ``reading <embed code>``.

        :param embed_code: of the source; empty for a file that has none.
        """
        self.wanted = wanted
        self.embed_code = embed_code
        self.doing = doing
        self.missed = False
        self.look_ahead: Callable[[], None] = _nothing
        self.abandoned = False
        self.error: BacklotError | None = None
        self.ended_before = wanted.stop // block_bytes
        self.came_from = [0] * len(TIERS)
        self.fresh_bytes = 0
        self._block_bytes = block_bytes
        self._lock = lock
        self._first = wanted.start // block_bytes
        count = (wanted.stop - 1) // block_bytes - self._first + 1
        self._blocks: list[Block | None] = [None] * count
        self._absent = count
        self._done: Callable[[], None] | None = None

    @property
    def complete(self) -> bool:
        """Whether every block is here, or an error says that they never will be."""
        return not self._absent or self.error is not None

    @property
    def asked_bytes(self) -> int:
        """How many are wanted."""
        return self.wanted.length

    def take(self, number: int, block: Block, tier: int = NETWORK) -> None:
        """Block ``number`` of the source is here. ``tier``: where it was found."""
        place = number - self._first
        if self.error is None and self._blocks[place] is None:
            self._blocks[place] = block
            self._absent -= 1
            self.came_from[tier] += 1
            if not block.used:
                block.used = True
                self.fresh_bytes += len(block.view) if tier != DISK else 0

    def fail(self, error: BacklotError) -> None:
        """It cannot be had."""
        self.error = error
        # The error's traceback will refer to this demand: a cycle must not hold memory.
        self._blocks = []

    def finished(self) -> None:
        """Tell who waits; call without the lock, after it became complete."""
        # Not referred to any longer: it may refer to this demand, whose memory is wanted.
        done, self._done = self._done, None
        if done is not None:
            done()

    def then(self, done: Callable[[], None]) -> None:
        """Have ``done`` called once it is complete, by this thread or a transfer's.

        Call it once at most.
        """
        with self._lock:
            if not self.complete:
                self._done = done
                return
        done()

    def abandon(self) -> None:
        """Nobody waits any more."""
        self.abandoned = True
        self._done = None

    def views(self) -> list[memoryview]:
        """The wanted bytes, in order, where they lie; valid while the demand is referred to."""
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
        """Every block that is here, by its number."""
        here = enumerate(self._blocks, self._first)
        return [(number, block) for number, block in here if block is not None]

    def result(self, waiter: InterruptibleWait) -> bytes:
        """The wanted bytes. :raises BacklotError: as `wait`."""
        self.wait(waiter)
        return b"".join(self.views())

    def wait(self, waiter: InterruptibleWait) -> None:
        """Wait for all of it. :raises BacklotError: what fetching, or waiting, ends with."""
        if not self.complete:
            arrival: Future[None] = Future()
            self.then(lambda: arrival.set_result(None))
            try:
                waiter.result(arrival, self.doing, self.embed_code)
            except BacklotError:
                self.abandon()
                raise
        if self.error is not None:
            raise self.error
