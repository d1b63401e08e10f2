# SPDX-License-Identifier: Apache-2.0
"""Pins mark the sources whose blocks stay in the disk cache, within a quota.

The disk cache stores pins of versions and does not evict their blocks. Here a pin belongs to a
source: it moves to the new version if the source is replaced. All pins together may use only a part
of the disk cache, so that room is left for other files.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier, required
from backlotfs.config.settings import Quota
from backlotfs.errors import BacklotError, CacheUnusable


class PinsFull(BacklotError):
    """The requested pins do not fit into the quota; none was added.

    :ivar wanted_bytes: the additional bytes that were requested.
    :ivar left_bytes: the additional bytes that the quota still allows.
    """

    def __init__(self, wanted_bytes: int, left_bytes: int) -> None:
        super().__init__(f"the pins need {wanted_bytes} bytes more; the quota has {left_bytes}")
        self.wanted_bytes = wanted_bytes
        self.left_bytes = left_bytes


class Pins:
    """The pins of one mount. Any thread may call it. Sizes are rounded up to whole blocks."""

    def __init__(self, tier: DiskTier | None, quota: Quota) -> None:
        """Load the pins that the disk cache has saved; there are none without a disk cache."""
        self._tier = tier
        self._quota = quota
        self._lock = threading.Lock()
        self._pins = {pin.embed_code: pin for pin in tier.pins()} if tier is not None else {}

    def __len__(self) -> int:
        return len(self._pins)

    def of(self, embed_code: str) -> Pin | None:
        """The pin of a source, or None."""
        return self._pins.get(embed_code)

    def all(self) -> list[Pin]:
        """Every pin, in order."""
        with self._lock:
            return [self._pins[code] for code in sorted(self._pins)]

    @property
    def quota_bytes(self) -> int:
        """The bytes that all pins may use. :raises CacheUnusable: there is no disk cache."""
        return self._quota.of(required(self._tier).room_bytes)

    @property
    def needed_bytes(self) -> int:
        """The bytes of all pins when every block is cached."""
        return sum(map(self.needed, self.all()))

    @property
    def cached_bytes(self) -> int:
        """The bytes of all pins that are cached now."""
        return sum(map(self._taken, self.all()))

    def needed(self, pin: Pin) -> int:
        """The bytes of one pin when every block is cached."""
        block = self._tier.block_bytes if self._tier is not None else 1
        return -(-pin.size // block) * block

    def cached_bytes_of(self, pin: Pin) -> int:
        """The bytes of a pinned version that are cached now."""
        return min(pin.size, self._taken(pin))

    def fits(self, pin: Pin) -> bool:
        """Whether the missing blocks of a pin fit.

        They may not fit any more if other pins have grown or the cache has become smaller.

        :raises CacheUnusable: there is no disk cache.
        """
        return self.cached_bytes - self._taken(pin) + self.needed(pin) <= self.quota_bytes

    def check(self, wanted: Iterable[Pin]) -> None:
        """Check the quota.

        :raises PinsFull: the pins do not fit.
        :raises CacheUnusable: there is no disk cache.
        """
        quota = self.quota_bytes
        with self._lock:
            self._check(wanted, quota)

    def add(self, wanted: Iterable[Pin]) -> list[Pin]:
        """Pin all of these or none; return the new pins. Nothing is fetched.

        :raises PinsFull: they do not fit.
        :raises CacheUnusable: there is no disk cache, or it cannot save the pins.
        """
        wanted = list(wanted)
        tier, quota = required(self._tier), self.quota_bytes
        with self._lock:
            self._check(wanted, quota)
            new = [pin for pin in wanted if self._pins.get(pin.embed_code) != pin]
            old = {self._pins[pin.embed_code] for pin in new if pin.embed_code in self._pins}
            if new and not tier.change_pins(add=set(new), remove=old, drop=old):
                tier.change_pins(remove=set(new), add=old)
                raise _unsaved("pin")
            self._pins.update((pin.embed_code, pin) for pin in new)
        return new

    def remove(self, embed_codes: Iterable[str], *, drop: bool = False) -> list[Pin]:
        """Unpin these sources; return those that were pinned.

        :param drop: also delete their blocks at once, because nothing can read them any more.
        :raises CacheUnusable: the disk cache cannot save the change, and nothing was unpinned. This
            is not raised with ``drop``.
        """
        with self._lock:
            gone = {self._pins[code] for code in set(embed_codes) & set(self._pins)}
            if gone:
                tier = required(self._tier)
                if not tier.change_pins(remove=gone, drop=gone if drop else set()) and not drop:
                    tier.change_pins(add=gone)
                    raise _unsaved("unpin")
            for pin in gone:
                del self._pins[pin.embed_code]
        return sorted(gone)

    def follow(self, new: Pin) -> None:
        """Move the pin of a replaced source to this version and delete the old blocks.

        If the change cannot be saved, the next mount loads the old pin and moves it again.
        """
        with self._lock:
            old = self._pins.get(new.embed_code)
            if old is None or old == new:
                return
            self._pins[new.embed_code] = new
            required(self._tier).change_pins(add={new}, remove={old}, drop={old})

    def _check(self, wanted: Iterable[Pin], quota_bytes: int) -> None:
        """Check the quota. The caller holds the lock, so that no pin is added meanwhile."""
        after = self._pins | {pin.embed_code: pin for pin in wanted}
        before_bytes = sum(map(self.needed, self._pins.values()))
        grown = sum(map(self.needed, after.values())) - before_bytes
        left = quota_bytes - before_bytes
        if grown > 0 and grown > left:  # pins that exist already may be requested again
            raise PinsFull(grown, max(0, left))

    def _taken(self, pin: Pin) -> int:
        if self._tier is None:
            return 0
        return self._tier.block_count(*pin) * self._tier.block_bytes


def _unsaved(command: str) -> CacheUnusable:
    return CacheUnusable(
        f"the pins cannot be saved, so nothing was {command}ned: see the mount's log for the "
        f"reason, correct it, and {command} again"
    )
