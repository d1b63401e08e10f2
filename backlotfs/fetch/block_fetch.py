"""One GET on its way: a run of neighbouring blocks, handed over as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from backlotfs.byterange import ByteRange
from backlotfs.cache.block_key import BlockKey
from backlotfs.cache.block_pool import Block
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.fetch.pending_read import PendingRead
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion

#: A transfer ends after this long at the latest; whoever waits has a deadline of its own.
TRANSFER_DEADLINE_S = 30.0
#: Blocks received by one system call, once the first has been handed over: at first …
GROUP_BLOCKS = 8
#: … and at most, where a group comes within `QUICK_S`, so that nobody waits for its others.
MOST_GROUP_BLOCKS = 32
QUICK_S = 0.002


class Fetch(Protocol):
    """How bytes are had: `RangeFetcher.fetch`, or a gate in a test."""

    def __call__(
        self, identity: SourceVersion, wanted: ByteRange, landing: BufferSink, deadline: Deadline
    ) -> None:
        """Deliver ``wanted`` in order."""


class Owner(Protocol):
    """Whom a transfer asks for memory and tells of its blocks."""

    def memory(self, lengths: Sequence[int]) -> list[Block]:
        """Memory for blocks of these lengths."""

    def landed(self, transfer: BlockFetch, blocks: list[Block]) -> None:
        """Keep the next blocks of the run and hand them to whoever waits."""

    def ended(self, transfer: BlockFetch, error: BacklotError | None) -> None:
        """Forget what did not arrive, and tell whoever waits for it."""

    def misses_any_of(self, transfer: BlockFetch) -> bool:
        """Whether anything that it is still to bring has not come from elsewhere."""


#: Asked of read-ahead: whether any of this is wanted still.
StillWanted = Callable[[ByteRange], bool]


def _nobody_asks(_won: bool) -> None:
    """For a transfer that is no hedge."""


class BlockFetch:
    """Neighbouring blocks of one identity by one GET; runs once, on one thread.

    :ivar keys: the names of its blocks, in order.
    :ivar arrived: how many of them were handed over.
    :ivar waiters: the demands that wait, by the number of the block; guarded by the owner's lock.
    :ivar ahead: it began as read-ahead: its failure is no reader's failure.
    :ivar needed: a reader waits for it, so it is not dropped any more.
    :ivar moved_s: when it began, or last brought a block; None before.
    :ivar rival: the hedge that brings some of the same blocks, or what this is a hedge of, while
        both live; guarded by the owner's lock.
    :ivar raced: there is, or was, a rival: what it is to bring may be there already.
    :ivar over: told at the end whether it won; of a hedge, to whoever allowed it.
    :ivar won: it brought a block that nobody had brought before.
    """

    __slots__ = (
        "_block_bytes",
        "_blocks",
        "_clock",
        "_fetch",
        "_group",
        "_owner",
        "_still_wanted",
        "ahead",
        "arrived",
        "count",
        "first",
        "identity",
        "keys",
        "moved_s",
        "needed",
        "over",
        "raced",
        "rival",
        "waiters",
        "won",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        fetch: Fetch,
        identity: SourceVersion,
        run: range,
        block_bytes: int,
        clock: Clock,
        still_wanted: StillWanted | None,
    ) -> None:
        """Make nothing happen yet.

        :param run: the numbers of the blocks.
        :param still_wanted: asked before and during a read-ahead; None for what a reader needs.
        """
        self._owner = owner
        self._fetch = fetch
        self._block_bytes = block_bytes
        self._clock = clock
        self._still_wanted = still_wanted
        self._blocks: list[Block] = []
        self._group = GROUP_BLOCKS
        self.identity = identity
        self.first = run.start
        self.count = len(run)
        code, validator = identity.embed_code, identity.validator
        self.keys = [BlockKey(code, validator, n) for n in run]
        self.arrived = 0
        self.waiters: dict[int, list[PendingRead]] = {}
        self.ahead = still_wanted is not None
        self.needed = not self.ahead
        self.moved_s: float | None = None
        self.rival: BlockFetch | None = None
        self.raced = False
        self.over: Callable[[bool], None] = _nobody_asks
        self.won = False

    @property
    def embed_code(self) -> str:
        """Whose lane it takes."""
        return self.identity.embed_code

    @property
    def left(self) -> range:
        """The numbers of the blocks that have not been handed over."""
        return range(self.first + self.arrived, self.first + self.count)

    def key(self, number: int) -> BlockKey:
        """The name of one of its blocks."""
        return self.keys[number - self.first]

    def waited_for(self, number: int) -> bool:
        """Whether anybody still waits for this block; with the owner's lock held."""
        return any(not demand.abandoned for demand in self.waiters.get(number, ()))

    @property
    def missing(self) -> ByteRange:
        """The bytes that have not been handed over."""
        start = (self.first + self.arrived) * self._block_bytes
        stop = (self.first + self.count) * self._block_bytes
        return ByteRange(start, min(stop, self.identity.size))

    @property
    def urgent(self) -> bool:
        """As `BufferSink.urgent`."""
        return self.needed

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it, and no rival brings the same already."""
        return bool(self.waiters) and self.rival is None

    @property
    def awaited_bytes(self) -> int:
        """What it brings next, in one go."""
        return min(self.missing.length, self._block_bytes * (self._group if self.arrived else 1))

    def room(self) -> list[memoryview]:
        """As `BufferSink.room`: one block first, so that its reader goes on, then several."""
        missing = self.missing
        if not self.needed and self._still_wanted is not None and not self._still_wanted(missing):
            raise Interrupted("read-ahead that nobody wants any more")
        if self.raced and not self._owner.misses_any_of(self):
            raise Interrupted("another GET was faster")
        if not self._blocks:
            count = min(self._group, self.count - self.arrived) if self.arrived else 1
            size = self._block_bytes
            last = min(size, missing.length - (count - 1) * size)
            self._blocks = self._owner.memory([size] * (count - 1) + [last])
        return [block.view for block in self._blocks]

    def landed(self, size: int | None = None) -> int:
        """As `BufferSink.landed`: whole blocks are kept."""
        whole, kept = 0, 0
        for block in self._blocks:
            if size is not None and kept + len(block.view) > size:
                break
            kept += len(block.view)
            whole += 1
        if whole:
            blocks, self._blocks = self._blocks[:whole], self._blocks[whole:]
            now_s, began_s = self._clock.monotonic(), self.moved_s
            if self.arrived and began_s is not None:
                self._fit_group(now_s - began_s)
            self.moved_s = now_s
            self._owner.landed(self, blocks)
        return kept

    def _fit_group(self, took_s: float) -> None:
        """To how long the last one took."""
        if took_s < QUICK_S:
            self._group = min(MOST_GROUP_BLOCKS, 2 * self._group)
        elif took_s > 2 * QUICK_S:
            self._group = max(GROUP_BLOCKS, self._group // 2)

    def run(self) -> None:
        """Make the GET; every waiter is told in the end."""
        error: BacklotError | None = None
        self.moved_s = self._clock.monotonic()
        try:
            deadline = Deadline(TRANSFER_DEADLINE_S, self._clock)
            self._fetch(self.identity, self.missing, self, deadline)
        except BacklotError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  # a waiting reader must get an answer
            error = BacklotError(f"reading {self.embed_code}: {type(failure).__name__}")
            error.__cause__ = failure
        self._blocks = []
        self._owner.ended(self, error)
