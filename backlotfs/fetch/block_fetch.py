"""One GET in flight: a run of neighbouring blocks, delivered as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import Block, BlockKey
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.fetch.pending_read import PendingRead
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion

#: A fetch ends after this long; a reader that waits for it has a deadline of its own.
FETCH_DEADLINE_S = 30.0
#: Blocks received by one system call, after the first was delivered: at first …
GROUP_BLOCKS = 8
#: … and at most, where a group comes within `QUICK_S`, so that nobody waits for its others.
MOST_GROUP_BLOCKS = 32
QUICK_S = 0.002


#: Gets bytes of a version, in order, into a sink, until a deadline: `RangeReader.fetch`.
RangeGet = Callable[[SourceVersion, ByteRange, BufferSink, Deadline], None]

#: Whether any of these bytes is still wanted: asked of a prefetch.
StillWanted = Callable[[ByteRange], bool]


class Loader(Protocol):
    """What a fetch needs of its block loader, which imports this module."""

    @property
    def block_bytes(self) -> int:
        """The size of a block."""

    def memory(self, lengths: Sequence[int]) -> list[Block]:
        """Allocate blocks of these lengths."""

    def arrived(self, fetch: BlockFetch, blocks: list[Block]) -> None:
        """Keep the next blocks of a fetch, and complete the reads that wait for them."""

    def ended(self, fetch: BlockFetch, error: BacklotError | None) -> None:
        """Fail, or fetch again, what a fetch did not bring."""

    def misses_any_of(self, fetch: BlockFetch) -> bool:
        """Whether any block that it has still to bring has not come from elsewhere."""


def _not_a_hedge(_contributed: bool) -> None:
    """Ignore the end of a fetch that is no hedge."""


class BlockFetch:
    """Gets neighbouring blocks of one version of a source by one GET; runs once, on one thread.

    :ivar keys: of its blocks, in order.
    :ivar arrived: how many of its blocks have arrived.
    :ivar waiters: the reads that wait, by block number; guarded by the loader's lock.
    :ivar is_prefetch: it began as a prefetch: its failure fails no read.
    :ivar is_demand: a reader waits for it, so it is not dropped any more.
    :ivar last_progress_s: when it began, or when its last block arrived; None before it begins.
    :ivar hedge_peer: its hedge, or the fetch that it hedges, while both run; guarded by the
        loader's lock.
    :ivar was_hedged: it has, or had, a hedge peer: its blocks may have arrived by that.
    :ivar on_done: called at the end with `contributed`; for a hedge, by whoever allowed it.
    :ivar contributed: it brought a block before its hedge peer did.
    """

    __slots__ = (
        "_block_bytes",
        "_blocks",
        "_clock",
        "_deadline_s",
        "_get",
        "_group",
        "_loader",
        "_still_wanted",
        "arrived",
        "contributed",
        "count",
        "first",
        "hedge_peer",
        "identity",
        "is_demand",
        "is_prefetch",
        "keys",
        "last_progress_s",
        "on_done",
        "waiters",
        "was_hedged",
    )  # fmt: skip

    def __init__(
        self,
        loader: Loader,
        get: RangeGet,
        identity: SourceVersion,
        run: range,
        clock: Clock,
        *,
        still_wanted: StillWanted | None = None,
        deadline_s: float = FETCH_DEADLINE_S,
    ) -> None:
        """Prepare a fetch; `run` makes it.

        :param run: the numbers of the blocks.
        :param still_wanted: asked before and during a prefetch; None for what a reader needs.
        """
        self._loader = loader
        self._get = get
        self._block_bytes = loader.block_bytes
        self._clock = clock
        self._deadline_s = deadline_s
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
        self.is_prefetch = still_wanted is not None
        self.is_demand = not self.is_prefetch
        self.last_progress_s: float | None = None
        self.hedge_peer: BlockFetch | None = None
        self.was_hedged = False
        self.on_done: Callable[[bool], None] = _not_a_hedge
        self.contributed = False

    @property
    def embed_code(self) -> str:
        """The embed code of its source."""
        return self.identity.embed_code

    @property
    def left(self) -> range:
        """The numbers of the blocks that have not arrived."""
        return range(self.first + self.arrived, self.first + self.count)

    def key(self, number: int) -> BlockKey:
        """The key of one of its blocks."""
        return self.keys[number - self.first]

    def waited_for(self, number: int) -> bool:
        """Whether a read still waits for this block. The caller holds the loader's lock."""
        return any(not read.abandoned for read in self.waiters.get(number, ()))

    @property
    def missing(self) -> ByteRange:
        """The bytes that have not arrived."""
        start = (self.first + self.arrived) * self._block_bytes
        stop = (self.first + self.count) * self._block_bytes
        return ByteRange(start, min(stop, self.identity.size))

    @property
    def urgent(self) -> bool:
        """As `BufferSink.urgent`."""
        return self.is_demand

    @property
    def awaited(self) -> bool:
        """Whether a read waits for it, and it has no hedge peer."""
        return bool(self.waiters) and self.hedge_peer is None

    @property
    def awaited_bytes(self) -> int:
        """How many bytes it brings next, by one system call."""
        return min(self.missing.length, self._block_bytes * (self._group if self.arrived else 1))

    def buffers(self) -> list[memoryview]:
        """As `BufferSink.buffers`: one block first, so that its reader goes on, then several."""
        missing = self.missing
        if (
            not self.is_demand
            and self._still_wanted is not None
            and not self._still_wanted(missing)
        ):
            raise Interrupted("a prefetch that nobody wants any more")
        if self.was_hedged and not self._loader.misses_any_of(self):
            raise Interrupted("another GET was faster")
        if not self._blocks:
            count = min(self._group, self.count - self.arrived) if self.arrived else 1
            size = self._block_bytes
            last = min(size, missing.length - (count - 1) * size)
            self._blocks = self._loader.memory([size] * (count - 1) + [last])
        return [block.view for block in self._blocks]

    def commit(self, size: int | None = None) -> int:
        """As `BufferSink.commit`: whole blocks are kept."""
        whole, kept = 0, 0
        for block in self._blocks:
            if size is not None and kept + len(block.view) > size:
                break
            kept += len(block.view)
            whole += 1
        if whole:
            blocks, self._blocks = self._blocks[:whole], self._blocks[whole:]
            now_s, began_s = self._clock.monotonic(), self.last_progress_s
            if self.arrived and began_s is not None:
                self._fit_group(now_s - began_s)
            self.last_progress_s = now_s
            self._loader.arrived(self, blocks)
        return kept

    def _fit_group(self, took_s: float) -> None:
        """Choose how many blocks to receive next, by how long the last group took."""
        if took_s < QUICK_S:
            self._group = min(MOST_GROUP_BLOCKS, 2 * self._group)
        elif took_s > 2 * QUICK_S:
            self._group = max(GROUP_BLOCKS, self._group // 2)

    def run(self) -> None:
        """Make the GET. In the end every read that waits is completed, failed or fetched again."""
        error: BacklotError | None = None
        self.last_progress_s = self._clock.monotonic()
        try:
            deadline = Deadline(self._deadline_s, self._clock)
            self._get(self.identity, self.missing, self, deadline)
        except BacklotError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  # a waiting reader must get an answer
            error = BacklotError(f"reading {self.embed_code}: {type(failure).__name__}")
            error.__cause__ = failure
        self._blocks = []
        self._loader.ended(self, error)
