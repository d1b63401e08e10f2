"""Which sources are to stay on the disk whole: a pin for each, all of them within a quota.

The disk tier keeps the pins of versions and never lets their blocks go. Here a pin is a source's:
it goes with it from one version to the next, and all pins together may take a part of the tier
only, so that there is room left for what is merely read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier, required
from backlotfs.config.settings import Quota
from backlotfs.errors import BacklotError, CacheUnusable


class PinsFull(BacklotError):
    """What is to be pinned does not fit beside what is pinned already; nothing was.

    :ivar wanted_bytes: by which the pins would grow. :ivar left_bytes: by which they may.
    """

    def __init__(self, wanted_bytes: int, left_bytes: int) -> None:
        super().__init__(f"{wanted_bytes} bytes are to be pinned, {left_bytes} may be")
        self.wanted_bytes = wanted_bytes
        self.left_bytes = left_bytes


class Pins:
    """The pins of one mount. Any thread may call it. Bytes are those of whole blocks."""

    def __init__(self, tier: DiskTier | None, quota: Quota) -> None:
        """Those that the tier has kept; without a tier there are none."""
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
        """What all of them may take. :raises CacheUnusable: there is no disk tier."""
        return self._quota.of(required(self._tier).room_bytes)

    @property
    def needed_bytes(self) -> int:
        """What they take once they are whole."""
        return sum(map(self.needed, self.all()))

    @property
    def cached_bytes(self) -> int:
        """What they take now."""
        return sum(map(self._taken, self.all()))

    def needed(self, pin: Pin) -> int:
        """What one takes once it is whole."""
        block = self._tier.block_bytes if self._tier is not None else 1
        return -(-pin.size // block) * block

    def held(self, pin: Pin) -> int:
        """How many bytes of the source are held, as far as the tier can tell at once."""
        return min(pin.size, self._taken(pin))

    def fits(self, pin: Pin) -> bool:
        """Whether what one of them lacks may be fetched: others may have grown, or the tier shrunk.

        :raises CacheUnusable: there is no disk tier.
        """
        return self.cached_bytes - self._taken(pin) + self.needed(pin) <= self.quota_bytes

    def check(self, wanted: Iterable[Pin]) -> None:
        """:raises PinsFull: they do not fit. :raises CacheUnusable: there is no disk tier."""
        quota = self.quota_bytes
        with self._lock:
            self._check(wanted, quota)

    def add(self, wanted: Iterable[Pin]) -> list[Pin]:
        """Pin them, all or none; those that were not pinned before. Nothing is fetched.

        :raises PinsFull: they do not fit.
        :raises CacheUnusable: there is no disk tier, or it cannot remember them.
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
        """Let go of those that are pinned among these; which they were.

        :param drop: their blocks go at once: nobody can read them any more.
        :raises CacheUnusable: the tier cannot remember that, and nothing was let go. Not with
            ``drop``: what is gone cannot stay.
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
        """The source was replaced: its pin is this version's, and the old blocks go.

        Where that cannot be saved, the next mount finds the old version's, and follows again.
        """
        with self._lock:
            old = self._pins.get(new.embed_code)
            if old is None or old == new:
                return
            self._pins[new.embed_code] = new
            required(self._tier).change_pins(add={new}, remove={old}, drop={old})

    def _check(self, wanted: Iterable[Pin], quota_bytes: int) -> None:
        """With the lock held, so that nobody else's pins come in between."""
        after = self._pins | {pin.embed_code: pin for pin in wanted}
        before_bytes = sum(map(self.needed, self._pins.values()))
        grown = sum(map(self.needed, after.values())) - before_bytes
        left = quota_bytes - before_bytes
        if grown > 0 and grown > left:  # who has too many may name those again
            raise PinsFull(grown, max(0, left))

    def _taken(self, pin: Pin) -> int:
        if self._tier is None:
            return 0
        return self._tier.held_blocks(*pin) * self._tier.block_bytes


def _unsaved(command: str) -> CacheUnusable:
    return CacheUnusable(
        f"the pins cannot be saved, so nothing was {command}ned: see the mount's log for the "
        f"reason, mend it, and {command} again"
    )
