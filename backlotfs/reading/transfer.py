"""One GET on its way: a run of neighbouring blocks, each handed over as it arrives."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from backlotfs.byterange import ByteRange
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.reading.block_key import BlockKey
from backlotfs.remote.identity import SourceIdentity

#: A transfer ends after this long at the latest; whoever waits has a deadline of its own.
TRANSFER_DEADLINE_S = 30.0


class Fetch(Protocol):
    """How bytes are had: `RangeFetcher.fetch`, or a gate in a test."""

    def __call__(
        self,
        identity: SourceIdentity,
        wanted: ByteRange,
        piece_bytes: int,
        sink: Callable[[bytes], None],
        deadline: Deadline,
    ) -> None:
        """Deliver ``wanted`` in order, in pieces of ``piece_bytes``."""


class Owner(Protocol):
    """Whom a transfer tells of its blocks."""

    def landed(self, key: BlockKey, block: bytes) -> None:
        """Keep a block; called before its future is resolved."""

    def ended(self, transfer: BlockTransfer, error: BacklotError | None) -> None:
        """Forget what is still registered; called before the remaining futures fail."""


class BlockTransfer:
    """Blocks ``keys`` of one identity by one GET. Runs once, on one worker thread."""

    def __init__(
        self,
        owner: Owner,
        fetch: Fetch,
        identity: SourceIdentity,
        keys: list[BlockKey],
        block_bytes: int,
        clock: Clock,
        still_wanted: Callable[[], bool] | None,
    ) -> None:
        """``still_wanted``: asked once before a read-ahead starts; None for what a reader needs."""
        self._owner = owner
        self._fetch = fetch
        self._block_bytes = block_bytes
        self._clock = clock
        self._still_wanted = still_wanted
        self.identity = identity
        self.keys = keys
        self.blocks: list[Future[bytes]] = [Future() for _ in keys]
        #: Whether it began as read-ahead: then its failure is no reader's failure.
        self.ahead = still_wanted is not None
        #: A reader waits for it, so it is not dropped any more.
        self.needed = not self.ahead

    @property
    def embed_code(self) -> str:
        """Whose lane it takes."""
        return self.identity.embed_code

    def block(self, key: BlockKey) -> Future[bytes]:
        """The future of one of its blocks."""
        return self.blocks[key.number - self.keys[0].number]

    def satisfy(self, blocks: list[bytes]) -> None:
        """Resolve every future without a GET: the blocks turned out to be there."""
        self._owner.ended(self, None)
        for future, block in zip(self.blocks, blocks, strict=True):
            future.set_result(block)

    def run(self) -> None:
        """Make the GET and resolve every future."""
        arrived = 0

        def sink(piece: bytes) -> None:
            nonlocal arrived
            self._owner.landed(self.keys[arrived], piece)
            self.blocks[arrived].set_result(piece)
            arrived += 1

        error: BacklotError | None = None
        if not self.needed and self._still_wanted is not None and not self._still_wanted():
            error = Interrupted("read-ahead that nobody wants any more")
        else:
            try:
                start = self.keys[0].number * self._block_bytes
                stop = (self.keys[-1].number + 1) * self._block_bytes
                self._fetch(
                    self.identity,
                    ByteRange(start, stop).clamped(self.identity.size),
                    self._block_bytes,
                    sink,
                    Deadline(TRANSFER_DEADLINE_S, self._clock),
                )
            except BacklotError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001  # a waiting reader must get an answer
                error = BacklotError(f"reading {self.embed_code}: {type(failure).__name__}")
                error.__cause__ = failure
        self._owner.ended(self, error)
        for block in self.blocks[arrived:]:
            block.set_exception(
                error or BacklotError(f"a transfer of {self.embed_code} ended early")
            )
