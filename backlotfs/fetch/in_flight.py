"""Which transfer brings which block."""

from __future__ import annotations

from backlotfs.cache.block_key import BlockKey
from backlotfs.fetch.block_fetch import BlockFetch
from backlotfs.fetch.pending_read import PendingRead
from backlotfs.source.version import SourceVersion


class InFlightBlocks:
    """Blocks that are neither here nor nowhere, each in one transfer's charge. The owner locks.

    :ivar ahead_bytes: of them, those in the charge of read-ahead, by whole blocks.
    """

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._transfers: dict[BlockKey, BlockFetch] = {}
        self.ahead_bytes = 0

    def __contains__(self, key: BlockKey) -> bool:
        return key in self._transfers

    def __len__(self) -> int:
        return len(self._transfers)

    def add(self, transfer: BlockFetch) -> None:
        """Put it in charge of all it brings."""
        self._transfers.update(dict.fromkeys(transfer.keys, transfer))
        if transfer.ahead:
            self.ahead_bytes += self._block_bytes * transfer.count

    def join(
        self, identity: SourceVersion, demand: PendingRead, absent: list[int]
    ) -> list[BlockFetch]:
        """Let ``demand`` wait for those that are under way, and take them out of ``absent``.

        :return: transfers that are needed from now on, and were not.
        """
        newly_needed: list[BlockFetch] = []
        left: list[int] = []
        for number in absent:
            key = BlockKey(identity.embed_code, identity.validator, number)
            transfer = self._transfers.get(key)
            if transfer is None:
                left.append(number)
                continue
            transfer.waiters.setdefault(number, []).append(demand)
            if not transfer.needed:
                transfer.needed = True
                newly_needed.append(transfer)
        absent[:] = left
        return newly_needed

    def arrived(self, key: BlockKey) -> BlockFetch | None:
        """It is here; whose charge it was. None: nobody's, so it was here already."""
        transfer = self._transfers.pop(key, None)
        if transfer is not None and transfer.ahead:
            self.ahead_bytes -= self._block_bytes
        return transfer

    def forget(self, transfer: BlockFetch) -> None:
        """It brings nothing more."""
        for number in transfer.left:
            key = transfer.key(number)
            if self._transfers.get(key) is transfer:
                self.arrived(key)

    def misses_any_of(self, transfer: BlockFetch) -> bool:
        """Whether anything that it is still to bring has not come from elsewhere."""
        return any(transfer.key(number) in self._transfers for number in transfer.left)

    def hand_over(self, transfer: BlockFetch, heir: BlockFetch) -> None:
        """Let ``heir``, a hedge, be in charge of what it brings, and be waited for instead."""
        for number in heir.left:
            key = heir.key(number)
            if self._transfers.get(key) is transfer:
                self.arrived(key)
                self._transfers[key] = heir
                if number in transfer.waiters:
                    heir.waiters[number] = transfer.waiters.pop(number)
